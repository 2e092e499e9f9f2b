"""Sums over a range: from the rollup that knows what is asked, and the same as from the entries."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from clickhouse_connect.driver.client import Client

from call_facts import Fact, fill
from tallyspan_clickhouse.query.binding import Bound
from tallyspan_clickhouse.query.days import Source, Span, span
from tallyspan_clickhouse.schema import SCHEMA
from tallyspan_clickhouse.schema_types import HOUR

NOW = datetime.now(UTC).replace(microsecond=0)
FILTERS = {"user": "user_id", "model": "model_name", "department": "department"}
HOURS = [0.2, 0.7, 1, 3, 5, 11, 23, 24, 25, 30, 47, 49, 71, 73, 100, 101, 140, 200, 300, 700]
FACTS = [
    Fact(hours, "ada" if number % 2 else "bob", "sales" if number % 3 else "research",
         "gpt-5" if number % 5 else "claude", "tutor", "c1", cost=Decimal(number + 1))
    for number, hours in enumerate(HOURS)
]  # fmt: skip


@pytest.fixture(scope="module")
def ledger(client: Client) -> Client:
    fill(client, FACTS, NOW)
    return client


SOURCES = {
    "usage_totals": Source(("department", "model_name")),
    "usage_by_user": Source(("user_id", "department")),
    "usage_by_agent": Source(("agent_id", "department"), ("durations",)),
    "usage_by_agent_alone": Source(("agent_id",), ("durations",)),
    "usage_by_model_alone": Source(("model_name",), ("first_chunks",)),
    "usage_by_service": Source(("service_name",), ("no_user_calls",)),
    "usage_by_model": Source(("usage_source",)),
    "usage_by_conversation": Source(("conversation_id",)),
    "usage_hourly": Source(("service_name",), unit=HOUR),
}


@pytest.mark.parametrize("view", SOURCES)
def test_the_rollup_is_the_first_one_that_knows_columns_and_measures(view: str) -> None:
    assert SOURCES[view].rollup.view == view


def test_what_no_rollup_knows_is_refused_at_once() -> None:
    with pytest.raises(LookupError, match=r"request_model.*add one to schema\.py"):
        Source(("request_model",))
    with pytest.raises(LookupError, match="first_chunks"):
        Source(("agent_id",), ("first_chunks",))


@pytest.mark.parametrize("view", SOURCES)
@pytest.mark.parametrize("chosen", [{}, {"user": ["ada"]}, {"model": ["claude"], "user": ["bob"]}])
@pytest.mark.parametrize("hours", [0.5, 2, 20, 40, 120, 350])
def test_a_range_has_its_calls_whatever_is_chosen(
    ledger: Client, view: str, chosen: dict[str, list[str]], hours: float
) -> None:
    start = NOW - timedelta(hours=hours)
    source, binding = SOURCES[view], Bound()
    parameters = {
        "from_s": int(start.timestamp()), "to_s": int(NOW.timestamp()),
        **{name: chosen.get(name, []) for name in FILTERS},
    }  # fmt: skip

    def total(span: Span, since: float) -> None:
        rows = source.rows(binding, span, FILTERS)
        [(calls, cost)] = ledger.query(
            f"SELECT sum(call_count), ifNull(sum(cost_usd), 0) FROM {rows}", parameters=parameters
        ).result_rows
        facts = [
            each
            for each in FACTS
            if each.hours_ago <= since
            and each.user in chosen.get("user", [each.user])
            and each.model in chosen.get("model", [each.model])
        ]
        assert calls == len(facts)
        assert cost == sum(each.cost or 0 for each in facts)

    total(source.in_range(binding), hours)
    # With as much time before it, and a cut between the two.
    before = f"({binding.start} - ({binding.end} - {binding.start}))"
    within = f"start_time >= {before} AND start_time <= {binding.end}"
    total(span(before, binding.end, within, binding.start), 2 * hours)


@pytest.mark.parametrize("hours", [20, 350])
@pytest.mark.parametrize("view", ["usage_by_agent_alone", "usage_by_model_alone", "usage_totals"])
def test_who_chooses_departments_or_sees_only_some_reads_no_sums_of_all_of_them(
    ledger: Client, view: str, hours: float
) -> None:
    start, sales = NOW - timedelta(hours=hours), ["sales"]
    expected = sum(each.hours_ago <= hours and each.department == "sales" for each in FACTS)
    for is_limited in (False, True):
        binding = Bound(is_limited=is_limited)
        source = SOURCES[view]
        [(calls,)] = ledger.query(
            f"SELECT sum(call_count) FROM {source.rows(binding, source.in_range(binding), FILTERS)}",
            parameters={
                "from_s": int(start.timestamp()), "to_s": int(NOW.timestamp()),
                "user": [], "model": [], "department": [] if is_limited else sales,
                "own_department": sales, "own_tenant": [],
            },
        ).result_rows  # fmt: skip
        assert calls == expected > 0


def test_a_column_of_all_rollups_by_day_can_be_a_source() -> None:
    for rollup in SCHEMA.rollups:
        if rollup.time == "day":
            source = Source(tuple(sorted(rollup.columns)))
            assert rollup.columns <= source.rollup.columns
