"""The cost of commitments in the ledger: every day adds up to it, whatever happens to the calls."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import cases
from front import Silence, fronted
from ledger import NOON, Entry, book, call, empty, reversal, unpriced
from shared_store import SharedStore
from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.retention import keep
from tallyspan_collector.booked import ledger
from tallyspan_collector.booked.audit import Audit
from tallyspan_collector.booked.commitments import Result, Spread, booked_days, first_bookable
from tallyspan_collector.booked.cover import Cover
from tallyspan_collector.booked.finished_days import book_finished
from tallyspan_collector.booked.run import run
from tallyspan_collector.pricing import rates
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.rates import PriceFile
from tallyspan_collector.summary import Filters, summarise
from tallyspan_collector.summary.totals import totals

DAY = NOON.date()
PTU = (
    "{name: ptu, kind: provisioned, endpoint: ptu.example.com, price: 1, per: hour, from: 2026-03-01,"
    " department: platform%s}"
)
SEATS = "{name: team, kind: plan, provider: anthropic, price: 31, per: month, units: 4, from: 2026-03-01%s}"
LEAST = "{name: least, kind: minimum, provider: openai, price: 100, per: month, from: 2026-03-01}"
Files = Callable[..., PriceFile]


@pytest.fixture(autouse=True)
def _empty(client: Client) -> None:
    empty(client)
    client.command("TRUNCATE TABLE price_changes")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return lambda *entries: file_of(tmp_path, *entries)


def file_of(folder: Path, *entries: str) -> PriceFile:
    path = folder / "models_pricing.yaml"
    lines = "".join(f"  - {each}\n" for each in entries)
    path.write_text(f"commitments:\n{lines}" if entries else "prices: []\n")
    return rates.load(path)


def covered(**columns: Any) -> Entry:
    """A call that the provisioned commitment pays for; by the token it would cost 0.000123 USD."""
    return call(
        endpoint_id="ptu.example.com", is_notional=True, conditions={"commitment": "ptu"}
    ) | columns  # fmt: skip


def planned(**columns: Any) -> Entry:
    """A call that is reported as on a subscription."""
    return call(
        provider_name="anthropic", endpoint_id="api.anthropic.com", model_name="claude-opus-5",
        is_notional=True, conditions={},
    ) | columns  # fmt: skip


def spread(client: Client, file: PriceFile, *days: date) -> Result:
    return run(client, Spread(file, days or [DAY]), is_applied=True, reason="a test")


def shares(client: Client, by: str = "user_id, cost_status") -> dict[tuple[object, ...], Decimal]:
    rows = client.query(
        f"SELECT {by}, sum(cost_usd) AS usd FROM llm_calls WHERE entry_kind = 'commitment'"
        " GROUP BY ALL HAVING usd != 0"
    ).result_rows
    return {tuple(keys): usd for *keys, usd in rows}


def test_a_day_is_spread_by_tokens(client: Client, files: Files) -> None:
    book(
        client,
        [covered(input_tokens=90), covered(input_tokens=190), covered(user_id="bob"), call()],
    )
    spread(client, files(PTU % ""))

    # 24 USD over 100 + 200 and 110 tokens; nothing is unused without a capacity
    assert shares(client) == {
        ("ada", "commitment"): Decimal("17.560975609756"),  # 7200 / 410 = 17.5609756097560...
        ("bob", "commitment"): Decimal("6.439024390244"),  # 2640 / 410 = 6.4390243902439...
    }


def test_a_day_of_which_a_question_gets_no_answer_is_not_booked_otherwise(
    store: SharedStore, client: Client, files: Files
) -> None:
    """A store with a full disk answers some questions with nothing, as if nothing were booked."""
    book(client, [covered(input_tokens=90), covered(user_id="bob")])
    book(client, [planned(), call(provider_name="openai")])
    file = files(PTU % "", SEATS % "", LEAST)
    spread(client, file)
    right = shares(client)

    with fronted(store.url) as (front, url), connect(url) as through:
        for _ in Silence(through, front).numbers():
            with suppress(StoreError):
                spread(through, file)
            assert shares(client) == right


def test_a_day_is_spread_by_what_the_calls_would_have_cost(client: Client, files: Files) -> None:
    book(client, [covered(cost_usd=Decimal(3)), covered(user_id="bob", cost_usd=Decimal(1))])
    spread(client, files(PTU % ", spread: list cost"))

    assert shares(client) == {("ada", "commitment"): Decimal(18), ("bob", "commitment"): Decimal(6)}


def test_by_tokens_where_a_call_has_no_list_price(client: Client, files: Files) -> None:
    none = unpriced(
        endpoint_id="ptu.example.com", is_notional=True, conditions={"commitment": "ptu"}
    )
    book(client, [covered(), none | {"user_id": "bob"}])
    spread(client, files(PTU % ", spread: list cost"))

    assert shares(client) == {
        ("ada", "commitment"): Decimal(12),
        ("bob", "commitment"): Decimal(12),
    }


def test_what_the_capacity_was_not_used_for_is_unused(client: Client, files: Files) -> None:
    book(client, [covered(input_tokens=360, output_tokens=360)])
    spread(client, files(PTU % ", capacity: {input: 1, output: 2}"))

    # 1,440 input or 2,880 output tokens a day: 360 / 1440 + 360 / 2880 = 3/8 of 24 USD
    assert shares(client, "user_id, department, endpoint_id, cost_status") == {
        ("ada", "research", "ptu.example.com", "commitment"): Decimal(9),
        ("", "platform", "ptu.example.com", "unused"): Decimal(15),
    }


def test_a_day_without_calls_is_unused(client: Client, files: Files) -> None:
    spread(client, files(PTU % ""))

    assert shares(client) == {("", "unused"): Decimal(24)}


def test_not_spread_it_stands_under_its_department(client: Client, files: Files) -> None:
    book(client, [covered()])
    spread(client, files(PTU % ", spread: none"))

    assert shares(client, "department, user_id, cost_status") == {
        ("platform", "", "commitment"): Decimal(24)
    }


def test_a_seat_is_used_by_who_made_a_call_in_thirty_days(client: Client, files: Files) -> None:
    book(
        client,
        [
            planned(), planned(),
            planned(user_id="bob", start_time=NOON - timedelta(days=29)),
            planned(user_id="eve", start_time=NOON - timedelta(days=30)),
            planned(user_id="dan", provider_name="openai"),
            covered(user_id="cy", provider_name="anthropic"),
        ],
    )  # fmt: skip
    spread(client, files(SEATS % ""))

    # 4 seats of 31 USD in a month of 31 days
    assert shares(client) == {
        ("ada", "plan"): Decimal(1), ("bob", "plan"): Decimal(1), ("", "unused"): Decimal(2),
    }  # fmt: skip


def test_more_users_than_seats_share_them(client: Client, files: Files) -> None:
    book(client, [planned(user_id=f"user {n}") for n in range(8)])
    spread(client, files(SEATS % ""))

    assert {*shares(client).values()} == {Decimal("0.5")}


def test_what_a_month_lacks_of_its_minimum_is_unused_on_its_last_day(
    client: Client, files: Files
) -> None:
    book(
        client,
        [
            call(cost_usd=Decimal(30), start_time=datetime(2026, 3, 1, tzinfo=UTC)),
            call(cost_usd=Decimal(25), provider_name="anthropic"),
            covered(cost_usd=Decimal(9)),
            call(cost_usd=Decimal(20), start_time=datetime(2026, 4, 1, tzinfo=UTC)),
        ],
    )
    spread(client, files(LEAST), *(DAY - timedelta(days=n) for n in range(5)))

    assert shares(client, "toString(start_time), provider_name, cost_status") == {
        ("2026-03-31 12:00:00.000000", "openai", "unused"): Decimal(70)
    }


def test_a_month_above_its_minimum_owes_nothing(client: Client, files: Files) -> None:
    book(client, [call(cost_usd=Decimal(100))])

    assert spread(client, files(LEAST)).entries == 0


def test_more_than_an_entry_can_hold_is_several(client: Client, files: Files) -> None:
    spread(client, files((PTU % "").replace("price: 1,", "price: 100000,")))

    assert shares(client) == {("", "unused"): Decimal(2_400_000)}


def test_totals_say_what_is_use_commitment_plan_and_unused(client: Client, files: Files) -> None:
    book(client, [covered(), planned(), call(cost_usd=Decimal("0.5")), unpriced()])
    spread(client, files(PTU % ", capacity: {input: 1}", SEATS % ""))
    names = ("calls", "cost_usd", "use_cost_usd", "commitment_cost_usd", "plan_cost_usd",
             "unused_cost_usd", "unpriced_calls")  # fmt: skip
    everything = totals(client, Filters())

    # 100 of 1,440 tokens: 24 x 100 / 1440 USD are used; one of four seats
    assert {name: everything[name] for name in names} == {
        "calls": 4, "cost_usd": Decimal("28.5"), "use_cost_usd": Decimal("0.5"),
        "commitment_cost_usd": Decimal("1.666666666667"), "plan_cost_usd": Decimal(1),
        "unused_cost_usd": Decimal("25.333333333333"), "unpriced_calls": 1,
    }  # fmt: skip


GROUPS = ("user", "department", "model", "endpoint", "provider", "agent", "conversation",
          "service", "source", "status", "cost_status", "day", "hour", "month", "tag:x")  # fmt: skip


def test_whatever_it_is_grouped_by_the_sum_is_the_same(client: Client, files: Files) -> None:
    book(client, [covered(), planned(), call(cost_usd=Decimal("0.5")), unpriced()])
    spread(client, files(PTU % ", capacity: {input: 1}", SEATS % ""))
    for filters in (
        Filters(),
        Filters(start=NOON - timedelta(hours=5), end=NOON + timedelta(hours=5)),
    ):
        for group in GROUPS:
            rows = summarise(client, filters, [group])

            assert sum(row["cost_usd"] or 0 for row in rows) == Decimal("28.5"), group
            assert sum(row["calls"] for row in rows) == 4, group


def test_days_whose_entries_may_have_expired_are_not_booked_again(client: Client) -> None:
    keep(client, "llm_calls", 400)
    try:
        assert DAY - first_bookable(client, DAY) == timedelta(days=400 - 31)
    finally:
        keep(client, "llm_calls", 0)
    assert first_bookable(client, DAY) == date.min


def test_a_preview_books_nothing(client: Client, files: Files) -> None:
    result = run(client, Spread(files(PTU % ""), [DAY]), is_applied=False)

    assert [total.due_usd for total in result.by_month_and_name.values()] == [Decimal(24)]
    assert shares(client) == {}


def test_who_booked_it_why_and_how_much_is_in_the_audit(client: Client, files: Files) -> None:
    spread(client, files(PTU % ""))

    query = "SELECT state, reason, old_cost_usd, new_cost_usd, new_price_ids FROM price_changes"
    assert client.query(f"{query} WHERE kind = 'commitment' ORDER BY state").result_rows == [
        ("begun", "a test", Decimal(0), Decimal(0), []),
        ("finished", "a test", Decimal(0), Decimal(24), ["ptu"]),
    ]


PRICES = st.sampled_from(["", "0", "1", "0.333333", "7", "90000"])
STEPS = st.one_of(
    st.tuples(st.just("call"), st.sampled_from("abc"), st.integers(0, 5)),
    st.tuples(st.just("take back"), st.just(""), st.integers(0, 5)),
    st.tuples(st.just("file"), PRICES, st.integers(0, 3)),
    st.tuples(st.just("book"), st.just(""), st.just(0)),
)
SPREADS = ("", ", spread: list cost", ", capacity: {input: 1, output: 3}", ", spread: none")


@settings(max_examples=cases(4, 60))
@given(steps=st.lists(STEPS, min_size=4, max_size=14))
def test_the_shares_of_a_day_are_its_cost_whatever_happens(
    client: Client, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, int]]
) -> None:
    empty(client)
    folder = tmp_path_factory.mktemp("prices")
    file, hourly, live = file_of(folder), Decimal(0), []
    for step, text, number in [*steps, ("book", "", 0)]:
        match step:
            case "call":
                live.append(
                    covered(user_id=text, input_tokens=number * 7, ingested_at=datetime.now(UTC))
                )
                book(client, live[-1:])
            case "take back" if live:
                book(client, [reversal(live.pop(number % len(live)))])
            case "file":
                entries = (
                    [(PTU % SPREADS[number]).replace("price: 1", f"price: {text}")] if text else []
                )
                file, hourly = file_of(folder, *entries), Decimal(text or 0)
            case "book":
                spread(client, file)

                assert sum(shares(client).values()) == hourly * 24
                assert all(usd > 0 for usd in shares(client).values())
                assert spread(client, file).entries == 0
    rollup = client.query("SELECT sum(cost_usd), sum(calls) FROM usage_daily").first_row
    assert tuple(value or 0 for value in rollup or ()) == (hourly * 24, len(live))
    assert client.query("SELECT count() FROM calls").first_row == (len(live),)

    spread(client, file_of(folder))
    assert shares(client) == {}


def test_calls_from_before_the_file_had_it_are_covered_by_entries(
    client: Client, files: Files
) -> None:
    before = call(endpoint_id="ptu.example.com", conditions={"geo": "us"})
    none = unpriced(endpoint_id="ptu.example.com", conditions={})
    new = call(endpoint_id="ptu.example.com", conditions={}, ingested_at=datetime.now(UTC))
    book(client, [before, none, new, call(conditions={}), planned()])
    price_book = PriceBook(files(PTU % ""))
    result = run(client, Cover(price_book, [DAY]), is_applied=True)

    assert (result.calls, result.not_settled) == (2, 1)
    assert (result.old_cost_usd, result.new_cost_usd) == (Decimal("0.000123"), Decimal(0))
    figures = "SELECT sum(calls), sum(cost_usd), sum(notional_cost_usd), sum(unpriced_calls), sum(notional_calls)"
    assert client.query(f"{figures} FROM usage_daily").first_row == (
        5, Decimal("0.000246"), Decimal("0.000246"), 0, 3,
    )  # fmt: skip
    marks = client.query(
        "SELECT conditions['commitment'], count() FROM calls GROUP BY 1 ORDER BY 1"
    ).result_rows
    assert marks == [("", 3), ("ptu", 2)]
    assert run(client, Cover(price_book, [DAY]), is_applied=True).calls == 0


def test_taken_out_of_the_file_they_are_billed_again(client: Client, files: Files) -> None:
    none = unpriced(endpoint_id="ptu.example.com", conditions={})
    book(client, [call(endpoint_id="ptu.example.com", conditions={}), none, planned()])
    later = datetime.now(UTC) + timedelta(hours=14)
    for file in (files(PTU % ""), files()):
        run(client, Cover(PriceBook(file), [DAY], later), is_applied=True)

    figures = "SELECT sum(calls), sum(cost_usd), sum(notional_cost_usd), sum(unpriced_calls), sum(unpriced_tokens)"
    assert client.query(f"{figures} FROM usage_daily").first_row == (
        3, Decimal("0.000123"), Decimal("0.000123"), 1, 110,
    )  # fmt: skip


MORNING = NOON + timedelta(hours=20)
"""The next day, when DAY is over."""


def test_a_collector_books_days_that_are_over_once(client: Client, files: Files) -> None:
    price_book = PriceBook(files((PTU % "").replace("2026-03-01", "2026-03-30")))
    book(client, [covered()])

    assert book_finished(client, price_book, MORNING) == (2, 0)
    assert book_finished(client, price_book, MORNING) == (0, 0)
    assert {day: cost for (day, _), cost in booked_days(client, DAY - timedelta(days=9), DAY).items()} == {
        DAY - timedelta(days=1): Decimal(24), DAY: Decimal(24),
    }  # fmt: skip


def test_a_late_call_gets_its_share(client: Client, files: Files) -> None:
    price_book = PriceBook(files((PTU % "").replace("2026-03-01", "2026-03-31")))
    book(client, [covered()])
    book_finished(client, price_book, MORNING)
    book(client, [covered(user_id="bob")])

    assert book_finished(client, price_book, MORNING) == (2, 0)
    assert shares(client) == {
        ("ada", "commitment"): Decimal(12),
        ("bob", "commitment"): Decimal(12),
    }


def test_what_the_file_has_otherwise_is_left_to_a_person(client: Client, files: Files) -> None:
    """Two collectors with different files would book against each other for ever."""
    since = "2026-03-31"
    book_finished(client, PriceBook(files((PTU % "").replace("2026-03-01", since))), MORNING)
    other = (PTU % "").replace("2026-03-01", since)

    for changed in (other.replace("price: 1", "price: 2"), other.replace("ptu,", "east,")):
        assert book_finished(client, PriceBook(files(changed)), MORNING) == (0, 1)
    assert book_finished(client, PriceBook(files()), MORNING) == (0, 0)
    assert shares(client) == {("", "unused"): Decimal(24)}


def test_a_run_that_was_broken_off_is_completed(client: Client, files: Files) -> None:
    file = files((PTU % "").replace("2026-03-01", "2026-03-31"))
    book(client, [covered(user_id=f"user {n}") for n in range(3)])
    broken = Spread(file, [DAY])
    Audit(
        client, broken.audit_table, {"changed_by": "", "reason": "", **broken.audit_scope()}
    ).begin()
    first, *_ = broken.calls(client)
    ledger.book(client, broken.name, [ledger.Change(first, broken.entries(first))])

    assert [*shares(client).values()] == [Decimal(8)]
    assert book_finished(client, PriceBook(file), MORNING) == (2, 0)
    assert [*shares(client).values()] == [Decimal(8)] * 3
