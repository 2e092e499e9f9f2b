"""docs/meters.md followed to the letter, in a copy of the tree: a made-up meter and condition."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/meters.md").read_text(encoding="utf-8")
BLOCKS = {
    name: "\n".join(line.removeprefix("   ") for line in text.rstrip().splitlines())
    for name, text in re.findall(r"```(?:python|yaml)\n   # (.+?)\n(.*?)```", PAGE, re.DOTALL)
}
"""What the page has for a file, by its first line."""
ANSWER = re.search(r"```json\n(.+?)\n```", PAGE)
COST = re.search(r"= ([0-9.]+) USD\.$", PAGE, re.MULTILINE)
BASE = """\
prices:
  - {provider: rookery, model: rook-1, unit: 1M tokens, input: 2, output: 8, cache_read: 0.20}
"""
SHOW = """
import json, sys
from pathlib import Path
import httpx
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
import tallyspan
from otlp_spans import request, span
from tallyspan_clickhouse.ddl import baseline
from tallyspan_collector.cli import main

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
tallyspan.instrument(tracer_provider=provider)
body = json.loads(sys.argv[1])
transport = httpx.MockTransport(lambda _: httpx.Response(200, json=body))
with httpx.Client(transport=transport) as client:
    client.post("https://api.rookery.example/v9/rooks", json={"engine": "rook-1", "turns": []})
(made,) = exporter.get_finished_spans()
file = Path("spans.pb")
lists = {key: list(value) for key, value in made.attributes.items() if isinstance(value, tuple)}
file.write_bytes(request(span(7, {**made.attributes, **lists})))
assert main(["explain", str(file), "--format", "json"]) == 0
"""


def link(source: Path, target: Path, *but: str) -> None:
    """Show the folder's content at the target too, but for some of it."""
    target.mkdir(parents=True, exist_ok=True)
    for each in source.iterdir():
        if each.name not in {"__pycache__", *but}:
            (target / each.name).symlink_to(each)


def put(folder: Path, name: str, text: str) -> None:
    file = folder / name
    file.unlink(missing_ok=True)
    file.write_text(text, encoding="utf-8")


def with_lines(source: str, before: str, lines: str) -> str:
    """Return the source with lines put behind another one."""
    assert source.count(before) == 1
    return source.replace(before, f"{before}{indent(lines, '    ')}\n")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of the tree that has Rookery and its price, and nothing of the page yet."""
    package = tmp_path / "instrumentation/tallyspan"
    link(ROOT / "instrumentation/tallyspan", package, "formats")
    link(ROOT / "instrumentation/tallyspan/formats", package / "formats")
    put(package / "formats", "rookery.py", (ROOT / "tests/fixtures/rookery/rookery.py").read_text())
    collector = tmp_path / "collector/tallyspan_collector"
    link(ROOT / "collector/tallyspan_collector", collector, "prices")
    link(ROOT / "collector/tallyspan_collector/prices", collector / "prices")
    put(collector / "prices", "rookery.yaml", BASE)
    return tmp_path


def register(tree: Path) -> None:
    """Do the first step of the page."""
    for name in ("meters", "conditions"):
        file = f"instrumentation/tallyspan/{name}.py"
        start = f"{name.upper()}: tuple[{name.capitalize()[:-1]}, ...] = (\n"
        source = (ROOT / file).read_text(encoding="utf-8")
        put(tree, file, with_lines(source, start, f"{BLOCKS[f'{file}: {name.upper()}']},"))


def read(tree: Path) -> None:
    """Do the second step."""
    file = "instrumentation/tallyspan/formats/rookery.py"
    source = (tree / file).read_text(encoding="utf-8")
    source = with_lines(source, "    answer.usage = counts or answer.usage\n",
                       BLOCKS[f"{file}: the reader"])  # fmt: skip
    source, count = re.subn(r"UsageKeys\(at=.*?\)\)", BLOCKS[f"{file}: the keys"], source)
    assert count == 1
    put(tree, file, source)


def give_prices(tree: Path) -> None:
    """Do the third step."""
    file = "collector/tallyspan_collector/prices/rookery.yaml"
    put(tree, file, BASE + BLOCKS[file] + "\n")


def charge(tree: Path) -> dict[str, Any]:
    """Return the call of the page's answer: sent, instrumented, read and priced by the tree."""
    assert ANSWER is not None
    body = {"turn": "t1", "engine": "rook-1", "text": "Caw.", "ended": "done"}
    body |= json.loads(ANSWER[1])
    places = [tree / "instrumentation", tree / "collector", ROOT / "clickhouse"]
    places += [ROOT / "tests/fixtures", *(Path(each) for each in sys.path if each)]
    ran = subprocess.run(
        [sys.executable, "-c", SHOW, json.dumps(body)],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (only,) = json.loads(ran.stdout)["charges"]
    charged: dict[str, Any] = only
    return charged


@pytest.mark.process
def test_before_the_first_line_both_keys_are_named_and_the_tokens_are_priced(tree: Path) -> None:
    call = charge(tree)

    assert call["unread"] == ["tally.perches", "tally.season"]
    assert "unread_usage" in call["quality_flags"]
    # (100 x 2 + 900 x 0.20 + 50 x 8) / 1M
    assert call["cost_usd"] == "0.000780000000"


@pytest.mark.process
def test_a_condition_without_its_price_is_seen_and_never_standard(tree: Path) -> None:
    register(tree)
    read(tree)
    call = charge(tree)

    assert call["unread"] == []
    assert (call["meters"], call["conditions"]) == ({"perches": 3}, {"season": "winter"})
    assert (call["cost_usd"], call["unpriced_reason"]) == (None, "unknown_condition")


@pytest.mark.process
def test_the_three_lines_of_the_page_price_the_call_right(tree: Path) -> None:
    assert COST is not None
    register(tree)
    read(tree)
    give_prices(tree)
    call = charge(tree)

    assert call["cost_usd"] == f"{COST[1]}0000000" == "0.061170000000"
    steps = {each["kind"]: each for each in call["steps"]}
    assert (steps["fee"]["meter"], steps["fee"]["amount"]) == ("perches", "0.02 USD each")
    assert (steps["factor"]["amount"], steps["factor"]["about"]) == ("1.5", {"season": "winter"})
    assert steps["factor"]["origin"]["source"] == "https://rookery.example/winter"
    places = {each["name"]: each["place"] for each in call["read_from"]}
    assert places["perches"] == "tallyspan.meter.perches"
    assert places["season"] == "tallyspan.condition.season"


def test_the_page_has_a_line_for_each_place_and_no_other() -> None:
    assert list(BLOCKS) == [
        "instrumentation/tallyspan/meters.py: METERS",
        "instrumentation/tallyspan/conditions.py: CONDITIONS",
        "instrumentation/tallyspan/formats/rookery.py: the reader",
        "instrumentation/tallyspan/formats/rookery.py: the keys",
        "collector/tallyspan_collector/prices/rookery.yaml",
    ]
