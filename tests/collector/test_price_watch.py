"""A price file that changes under a running collector."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ledger import book, unpriced
from priced import ns, price
from running import running_collector
from shared_store import SharedStore
from tallyspan.usage import Usage
from tallyspan_collector.pricing.cost import Priced
from tallyspan_collector.pricing.watch import PriceWatch
from waiting import wait_for

ONE = "prices:\n  - {model: m, unit: 1M tokens, input: 1}\n"


def cost(watch: PriceWatch) -> int:
    found = price(watch.book, "m", Usage(1, 0), provider="mine", at_ns=ns("2026-06-01"))
    assert isinstance(found, Priced)
    return found.cost_picousd


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "models_pricing.yaml"
    path.write_text(ONE)
    return path


def test_new_prices_are_used_once_the_file_has_them(file: Path) -> None:
    watch = PriceWatch(file)
    before = cost(watch), watch.poll()
    file.write_text(ONE.replace("input: 1", "input: 22"))

    assert before == (10**6, False)
    assert watch.poll()
    assert cost(watch) == 22 * 10**6


@pytest.mark.parametrize("broken", ["prices: [{model: m}]\n", "prices:\n\t- x\n", ""])
def test_a_broken_file_keeps_the_old_prices_and_says_so(file: Path, broken: str) -> None:
    watch = PriceWatch(file)
    file.write_text(broken)

    assert not watch.poll()
    assert cost(watch) == 10**6
    assert watch.last_error.startswith(f"{file}:")
    file.write_text(ONE + "# mended\n")
    assert watch.poll()
    assert watch.last_error == ""


def test_a_file_that_goes_away_keeps_the_old_prices(file: Path) -> None:
    watch = PriceWatch(file)
    file.unlink()

    assert not watch.poll()
    assert cost(watch) == 10**6
    assert "cannot be read" in watch.last_error


def test_a_price_that_arrives_prices_the_calls_that_waited_for_it(
    tmp_path: Path, empty_store: SharedStore
) -> None:
    file = tmp_path / "models_pricing.yaml"
    file.write_text("prices: []\n")
    with running_collector(tmp_path / "data", file, store=empty_store.url) as collector:
        book(collector.client, [unpriced(model_name="m", start_time=datetime.now(UTC))])
        file.write_text(ONE)
        done = "SELECT kind, calls, newly_priced_calls FROM price_changes WHERE state = 'finished'"
        audit = wait_for(lambda: collector.rows(done), "the back-fill")

        assert audit == [{"kind": "backfill", "calls": 1, "newly_priced_calls": 1}]
        (row,) = collector.rows("SELECT cost_usd, cost_status FROM calls")
        assert row["cost_status"] == "priced"
        assert float(row["cost_usd"]) == 0.0001
        versions = collector.rows("SELECT added, removed FROM price_books ORDER BY loaded_at")
        assert [len(version["added"]) for version in versions] == [0, 1]
        file.write_text("prices: nonsense\n")
        wait_for(
            lambda: collector.metric("tallyspan_price_file_broken") == 1, "word of the broken file"
        )
