"""What a provider gives away is given once: over the calls of a batch, and over collectors."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ledger
from priced import ns
from tallyspan.usage import Usage
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.ledger import entry
from tallyspan_collector.ledger.allowances import Allowances
from tallyspan_collector.pricing import rates
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.rates import PriceFile
from tallyspan_collector.read.call import Call

FILE = """
prices:
  - {provider: rookery, model: finder, unit: 1M tokens, input: 1, output: 1, tools: {web_search: 0.01}}
allowances:
  - {provider: rookery, model: "finder*", meter: web_search, free: 10, every: month, group: finders}
  - {provider: rookery, model: daily, meter: web_search, free: 2, at_most: 1, every: day, group: daily}
"""


@pytest.fixture
def book(tmp_path: Path) -> PriceBook:
    return book_of(tmp_path / "prices.yaml")


def book_of(path: Path) -> PriceBook:
    path.write_text(FILE)
    return PriceBook(rates.load(path), own=lambda _: PriceFile())


def a_call(
    searches: float, day: str = "2026-06-15", model: str = "finder", tenant: str = ""
) -> Call:
    return Call(
        "1" * 32, "2" * 16, "", ns(day), ns(day), "rookery", "chat", model,
        tenant=tenant, usage=Usage(0, 0), meters={"web_search": searches},
    )  # fmt: skip


def free_of(calls: Sequence[Call]) -> list[float]:
    return [call.meters.get("web_search_free", 0) for call in calls]


def test_the_first_searches_of_a_month_are_free_and_the_rest_are_billed(book: PriceBook) -> None:
    calls, _ = Allowances(book).grant([a_call(6), a_call(6), a_call(6)])
    costs = entry.costs(calls, book, Directory())

    assert free_of(calls) == [6, 4, 0]
    assert [cost.cost_picousd for cost in costs] == [0, 2 * 10**10, 6 * 10**10]


def test_each_month_tenant_and_group_has_its_own(book: PriceBook) -> None:
    calls, _ = Allowances(book).grant(
        [
            a_call(10),
            a_call(10, day="2026-07-01"),
            a_call(10, tenant="b"),
            a_call(1, model="finder-2"),
        ]
    )

    assert free_of(calls) == [10, 10, 10, 0]


def test_per_endpoint_each_has_its_own(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(FILE.replace("group: finders", "group: finders, per: endpoint"))
    book = PriceBook(rates.load(path), own=lambda _: PriceFile())
    calls = [a_call(8)._replace(endpoint_id=name) for name in ("a", "b", "a")]
    calls_with_free, _ = Allowances(book).grant(calls)

    assert free_of(calls_with_free) == [8, 8, 2]
    assert [call.conditions["allowance"] for call in calls_with_free] == [
        "finders/a", "finders/b", "finders/a",
    ]  # fmt: skip


def test_a_day_is_one_of_utc_and_of_each_call_so_much_at_most(book: PriceBook) -> None:
    days = ("2026-06-15T23:59:59", "2026-06-15T00:00:00", "2026-06-15T12:00:00", "2026-06-16")
    calls, _ = Allowances(book).grant([a_call(3, day=day, model="daily") for day in days])

    assert free_of(calls) == [1, 1, 0, 1]


def test_what_was_granted_counts_once_it_is_taken(book: PriceBook) -> None:
    allowances = Allowances(book)
    first, _ = allowances.grant([a_call(8)])  # could not be written, so the batch is made again
    calls, granted = allowances.grant([a_call(8)])
    allowances.take(granted)

    assert free_of(first) == free_of(calls) == [8]
    assert free_of(allowances.grant([a_call(8)])[0]) == [2]


def test_what_other_collectors_gave_is_in_the_ledger(book: PriceBook, client: Client) -> None:
    mine, others = Allowances(book), Allowances(book)
    allowances_of_june = {"allowance": "finders"}
    mine.take(mine.grant([a_call(1)])[1])
    ledger.book(client, [
        ledger.call(
            start_time=datetime(2026, 6, 20, tzinfo=UTC), provider_name="rookery", model_name="finder",
            meters={"web_search": 7.0, "web_search_free": 7.0}, conditions=allowances_of_june,
        ),
    ])  # fmt: skip
    mine.read(client)

    # 7 of the other collector's in the ledger, and one of ours that may not be there yet
    assert free_of(mine.grant([a_call(5)])[0]) == [3]
    assert free_of(others.grant([a_call(5)])[0]) == [5]  # has not looked yet


@given(searches=st.lists(st.integers(0, 12), max_size=12), size=st.integers(1, 5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_more_is_given_than_there_is(searches: list[int], size: int, book: PriceBook) -> None:
    allowances = Allowances(book)
    free: list[float] = []
    for start in range(0, len(searches), size):
        calls, granted = allowances.grant([a_call(n) for n in searches[start : start + size]])
        allowances.take(granted)
        free += free_of(calls)

    assert sum(free) == min(sum(searches), 10)
    assert all(given <= wanted for given, wanted in zip(free, searches, strict=True))
