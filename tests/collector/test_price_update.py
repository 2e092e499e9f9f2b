"""Newer bundled prices: read from a wheel, shown, applied as a whole, taken back."""

import hashlib
import json
import re
import urllib.request
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from price_wheel import INSTALLED, model, openai, small, wheel
from priced import price
from running import running_collector
from shared_store import SharedStore
from tallyspan.usage import Usage
from tallyspan_collector.cli import main
from tallyspan_collector.errors import ConfigError, PriceError
from tallyspan_collector.pricing import in_use
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.bundled import SOURCE, PriceData, installed
from tallyspan_collector.pricing.cost import Priced
from tallyspan_collector.pricing.price_diff import difference
from tallyspan_collector.pricing.release import providers, read_wheel
from tallyspan_collector.pricing.watch import PriceWatch

CHEAP = small(openai(model("gpt-5-mini", "1"), model("gpt-9", "7")))
MILLION = Usage(10**6, 0)


class Run:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str | Path) -> int:
        code = main(["prices", *map(str, arguments)])
        self.out, self.err = self.capsys.readouterr()
        return code


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(capsys)


def usd(book: PriceBook, name: str) -> Decimal | None:
    found = price(book, name, MILLION)
    return Decimal(found.cost_picousd).scaleb(-12) if isinstance(found, Priced) else None


def test_a_wheel_that_is_read_and_not_run_has_the_prices_that_running_it_has(
    tmp_path: Path,
) -> None:
    data = read_wheel(wheel(tmp_path, "99.1")).data()

    assert data.providers == installed().providers
    assert data.source == "genai-prices 99.1"


def read_data(text: str) -> PriceData:
    return PriceData(providers(text, "data"), "data")


def test_an_update_is_shown_and_changes_nothing_before_yes(tmp_path: Path, run: Run) -> None:
    path = wheel(tmp_path, "99.1", CHEAP)
    code = run("update", "--from", path, "--data-dir", tmp_path / "data")

    assert code == 1
    assert "~ openai/gpt-5-mini input_mtok: 0.25 -> 1\n" in run.out
    assert f"{SOURCE} -> genai-prices 99.1: 1 new models" in run.out
    # the second source has 0.25 for a million tokens of input
    assert re.search(r"openai/gpt-5-mini +input +10,000 +1 +0.25 +\+300.0 .*unexplained", run.out)
    assert "nothing was changed; --yes applies it" in run.out
    assert in_use.data_in_use(tmp_path / "data").source == SOURCE


def test_applied_it_prices_and_rolled_back_it_does_not(tmp_path: Path, run: Run) -> None:
    data_dir = tmp_path / "data"
    first, second = (
        wheel(tmp_path, "99.1", CHEAP),
        wheel(tmp_path, "99.2", CHEAP.replace("'7'", "'8'")),
    )
    assert run("update", "--from", first, "--yes", "--data-dir", data_dir) == 0
    assert run("update", "--from", second, "--yes", "--data-dir", data_dir) == 0
    assert "~ openai/gpt-9 input_mtok: 7 -> 8" in run.out
    costs, last = [], 0
    for _ in range(3):
        costs.append(usd(PriceBook.load(data=in_use.data_in_use(data_dir)), "gpt-9"))
        last = run("rollback", "--data-dir", data_dir)

    assert costs == [Decimal(8), Decimal(7), None]
    assert (last, "what is installed is in use" in run.err) == (1, True)
    assert run("show", "gpt-5-mini", "--data-dir", data_dir) == 0
    assert "0.25/M" in run.out


def test_who_applied_which_wheel_and_when_is_kept(tmp_path: Path, run: Run) -> None:
    path = wheel(tmp_path, "99.1", CHEAP)
    run("update", "--from", path, "--yes", "--data-dir", tmp_path)
    said = json.loads((tmp_path / "prices/current.json").read_text())

    assert said["wheel_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "@" in said["applied_by"]
    assert said["applied_at"].startswith(f"{datetime.now(UTC):%Y-}")


def test_what_is_not_newer_is_left_alone(tmp_path: Path, run: Run) -> None:
    path = wheel(tmp_path, "0.0.1", CHEAP)

    assert run("update", "--from", path, "--yes", "--data-dir", tmp_path) == 0
    assert "genai-prices 0.0.1 is not newer" in run.out
    assert in_use.state(tmp_path) is None


def test_a_package_that_was_upgraded_since_is_newer_than_the_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_use.put_in_use(tmp_path, read_wheel(wheel(tmp_path, "99.1", CHEAP)))
    monkeypatch.setattr(in_use, "version", lambda _: "100.0")

    assert in_use.data_in_use(tmp_path) is installed()


BAD_DATA = {
    "a call": small("print('hello')"),
    "a comprehension": small("*[Provider(id='x') for _ in range(9)]"),
    "a dunder": small("().__class__"),
    "a lambda": small("(lambda: 1)()"),
    "text put together": small("Provider(id=f'{1}')"),
    "an import": "import os\nproviders = os.environ\n",
    "a class nobody knows": small("Provider(id='openai', models=[NewThing()])"),
    "a field nobody knows": small("Provider(id='openai', colour='red')"),
    "a price below 0": small(openai(model("m", "-1"))),
    "no price": small(openai(model("m", "NaN"))),
    "a price that takes hours to work out": small(openai(model("m", "1e999999999"))),
    "a class of tokens nobody knows": small(
        openai(model("m", "1").replace("input_mtok", "thought_mtok"))
    ),
    "no models": small(openai()),
    "half a file": INSTALLED[: len(INSTALLED) // 2],
    "nothing": "",
}


@pytest.mark.parametrize("text", BAD_DATA.values(), ids=BAD_DATA.keys())
def test_data_that_is_not_only_data_is_refused_in_a_sentence_and_not_applied(
    tmp_path: Path, run: Run, text: str
) -> None:
    path = wheel(tmp_path, "99.1", text)

    assert run("update", "--from", path, "--yes", "--data-dir", tmp_path) == 1
    assert run.err.startswith("tallyspan: genai-prices 99.1: ")
    assert in_use.state(tmp_path) is None


def test_code_in_the_data_does_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    with pytest.raises(PriceError, match=r"which is no data|is not what"):
        providers(small(f"__import__('pathlib').Path({str(mark)!r}).touch()"), "evil")

    assert not mark.exists()


def test_a_wheel_that_is_damaged_or_another_one_is_refused(tmp_path: Path) -> None:
    other = wheel(tmp_path, "1.0", CHEAP, name="requests")
    damaged = wheel(tmp_path, "99.1", CHEAP, record="genai_prices/data.py,sha256=AAAA,1\n")
    text = tmp_path / "text.whl"
    text.write_text("no wheel")
    for path, sha256, words in (
        (other, "", "is a wheel of requests 1.0, not of genai-prices"),
        (damaged, "", "it is damaged"),
        (text, "", "is no wheel of genai-prices"),
        (tmp_path / "nowhere.whl", "", "cannot be read"),
        (damaged, "ab" * 32, "its SHA-256 is"),
    ):
        with pytest.raises(ConfigError, match=words):
            read_wheel(path, sha256)


def test_a_running_collector_takes_an_update_and_its_rollback_without_a_restart(
    tmp_path: Path, run: Run
) -> None:
    watch = PriceWatch(None, tmp_path)
    assert (watch.poll(), usd(watch.book, "gpt-9")) == (False, None)

    run("update", "--from", wheel(tmp_path, "99.1", CHEAP), "--yes", "--data-dir", tmp_path)
    assert (watch.poll(), usd(watch.book, "gpt-9")) == (True, Decimal(7))

    (tmp_path / "prices/genai-prices-99.1/data.py").write_text("tampered with")
    in_use._use(tmp_path, in_use.read(tmp_path))
    assert (watch.poll(), usd(watch.book, "gpt-9")) == (False, Decimal(7))
    assert "was changed since it was applied; tallyspan prices rollback" in watch.last_error

    run("rollback", "--data-dir", tmp_path)
    assert (watch.poll(), usd(watch.book, "gpt-9"), watch.last_error) == (True, None, "")


def test_old_data_is_warned_of_in_health_and_metric(tmp_path: Path, store: SharedStore) -> None:
    with running_collector(tmp_path, store=store.url, prices_max_age=86_400) as collector:
        age = collector.metric("tallyspan_price_data_age_days")
        with urllib.request.urlopen(f"{collector.ready.admin}/readyz") as answer:
            (warning,) = json.load(answer)["warnings"]
    newest = installed().newest(datetime.now(UTC).date())

    assert newest is not None
    assert re.fullmatch(rf"the price data \({SOURCE}\) is \d+ days old, more than 1: .*", warning)
    assert age == (datetime.now(UTC).date() - newest).days


def test_a_difference_names_tiers_and_dates_with_old_and_new() -> None:
    dated = (
        "ModelInfo(id='m', match=ClauseEquals(equals='m'), prices=[ConditionalPrice("
        "constraint=StartDateConstraint(start_date=datetime.date(2026, 3, 1)),"
        " prices=ModelPrice(input_mtok=TieredPrices(base=Decimal('1'),"
        " tiers=[Tier(start=200000, price=Decimal('{}'))])))])"
    )
    old, new = (
        read_data(small(openai(dated.format(each), model("gone" if each == 2 else "new", "1"))))
        for each in (2, 3)
    )
    diff = difference(old, new)

    assert [*diff.lines()] == [
        "~ openai/m (from 2026-03-01) input_mtok: 1, 2 above 200,000 tokens -> 1, 3 above 200,000 tokens",
        "- openai/gone",
        "+ openai/new",
    ]
    assert [*diff.lines(1)][-1] == "... and 2 more (--all shows them)"
