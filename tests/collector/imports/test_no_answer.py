"""A store that answers a query with nothing at all is not one in which nothing is booked."""

from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from front import Silence, fronted
from ledger import NOON, book, call
from shared_store import SharedStore
from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.errors import StoreError
from tallyspan_collector.bills.billed import Billed
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.imports import reports
from tallyspan_collector.imports.booking import book as book_days
from tallyspan_collector.imports.matching import Matching
from tallyspan_collector.imports.schedule import Schedule
from tallyspan_collector.metrics.counters import Metrics
from tallyspan_collector.pricing.book import PriceBook

DAY = NOON.date()
MATCHING = Matching("openai", "openai", ("openai",))
PRICES = PriceBook()


def report(client: Client, tokens: int) -> list[reports.DayReport]:
    """Keep a report of so many input tokens, at a millionth of a dollar each."""
    line = Billed(
        DAY, "gpt-4.1", input_tokens=tokens, output_tokens=0, cost_usd=Decimal(tokens) / 10**6
    )
    return reports.store(client, MATCHING, [DAY], [line], NOON + timedelta(seconds=tokens))


def imported(client: Client) -> tuple[Any, ...]:
    [row] = client.query(
        "SELECT sum(input_tokens), sum(cost_usd) FROM llm_calls WHERE entry_kind = 'imported'"
    ).result_rows
    return tuple(row)


def test_an_import_whose_questions_get_no_answer_books_nothing_wrong(
    empty_store: SharedStore, client: Client
) -> None:
    book(client, [call(model_name="gpt-4.1", input_tokens=100, cost_usd=Decimal("0.0001"))])
    book_days(client, report(client, 500), PRICES, Directory())
    before = imported(client)
    assert before == (400, Decimal("0.0004"))

    with fronted(empty_store.url) as (front, url), connect(url) as through:
        silence = Silence(through, front)
        refused = 0
        for number in silence.numbers():
            tokens = 500 + number
            try:
                book_days(through, report(through, 100 + tokens), PRICES, Directory())
            except StoreError:
                refused += 1
            else:
                before = tokens, Decimal(tokens) / 10**6
            assert imported(client) == before, number

    assert 5 < refused < number


def test_a_look_whose_questions_get_no_answer_books_nothing_wrong(
    empty_store: SharedStore, client: Client
) -> None:
    book(client, [call(model_name="gpt-4.1", input_tokens=100, cost_usd=Decimal("0.0001"))])
    book_days(client, report(client, 500), PRICES, Directory())
    book(client, [call(model_name="gpt-4.1", input_tokens=50, cost_usd=Decimal("0.00005"))])
    right = (400, Decimal("0.0004")), (350, Decimal("0.00035"))

    with fronted(empty_store.url) as (front, url), connect(url) as through:
        silence = Silence(through, front)
        for number in silence.numbers():
            with suppress(StoreError):
                Schedule((), lambda: PRICES, Directory(), Metrics()).look(through, NOON)
            assert imported(client) in right, number

    assert imported(client) == right[1]
