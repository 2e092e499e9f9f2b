import base64
import itertools
import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given
from hypothesis import strategies as st

import ledger
from cases import cases
from ledger import NOON, Entry, call, empty, unpriced
from tallyspan_clickhouse.query import sums
from tallyspan_clickhouse.query.access import Access
from tallyspan_clickhouse.schema import SCHEMA
from tallyspan_clickhouse.schema_types import Dimension
from tallyspan_collector.summary import (
    GROUPS,
    MEASURES,
    ORDERS,
    Filters,
    RequestError,
    decimal_text,
    entries,
    parse_since,
    parse_time,
    summarise,
    summary_page,
    totals,
)
from tallyspan_collector.summary.cursor import write_cursor
from tallyspan_collector.summary.times import zone_names

NASTY_USERS = [
    "' OR 1=1 --",
    "'; DROP TABLE llm_calls; --",
    "\\",
    "\\'",
    "{user_id:String}",
    "%(user_id)s %s",
    "tab\tline\nreturn\r",
    "\\N",
    "NULL",
    "é中🎉",
    '`"',
]


def book(client: Client, *calls: Entry) -> None:
    ledger.book(client, [call(**columns) for columns in calls])


def of(said: dict[str, Any]) -> Filters:
    return Filters(**said)


@pytest.fixture
def client(client: Client) -> Client:
    empty(client)
    return client


def varied_calls(seed: int, count: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    return [
        {
            "start_time": NOON - timedelta(hours=draw.randrange(100)),
            "user_id": draw.choice(["ada", "bob", ""]),
            "department": draw.choice(["research", "sales"]),
            "agent_id": draw.choice(["", "planner"]),
            "conversation_id": draw.choice(["c1", "c2", "c3"]),
            "model_name": draw.choice(["gpt-4.1", "claude", "homemade"]),
            "endpoint_id": draw.choice(["a", "b"]),
            "provider_name": draw.choice(["openai", "anthropic"]),
            "service_name": draw.choice(["chat", "batch"]),
            "status": draw.choice(["ok", "error"]),
            "input_tokens": draw.choice([None, 0, draw.randrange(10_000)]),
            "usage_source": draw.choice(["provider", "estimated", "unknown"]),
            "source": draw.choice(["key-1", "key-2"]),
            "tenant": draw.choice(["", "acme"]),
            "operation_name": draw.choice(["chat", "embeddings"]),
            "service_tier": draw.choice(["", "flex"]),
            "is_notional": draw.random() < 0.2,
            "quality_flags": draw.choice([[], ["inferred"]]),
            "tags": draw.choice([{}, {"project": "a"}, {"project": "b", "x": "y"}]),
        }
        | draw.choice(
            [
                {"cost_usd": Decimal(draw.randrange(10**12)).scaleb(-12)},
                {"cost_usd": None, "cost_status": "unpriced"},
            ]
        )
        for _ in range(count)
    ]


def test_the_sums_of_every_grouping_equal_the_total(client: Client) -> None:
    book(client, *varied_calls(seed=1, count=200))
    total = totals(client, Filters())

    names = [*GROUPS, "tag:project"]
    several = random.Random(2).sample(list(itertools.combinations(names, 2)), 15)
    for group_by in [*((name,) for name in names), *several, tuple(names[:6])]:
        rows = summarise(client, Filters(), group_by)
        for measure in MEASURES:
            assert sum(row[measure] or 0 for row in rows) == (total[measure] or 0), group_by


ZONES = ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]
MOMENTS = [None, *(NOON + timedelta(minutes=m) for m in (-6_000, -1_481, -720, -90, -60, 0, 45))]


@pytest.mark.parametrize("seed", range(cases(12, 200)))
def test_the_rollups_say_what_the_calls_say_for_any_range_grouping_and_filter(
    client: Client, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(seed)
    book(client, *varied_calls(seed, count=80))
    start, end = draw.choice(MOMENTS), draw.choice([*MOMENTS, parse_time("2199-12-31", "end_date")])
    narrowed: list[dict[str, Any]] = [
        {}, {"user_id": "ada"}, {"model": "claude"}, {"agent_id": "planner"},
        {"source": "key-1"}, {"access": Access(("sales",))},
    ]  # fmt: skip
    begins = start if start is None or end is None or start < end else None
    asked = of(draw.choice(narrowed) | {"start": begins, "end": end})
    groups = draw.sample(list(GROUPS), draw.randrange(1, 4))
    zone = draw.choice(["UTC", *ZONES])

    by_rollup = summarise(client, asked, groups, "group", zone=zone), totals(client, asked)
    monkeypatch.setattr(sums, "can_answer", lambda *_: False)
    by_calls = summarise(client, asked, groups, "group", zone=zone), totals(client, asked)

    assert by_rollup == by_calls


def test_a_group_with_only_unpriced_calls_costs_none_and_says_how_many(client: Client) -> None:
    book(client, unpriced(user_id="bob"), unpriced(user_id="bob", input_tokens=None), {})

    ada, bob = summarise(client, Filters(), ["user"])

    assert (ada["cost_usd"], ada["unpriced_calls"], ada["unpriced_tokens"]) == (
        Decimal("0.000123"),
        0,
        0,
    )
    assert (bob["cost_usd"], bob["priced_calls"], bob["unpriced_calls"]) == (None, 0, 2)
    assert bob["unpriced_tokens"] == 120


def test_tokens_nobody_stated_are_none_and_counted_as_unknown(client: Client) -> None:
    book(client, unpriced(input_tokens=None, output_tokens=None, usage_source="unknown"))

    [row] = summarise(client, Filters(), ["user"])

    assert (row["input_tokens"], row["output_tokens"], row["total_tokens"]) == (None, None, None)
    assert row["unknown_usage_calls"] == 1


def test_a_request_the_provider_refused_to_bill_lacks_neither_price_nor_tokens(
    client: Client,
) -> None:
    refused = {"cost_usd": None, "cost_status": "not_billed", "status": "error"}
    book(
        client, {**refused, "input_tokens": None, "output_tokens": None, "usage_source": "unknown"}
    )

    total = totals(client, Filters())

    assert (total["calls"], total["errors"], total["unpriced_calls"]) == (1, 1, 0)
    assert total["unknown_usage_calls"] == 0


def test_an_empty_ledger_has_zero_calls_and_no_cost(client: Client) -> None:
    assert summarise(client, Filters(), ["user"]) == []
    assert totals(client, Filters())["calls"] == 0
    assert totals(client, Filters())["cost_usd"] is None
    assert entries(client, Filters(), 10) == ([], None)


def test_a_reversed_call_is_gone_and_a_price_change_counts_once(client: Client) -> None:
    reversal = {"entry_kind": "reversal", "sign": -1, "input_tokens": -100, "output_tokens": -10}
    change = {"entry_kind": "price_change", "sign": 0, "input_tokens": None, "output_tokens": None}
    book(
        client,
        {"span_id": "a" * 16},
        {"span_id": "a" * 16, "cost_usd": Decimal("-0.000123")} | reversal,
        {"span_id": "b" * 16},
        {"span_id": "b" * 16, "cost_usd": Decimal("0.000001")} | change,
    )

    total = totals(client, Filters())

    assert (total["calls"], total["total_tokens"]) == (1, 110)
    assert total["cost_usd"] == Decimal("0.000124")


@pytest.mark.parametrize("user_id", NASTY_USERS)
def test_a_user_id_that_looks_like_sql_is_only_a_user_id(client: Client, user_id: str) -> None:
    book(client, {"user_id": user_id}, {"user_id": "ada"})

    [row] = summarise(client, Filters(user_id=user_id), ["user"])
    [entry], _ = entries(client, Filters(user_id=user_id), 10)

    assert (row["user"], row["calls"]) == (user_id, 1)
    assert entry["user_id"] == user_id


@pytest.mark.parametrize("dimension", SCHEMA.dimensions, ids=lambda each: each.filter)
def test_each_filter_narrows_by_its_own_column(client: Client, dimension: Dimension) -> None:
    column = SCHEMA.dimensions[dimension].name
    this, that = dimension.values[:2] or ("this", "that")
    book(client, {column: this}, {column: that})

    asked, other = (of({dimension.filter: value}) for value in (this, "other"))
    assert totals(client, asked)["calls"] == 1
    assert totals(client, other)["calls"] == 0
    assert len(entries(client, asked, 10)[0]) == 1


def test_tags_narrow_and_group_by_what_they_say(client: Client) -> None:
    book(client, {"tags": {"project": "x", "'": "'"}}, {"tags": {"project": "y"}}, {})

    tagged = summarise(client, Filters(), ["tag:project"], "group")
    assert [(row["tag:project"], row["calls"]) for row in tagged] == [("", 1), ("x", 1), ("y", 1)]
    assert totals(client, Filters(tags=(("project", "x"), ("'", "'"))))["calls"] == 1
    assert totals(client, Filters(tags=(("project", ""),)))["calls"] == 1


def test_a_reader_of_departments_sees_these_and_no_other(client: Client) -> None:
    book(client, {"department": "a"}, {"department": "b"}, {"department": "c"})

    rows = summarise(client, Filters(access=Access(("a", "b"))), ["department"], "group")
    assert [row["department"] for row in rows] == ["a", "b"]
    assert totals(client, Filters(department="c", access=Access(("a", "b"))))["calls"] == 0


def test_use_on_a_subscription_is_beside_the_cost_and_not_in_it(client: Client) -> None:
    book(client, {"is_notional": True, "cost_usd": Decimal(2)}, {"cost_usd": Decimal(1)})

    total = totals(client, Filters())
    assert (total["cost_usd"], total["notional_cost_usd"]) == (1, 2)
    assert (total["calls"], total["priced_calls"], total["notional_calls"]) == (2, 1, 1)


# Around changes of the clock: in Berlin on 2026-03-29 (23 hours) and 2026-10-25 (25 hours).
CHANGES = [datetime(2026, month, day, tzinfo=UTC) for month, day in ((3, 28), (10, 24), (4, 4))]


@pytest.mark.parametrize("zone", ["UTC", *ZONES, "America/Havana", "Pacific/Chatham"])
def test_buckets_are_those_of_the_clocks_in_a_zone_through_any_change_of_them(
    client: Client, zone: str
) -> None:
    clock = ZoneInfo(zone)
    moments = [start + n * timedelta(minutes=30) for start in CHANGES for n in range(144)]
    book(client, *({"start_time": moment, "trace_id": f"{n:032x}"}
                   for n, moment in enumerate(moments)))  # fmt: skip
    local = [moment.astimezone(clock) for moment in moments]
    hours = [moment.astimezone(UTC) - _within_hour(moment) for moment in local]
    expected = {
        "hour": Counter(f"{hour.astimezone(clock).isoformat()}" for hour in hours),
        "day": Counter(str(moment.date()) for moment in local),
        "week": Counter(str(moment.date() - timedelta(days=moment.weekday())) for moment in local),
        "month": Counter(f"{moment:%Y-%m}" for moment in local),
    }

    for bucket, counted in expected.items():
        rows = summarise(client, Filters(), [bucket], "group", zone=zone)
        assert {r[bucket].replace("Z", "+00:00"): r["calls"] for r in rows} == counted
        by_user = summarise(client, Filters(), [bucket, "user"], "group", zone=zone)
        assert {r[bucket].replace("Z", "+00:00"): r["calls"] for r in by_user} == counted


def _within_hour(local: datetime) -> timedelta:
    return timedelta(minutes=local.minute)


def test_a_day_that_changes_the_clock_has_23_or_25_hours() -> None:
    def length(day: str) -> timedelta:
        start = parse_time(day, "start_date", zone="Europe/Berlin")
        return parse_time(day, "end_date", is_end=True, zone="Europe/Berlin") - start

    assert length("2026-03-29") == timedelta(hours=23)
    assert length("2026-03-30") == timedelta(hours=24)
    assert length("2026-10-25") == timedelta(hours=25)


def test_the_store_knows_every_time_zone_that_may_be_asked_for(client: Client) -> None:
    known = {row[0] for row in client.query("SELECT time_zone FROM system.time_zones").result_rows}

    assert zone_names() <= known


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_pages_of_a_summary_are_the_summary(client: Client, order: str, direction: str) -> None:
    draw = random.Random(order + direction)
    book(client, *varied_calls(seed=3, count=80))
    groups = ["user", "model", "hour", "tag:project"]
    whole = summarise(client, Filters(), groups, order, direction=direction)

    paged, cursor = [], None
    while True:
        rows, cursor = summary_page(
            client, Filters(), groups, order, draw.randint(8, 30),
            direction=direction, cursor=cursor,
        )  # fmt: skip
        paged += rows
        if cursor is None:
            break

    assert len(whole) > 40
    assert paged == whole


def test_a_cursor_of_another_question_is_refused(client: Client) -> None:
    book(client, {"user_id": "a"}, {"user_id": "b"})
    _, of_users = summary_page(client, Filters(), ["user"], limit=1)
    _, of_calls = entries(client, Filters(), 1)

    with pytest.raises(RequestError, match="an answer to the same question"):
        summary_page(client, Filters(), ["model"], limit=1, cursor=of_users)
    with pytest.raises(RequestError, match="an answer to the same question"):
        summary_page(client, Filters(user_id="a"), ["user"], limit=1, cursor=of_users)
    with pytest.raises(RequestError, match="an answer to the same question"):
        entries(client, Filters(), 1, of_users)
    assert of_calls is not None


@pytest.mark.parametrize("values", [[0, "1e9", "a"], [0, "x", "a"], [2**63, "1", "a"], [0, "1"]])
def test_a_cursor_somebody_wrote_himself_is_refused(client: Client, values: list[Any]) -> None:
    book(client, {"user_id": "a"}, {"user_id": "b"})
    _, ours = summary_page(client, Filters(), ["user"], limit=1)
    assert ours is not None
    question = json.loads(base64.b64decode(ours + "=" * (-len(ours) % 4)))[0]

    with pytest.raises(RequestError, match="cursor must be the next_cursor"):
        summary_page(client, Filters(), ["user"], cursor=write_cursor(question, values))


def test_a_part_of_a_name_finds_it_in_any_case(client: Client) -> None:
    book(client, {"user_id": "Ada.L"}, {"user_id": "bob"}, {"user_id": "%"})

    rows, _ = summary_page(client, Filters(), ["user"], contains="ADA")
    literal, _ = summary_page(client, Filters(), ["user"], contains="%")
    assert [row["user"] for row in rows] == ["Ada.L"]
    assert [row["user"] for row in literal] == ["%"]
    assert totals(client, Filters(), ("user", "ada"))["calls"] == 1


def test_the_start_is_included_and_the_end_is_not_to_the_microsecond(client: Client) -> None:
    tick = timedelta(microseconds=1)
    book(client, *({"start_time": NOON + n * tick} for n in (-1, 0, 1, 2)))

    rows, _ = entries(client, Filters(start=NOON, end=NOON + 2 * tick), 10)

    assert [row["timestamp"] for row in rows] == [NOON + tick, NOON]


def test_days_and_hours_are_those_of_utc(client: Client) -> None:
    book(client, {"start_time": datetime(2026, 3, 31, 23, 59, 59, 999999, tzinfo=UTC)})

    [row] = summarise(client, Filters(), ["day", "hour"])

    assert (row["day"], row["hour"]) == ("2026-03-31", "2026-03-31T23:00:00Z")


def test_an_order_puts_the_most_first_and_the_unpriced_last(client: Client) -> None:
    book(
        client,
        unpriced(user_id="a", input_tokens=9_000),
        {"user_id": "b", "cost_usd": Decimal(1)},
        {"user_id": "c", "cost_usd": Decimal(2), "input_tokens": 1},
        {"user_id": "c", "cost_usd": Decimal(2), "input_tokens": 1},
    )
    orders = {
        order: "".join(r["user"] for r in summarise(client, Filters(), ["user"], order))
        for order in ORDERS
    }

    assert orders == {
        "cost": "cba", "tokens": "abc", "calls": "cab", "errors": "abc", "group": "abc",
    }  # fmt: skip
    backwards = summarise(client, Filters(), ["user"], "cost", direction="asc")
    assert [r["user"] for r in backwards] == ["b", "c", "a"]
    assert [r["user"] for r in summarise(client, Filters(), ["user"], limit=1)] == ["c"]


@pytest.mark.parametrize("seed", range(cases(2, 30)))
def test_pages_of_any_size_bring_every_entry_once_while_calls_arrive(
    client: Client, seed: int
) -> None:
    draw = random.Random(seed)
    # Few different times, so that pages end between calls of the same microsecond.
    ids = [{"trace_id": "0" * 32, "span_id": f"{n:016x}"} for n in range(60)]
    book(
        client,
        *({"start_time": NOON - timedelta(seconds=draw.randrange(4))} | each for each in ids),
    )
    expected = {f"{'0' * 32}-{n:016x}" for n in range(60)}

    seen: list[tuple[datetime, str]] = []
    cursor = None
    for page in itertools.count():
        rows, cursor = entries(client, Filters(), draw.randint(1, 20), cursor)
        seen += [(row["timestamp"], row["log_id"]) for row in rows]
        late = {"start_time": NOON + timedelta(seconds=1), "span_id": f"{page:f>16}"}
        book(client, late)
        if cursor is None:
            break

    assert [log_id for _, log_id in seen if log_id in expected] == [log_id for _, log_id in seen]
    assert {log_id for _, log_id in seen} == expected
    assert len(seen) == 60
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize("cursor", ["", "x", "é", "bnVsbA", "WzEsMl0", "W3RydWV9", "a" * 5000])
def test_a_cursor_that_is_not_ours_is_refused(client: Client, cursor: str) -> None:
    with pytest.raises(RequestError, match="cursor must be the next_cursor"):
        entries(client, Filters(), 10, cursor)


@pytest.mark.parametrize("group_by", [[], ["user", "user"], ["users"], [""], ["user; DROP"]])
def test_an_unknown_grouping_is_refused_with_those_allowed(
    client: Client, group_by: list[str]
) -> None:
    with pytest.raises(RequestError, match=r"group_by must be one or several .* user, department"):
        summarise(client, Filters(), group_by)


def test_a_range_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(RequestError, match="start_date must be before end_date"):
        Filters(start=NOON, end=NOON)


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-03-31", datetime(2026, 3, 31, tzinfo=UTC)),
        ("2026-03-31T12:00", NOON),
        ("2026-03-31T12:00:00Z", NOON),
        ("2026-03-31T14:00:00+02:00", NOON),
    ],
)
def test_a_time_is_utc_unless_it_says_otherwise(value: str, moment: datetime) -> None:
    assert parse_time(value, "start_date") == moment


def test_an_end_date_includes_its_day_and_an_end_time_is_exact() -> None:
    assert parse_time("2026-03-31", "end_date", is_end=True) == datetime(2026, 4, 1, tzinfo=UTC)
    assert parse_time("2026-03-31T12:00", "end_date", is_end=True) == NOON


@pytest.mark.parametrize(
    "value", ["", "yesterday", "2026-02-30", "9999-12-31", "0001-01-01T00:00+14:00", "1969-12-30"]
)
def test_a_time_that_is_none_is_refused_by_name(value: str) -> None:
    with pytest.raises(RequestError, match=r"end_date must be a date .2026-01-31. or a time"):
        parse_time(value, "end_date", is_end=True)


def test_since_counts_back_in_hours_days_and_weeks() -> None:
    assert parse_since("12h", NOON) == NOON - timedelta(hours=12)
    assert parse_since("30d", NOON) == NOON - timedelta(days=30)
    assert parse_since("4w", NOON) == NOON - timedelta(weeks=4)


@pytest.mark.parametrize(
    "value", ["", "d", "0d", "-1d", "30", "30m", "1.5d", "999999w", "1d ", "٣d"]
)
def test_a_since_that_is_none_is_refused_with_examples(value: str) -> None:
    with pytest.raises(RequestError, match=r"since must be a number .* 12h, 30d or 4w"):
        parse_since(value, NOON)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=12))
def test_an_amount_as_text_is_the_same_amount_without_an_exponent(amount: Decimal) -> None:
    text = decimal_text(amount)

    assert Decimal(text) == amount
    assert "E" not in text
