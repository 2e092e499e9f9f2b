"""Spans, imports, late calls, corrections and restarts in any order end at the same amounts."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import NOON, Entry, book, call, empty, reversal
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
MODELS = ("gpt-4.1", "gpt-5")
TOKEN_USD = Decimal("0.000002")
PRICES = PriceBook()


def report(*amounts: tuple[int, str, int]) -> list[Billed]:
    """Return lines of (model, user, input tokens), each at the price of the calls."""
    return [
        Billed(
            DAY, MODELS[model], user=user, input_tokens=tokens, output_tokens=0,
            cost_usd=tokens * TOKEN_USD,
        )
        for model, user, tokens in amounts
    ]  # fmt: skip


def spent(model: int, user: str, tokens: int) -> Entry:
    return call(
        model_name=MODELS[model], user_id=user, input_tokens=tokens, output_tokens=0,
        cost_usd=tokens * TOKEN_USD,
    )  # fmt: skip


AMOUNT = st.tuples(st.integers(0, 1), st.sampled_from(["", "ada", "bob"]), st.integers(1, 999))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("spans"), st.lists(AMOUNT, min_size=1, max_size=2)),
        st.tuples(st.just("import"), st.lists(AMOUNT, max_size=3)),
        st.tuples(st.just("taken back"), st.none()),
        st.tuples(st.just("read, and killed"), st.lists(AMOUNT, max_size=3)),
        st.tuples(st.just("collector looks"), st.none()),
    ),
    max_size=5,
)


@settings(max_examples=5)
@given(steps=STEPS, last=st.lists(AMOUNT, max_size=3))
def test_after_the_last_look_spans_and_imports_are_the_larger_one(
    client: Client, steps: list[Any], last: list[tuple[int, str, int]]
) -> None:
    empty(client)
    for table in ("usage_reports", "usage_report_days", "import_lines", "price_changes"):
        client.command(f"TRUNCATE TABLE {table}")
    schedule = Schedule((), lambda: PRICES, Directory(), Metrics())
    calls: list[Entry] = []
    for step, amounts in [*steps, ("import", last), ("collector looks", None)]:
        match step:
            case "spans":
                calls += (late := [spent(*each) for each in amounts])
                book(client, late)
            case "taken back" if calls:
                book(client, [reversal(calls.pop())])
            case "import":
                held = reports.store(client, MATCHING, [DAY], report(*amounts), datetime.now(UTC))
                book_days(client, held, PRICES, Directory())
            case "read, and killed":
                reports.store(client, MATCHING, [DAY], report(*amounts), datetime.now(UTC))
            case "collector looks":  # a new one: nothing is remembered
                schedule = Schedule((), lambda: PRICES, Directory(), Metrics())
                schedule.look(client, NOON)

    rows = client.query(
        "SELECT model_name, sum(input_tokens), sum(cost_usd), countIf(entry_kind = 'imported')"
        " FROM llm_calls GROUP BY model_name"
    ).result_rows
    total = {model: (tokens, cost) for model, tokens, cost, _ in rows}
    reported = {model: sum(n for m, _, n in last if MODELS[m] == model) for model in MODELS}
    unnamed = sum(each["input_tokens"] for each in calls if not reported[each["model_name"]])
    room = 0
    for model in MODELS:
        recorded = sum(each["input_tokens"] for each in calls if each["model_name"] == model)
        room += max(reported[model] - recorded, 0)
    booked = sum(tokens for tokens, _ in total.values())
    assert booked == sum(each["input_tokens"] for each in calls) + max(room - unnamed, 0)
    for tokens, cost in total.values():
        assert cost == tokens * TOKEN_USD
