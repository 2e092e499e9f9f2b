"""A format is one file and one recording; what is forgotten or claimed twice fails by name."""

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import MISSING, fields
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from priced import price
from tallyspan.formats import FORMATS, discover, providers_of
from tallyspan.usage import Usage
from tallyspan.wire_format import Estimate, Format, FormatError, RequestKeys
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import Priced

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "instrumentation/tallyspan"
ROOKERY = ROOT / "tests/fixtures/rookery"
SOURCE = (ROOKERY / "rookery.py").read_text(encoding="utf-8")
MODEL, USAGE = "mistral-large-2512", {
    "input_tokens": 1000, "output_tokens": 50, "cache_read_tokens": 900,
}  # fmt: skip
PRICE = f"""
import json
from priced import price
from tallyspan.usage import Usage
from tallyspan_collector.pricing.book import PriceBook

print(price(PriceBook(), {MODEL!r}, Usage(**{USAGE!r}), provider="rookery").cost_picousd)
"""
REQUIRED = [
    (owner.__name__, part.name)
    for owner in (Format, RequestKeys, Estimate)
    for part in fields(owner)
    if part.init and part.default is MISSING
]
_numbers = count()


def link(source: Path, target: Path) -> None:
    """Show the folder's content at the target too, but for what Python keeps of it."""
    target.mkdir(parents=True)
    for each in source.iterdir():
        if each.name != "__pycache__":
            (target / each.name).symlink_to(each)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a repository that has one more format file and its recordings, and no other change."""
    link(PACKAGE, tmp_path / "instrumentation/tallyspan")
    formats = tmp_path / "instrumentation/tallyspan/formats"
    formats.unlink()
    link(PACKAGE / "formats", formats)
    (formats / "rookery.py").symlink_to(ROOKERY / "rookery.py")
    (tmp_path / "tests/recordings").mkdir(parents=True)
    (tmp_path / "tests/recordings/rookery").symlink_to(ROOKERY / "recordings")
    for name in ("pyproject.toml", "collector", "grafana", "tests/conftest.py", "tests/fixtures"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "tests/instrumentation").mkdir()
    test = "tests/instrumentation/test_recordings.py"
    (tmp_path / test).symlink_to(ROOT / test)
    return tmp_path


def run(folder: Path, paths: list[Path], *arguments: str) -> str:
    """Return what Python prints with the paths before all others; it must succeed."""
    places = [*paths, *(Path(each) for each in sys.path if each)]
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.process
def test_one_file_and_its_recordings_are_a_provider(tree: Path) -> None:
    test = "tests/instrumentation/test_recordings.py"
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "rookery")
    paths = [tree / "instrumentation", tree / "tests/fixtures"]

    assert "6 passed" in run(tree, paths, "-m", "pytest", *options, test)

    paid = price(PriceBook(), MODEL, Usage(**USAGE), provider="mistral_ai")
    assert isinstance(paid, Priced)
    assert int(run(tree, paths, "-c", PRICE)) == paid.cost_picousd > 0


@pytest.mark.process
def test_formats_are_discovered_in_a_zip_too(tmp_path: Path) -> None:
    archive = tmp_path / "tallyspan.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for file in PACKAGE.rglob("*.py"):
            packed.write(file, file.relative_to(PACKAGE.parent))
    show = "import json, tallyspan.formats as f; print(json.dumps([f.__file__, *f.FORMATS]))"
    file, *names = json.loads(run(tmp_path, [archive], "-c", show))

    assert file.startswith(str(archive))
    assert names == list(FORMATS)


def without(owner: str, part: str) -> str:
    """Return the source of a format that leaves out a part of FORMAT."""
    tree = ast.parse(SOURCE)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    (call,) = [each for each in calls if isinstance(each.func, ast.Name) and each.func.id == owner]
    assert part in {keyword.arg for keyword in call.keywords}
    call.keywords = [keyword for keyword in call.keywords if keyword.arg != part]
    return ast.unparse(tree)


def loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]
) -> dict[str, Format]:
    """Return the formats of a package of these files."""
    package = f"formats_of_a_test_{next(_numbers)}"
    (folder / package).mkdir()
    for name, source in files.items():
        (folder / package / f"{name}.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    return discover([str(folder / package)], package)


@pytest.mark.parametrize(("owner", "part"), REQUIRED)
def test_a_part_left_out_fails_by_file_and_name(
    owner: str, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FormatError, match=rf"\.rookery: .*'{part}'"):
        loaded(tmp_path, monkeypatch, {"rookery": without(owner, part)})


PATHS = 'paths=(Path(pattern="/v9/rooks", operation="chat"),)'
HOSTS = r'(r"^api\.rookery\.example",)'
OTHER = SOURCE.replace('name="rookery"', 'name="other"')


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"rookery": "ROOKERY = 1"}, r"\.rookery: has no FORMAT"),
        ({"rookery": SOURCE, "twin": SOURCE}, r"\.twin: there is a format 'rookery' already"),
        (
            {"rookery": SOURCE, "other": OTHER},
            r"formats '\w+' and '\w+' both claim '/v9/rooks' at rank 0",
        ),
        (
            {"rookery": SOURCE, "other": OTHER.replace('"/v9/rooks"', '"/(?:v8|v9)/rooks", example="/v9/rooks"')},
            r"formats '\w+' and '\w+' both claim '/v9/rooks' at rank 0",
        ),
        ({"rookery": SOURCE.replace(PATHS, "paths=()")}, r"\.rookery: format 'rookery': 'paths' is empty"),
        (
            {"rookery": SOURCE.replace('"/v9/rooks"', '"/v[89]/rooks"')},
            r"\.rookery: path '/v\[89\]/rooks' does not match its example ''",
        ),
        ({"rookery": SOURCE.replace('"/v9/rooks"', '"/v9/(rooks"')}, r"\.rookery: path .* unterminated subpattern"),
        ({"rookery": SOURCE.replace(PATHS, PATHS.replace("),)", "))"))}, r"\.rookery: format 'rookery': 'paths' must be a tuple"),
        ({"rookery": SOURCE.replace(PATHS, 'paths=("/v9/rooks",)')}, r"\.rookery: format 'rookery': 'paths' must be a tuple of Path"),
        ({"rookery": SOURCE.replace(HOSTS, r'r"^api\.rookery"')}, r"\.rookery: provider 'rookery': hosts must be a tuple"),
        ({"rookery": SOURCE.replace(HOSTS, r'(r"^api(",)')}, r"\.rookery: provider 'rookery': host '\^api\(': missing"),
        ({"rookery": re.sub(r"interest=Interest\(.*\)", "interest=Interest(())", SOURCE)}, r"\.rookery: format 'rookery': 'interest' must"),
        ({"rookery": re.sub(r"interest=Interest\(.*\)", 'interest=Interest(b"tally")', SOURCE)}, r"\.rookery: format 'rookery': 'interest' must"),
        ({"rookery": re.sub(r"usage=UsageKeys\(.*\)", "usage=()", SOURCE)}, r"\.rookery: format 'rookery': 'usage' must be a UsageKeys"),
        (
            {"rookery": SOURCE.replace('"generated"))', '"generated"), harmless={"seed": ""})')},
            r"\.rookery: usage key 'seed': say why it is harmless",
        ),
        (
            {"rookery": SOURCE.replace('operation="chat"', 'operation="chat", is_socket=True')},
            r"\.rookery: format 'rookery': a path with 'is_socket' and 'socket' need each other",
        ),
    ],
    ids=[
        "no FORMAT", "one name twice", "one path twice", "overlap", "no path", "no example", "no pattern",
        "one path, no tuple", "a path as text", "a host, no tuple", "a host that is no pattern", "no interest",
        "an interest, no tuple", "no UsageKeys", "no reason", "a socket's path alone",
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_refused_by_name(
    files: dict[str, str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FormatError, match=reason):
        loaded(tmp_path, monkeypatch, files)


@pytest.mark.parametrize("place", ["rank=1", 'provider="openai"'])
def test_rank_or_provider_decides_who_has_a_path(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = OTHER.replace('operation="chat"', f'operation="chat", {place}')

    assert set(loaded(tmp_path, monkeypatch, {"rookery": SOURCE, "other": other})) == {
        "rookery",
        "other",
    }


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (SOURCE.replace('Provider("rookery"', 'Provider("openai"'), "there is another provider 'openai'"),
        (
            SOURCE.replace('operation="chat"', 'operation="chat", provider="nobody"'),
            "path '/v9/rooks': there is no provider 'nobody'",
        ),
    ],
)  # fmt: skip
def test_providers_of_formats_are_one_of_a_name(
    source: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FormatError, match=reason):
        providers_of(loaded(tmp_path, monkeypatch, {"rookery": source}).values())


def test_only_a_formats_own_file_knows_its_name() -> None:
    for file in PACKAGE.rglob("*.py"):
        if file.parent.name != "formats":
            constants: set[Any] = {
                node.value
                for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
                if isinstance(node, ast.Constant)
            }
            assert not constants & FORMATS.keys(), file
