"""Calls that are taken back after their price changed leave nothing behind."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cases import cases
from ledger import NOON, Entry, book, call, empty, price_change, reversal, unpriced
from tallyspan_collector.booked.remainders import book_away
from tallyspan_collector.booked.reprice import Reprice, Scope
from tallyspan_collector.booked.run import run
from tallyspan_collector.pricing.book import PriceBook

SCOPE = Scope(NOON - timedelta(days=1), NOON + timedelta(days=1))
PRICES = "prices:\n  - {model: gpt-4.1, unit: 1M tokens, input: %d, output: 0}\n"
STEPS = ("book", "take back", "reprice at 3", "reprice at 30", "back-fill", "late change")


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> dict[int, PriceBook]:
    folder = tmp_path_factory.mktemp("prices")
    return {usd: PriceBook.load(written(folder / f"{usd}.yaml", usd)) for usd in (3, 30)}


def written(path: Path, usd: int) -> Path:
    path.write_text(PRICES % usd)
    return path


class History:
    """Some calls, what happens to them, and what they must cost: the rule in few lines."""

    def __init__(self, client: Client, books: dict[int, PriceBook]) -> None:
        self.client, self.books = client, books
        self.calls = [call(), unpriced(), call(user_id="bob", is_notional=True)]
        self.live: dict[int, Entry] = {}
        self.gone: list[Entry] = []
        self.cost: dict[int, Decimal | None] = {}

    def do(self, step: str, number: int) -> None:
        now = {"ingested_at": datetime.now(UTC)}
        match step:
            case "book" if number not in self.live:
                self.live[number] = self.calls[number] | now
                self.cost[number] = self.calls[number]["cost_usd"]
                book(self.client, [self.live[number]])
            case "take back" if number in self.live:
                self.gone.append(self.live.pop(number))
                book(self.client, [reversal(self.gone[-1]) | now])
            case "late change" if self.gone and self.gone[-1]["span_id"] not in self.spans():
                # Its run had read the call before it was taken back.
                book(self.client, [price_change(self.gone[-1], Decimal(1), now["ingested_at"])])
            case "reprice at 3" | "reprice at 30" | "back-fill":
                usd = 30 if step.endswith("30") else 3
                only = Scope(SCOPE.start, SCOPE.end, only_unpriced=step == "back-fill")
                run(self.client, Reprice(self.books[usd], only), is_applied=True)
                for each in self.live:
                    if step != "back-fill" or self.cost[each] is None:
                        self.cost[each] = Decimal(usd * 100) / 10**6

    def spans(self) -> set[str]:
        return {entry["span_id"] for entry in self.live.values()}

    def due(self, *, billed: bool) -> Decimal:
        chosen = [n for n, entry in self.live.items() if not (billed and entry["is_notional"])]
        return sum((self.cost[number] or Decimal(0) for number in chosen), Decimal(0))


def figures(client: Client, query: str) -> tuple[object, ...]:
    return tuple(value or 0 for value in client.query(query).first_row or ())


WHAT_IS_LEFT = [("book", 0), ("reprice at 3", 0), ("take back", 0)]


@settings(max_examples=cases(4, 60))
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 2)), min_size=3, max_size=12))
@example(WHAT_IS_LEFT)
@example([*WHAT_IS_LEFT, ("book", 0)])
@example([*WHAT_IS_LEFT, ("book", 0), ("reprice at 30", 0)])
@example([("book", 1), ("back-fill", 1), ("take back", 1)])
@example(
    [("book", 1), ("back-fill", 1), ("take back", 1), ("book", 1), ("take back", 1), ("book", 1)]
)
@example([("book", 0), ("take back", 0), ("late change", 0)])
@example([("book", 2), ("reprice at 30", 2), ("take back", 2), ("book", 2)])
def test_whatever_the_order_totals_are_what_the_calls_that_are_left_cost(
    client: Client, books: dict[int, PriceBook], steps: list[tuple[str, int]]
) -> None:
    empty(client)
    history = History(client, books)
    for number, (step, which) in enumerate(steps):
        history.do(step, which)
        if number % 4 == 3:
            book_away(client)  # in the middle of it as well
    book_away(client)

    waiting = sum(
        history.cost[n] is None and not each["is_notional"] for n, each in history.live.items()
    )
    ledger = "sum(sign), sum(cost_usd), sum(unpriced_calls), sum(unpriced_tokens)"
    assert figures(client, f"SELECT {ledger} FROM llm_calls") == (
        len(history.live), history.due(billed=False), waiting, waiting * 110,
    )  # fmt: skip
    rollup = "sum(calls), sum(cost_usd), sum(unpriced_calls)"
    assert figures(client, f"SELECT {rollup} FROM usage_daily") == (
        len(history.live), history.due(billed=True), waiting,
    )  # fmt: skip
    assert figures(client, "SELECT count(), sum(cost_usd) FROM calls") == (
        len(history.live), history.due(billed=True),
    )  # fmt: skip
    assert book_away(client) == 0


def test_what_was_booked_away_is_in_the_audit(client: Client, books: dict[int, PriceBook]) -> None:
    empty(client)
    client.command("TRUNCATE TABLE price_changes")
    history = History(client, books)
    for step, which in WHAT_IS_LEFT:
        history.do(step, which)

    assert book_away(client) == 1
    said = "SELECT calls, old_cost_usd, new_cost_usd, changed_by FROM price_changes"
    assert client.query(f"{said} WHERE kind = 'remainder' AND state = 'finished'").result_rows == [
        (1, Decimal("0.000177"), Decimal(0), "tallyspan")
    ]


def test_a_call_without_a_price_change_is_left_alone(client: Client) -> None:
    empty(client)
    taken_back = call()
    book(client, [call(), taken_back, reversal(taken_back)])

    assert book_away(client, NOON - timedelta(days=1)) == 0
