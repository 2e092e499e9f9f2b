"""Closed months: what is checked, what is kept, and that it stays while the ledger goes on."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from command_line import CommandLine
from ledger import book, call, price_change, reversal, unpriced
from shared_store import SharedStore
from tallyspan_clickhouse.ledger_lock import ledger_lock
from tallyspan_collector.booked.prior_period import PriorPeriod
from tallyspan_collector.months import close as closing
from tallyspan_collector.months import lines, listing
from tallyspan_collector.months.checks import checks
from tallyspan_collector.months.schedule import Closing

JAN, FEB, MARCH, APRIL = (date(2026, month, 1) for month in (1, 2, 3, 4))
BY_REASON = ["--accept", "no_bill=no provider sends bills here"]


class Bench(CommandLine):
    """The command on a ledger."""

    name = "month"

    def closed(self, month: str) -> None:
        assert self.run("close", month, *BY_REASON) == 0, self.err

    def by_month(self, by: str = "''") -> dict[Any, Decimal]:
        """Return what the ledger's rollups have of each month, in USD."""
        return _by_month(self.client, by)


def _by_month(client: Client, by: str = "''") -> dict[Any, Decimal]:
    rows = client.query(
        f"SELECT toStartOfMonth(day) AS month, {by} AS part, sum(cost_usd) AS cost"
        " FROM usage_by_conversation GROUP BY month, part HAVING cost != 0"
    ).result_rows
    return {(month, part) if by != "''" else month: cost for month, part, cost in rows}


@pytest.fixture
def bench(empty_store: SharedStore, client: Client, capsys: pytest.CaptureFixture[str]) -> Bench:
    return Bench(empty_store.data_dir, client, capsys)


def used(month: date, cost: str, **columns: Any) -> dict[str, Any]:
    at = datetime(month.year, month.month, 15, 12, tzinfo=UTC)
    return call(start_time=at, cost_usd=Decimal(cost), ingested_at=at, **columns)


def move(client: Client) -> None:
    """Move what changed in closed months, as the collector does by itself."""
    Closing().look(client)


def test_a_closed_month_is_kept_by_department_and_cost_centre(bench: Bench) -> None:
    bench.client.insert(
        "directory",
        [["", user, date(1970, 1, 1), date(2299, 12, 31), department, centre, 1]
         for user, department, centre in (("ada", "research", "0042"), ("bob", "sales", "0007"))],
        column_names=["tenant", "user_id", "valid_from", "valid_to", "department", "cost_centre",
                      "version"],
    )  # fmt: skip
    book(
        bench.client,
        [
            used(MARCH, "6"),
            used(MARCH, "3", user_id="bob", department="sales"),
            used(MARCH, "1", user_id="", department="sales"),  # of the key: its people have one
            used(MARCH, "0.5", user_id="eve", department=""),
        ],
    )

    bench.closed("2026-03")

    kept = bench.client.query(
        "SELECT department, cost_centre, sum(cost_usd), sum(calls) FROM closed_months"
        " WHERE month = '2026-03-01' GROUP BY ALL ORDER BY ALL"
    ).result_rows
    assert kept == [
        ("", "", Decimal("0.5"), 1),
        ("research", "0042", Decimal(6), 1),
        ("sales", "0007", Decimal(4), 2),
    ]
    assert "2026-03 is closed as version 1: recorded $10.50, trued up $0.00: $10.50" in bench.out


def test_a_cost_centre_that_is_the_user_s_and_the_department_s_is_kept_with_both_amounts(
    bench: Bench,
) -> None:
    # Ada is in the directory from the 10th; before it, hers is what all of research have.
    bench.client.insert(
        "directory",
        [["", "ada", date(2026, 3, 10), date(2299, 12, 31), "research", "0042", 1]],
        column_names=["tenant", "user_id", "valid_from", "valid_to", "department", "cost_centre",
                      "version"],
    )  # fmt: skip
    early = call(start_time=datetime(2026, 3, 5, 12, tzinfo=UTC), cost_usd=Decimal(2))
    book(bench.client, [early, used(MARCH, "6")])

    bench.closed("2026-03")

    kept = bench.client.query(
        "SELECT user_id, cost_centre, cost_usd, calls FROM closed_months"
    ).result_rows
    assert kept == [("ada", "0042", Decimal(8), 2)]
    move(bench.client)
    assert bench.by_month() == {MARCH: Decimal(8)}


def test_what_changes_in_a_closed_month_is_booked_in_the_next_open_one(bench: Bench) -> None:
    mine, twice = used(MARCH, "6"), used(MARCH, "2")
    book(bench.client, [mine, twice, used(APRIL, "1")])
    bench.closed("2026-03")
    now = datetime(2026, 4, 20, tzinfo=UTC)

    # A late call, a price that rises, a call that is taken back: 3 + 4 - 2 more in March.
    book(
        bench.client,
        [used(MARCH, "3", user_id="bob"), price_change(mine, Decimal(10), now), reversal(twice)],
    )
    move(bench.client)

    assert bench.by_month() == {MARCH: Decimal(8), APRIL: Decimal(6)}
    assert bench.by_month("user_id") == {
        (MARCH, "ada"): Decimal(8),
        (APRIL, "ada"): Decimal(3),  # its own call, and 4 - 2
        (APRIL, "bob"): Decimal(3),
    }
    of_april = bench.client.query(
        "SELECT closed_month, user_id, cost_usd FROM month_corrections"
        " WHERE booked_in = '2026-04-01' ORDER BY user_id"
    ).result_rows
    assert of_april == [
        (MARCH, "ada", Decimal(2)),
        (MARCH, "bob", Decimal(3)),
    ]
    move(bench.client)
    assert bench.by_month() == {MARCH: Decimal(8), APRIL: Decimal(6)}


def test_a_correction_passes_over_months_that_are_closed_too(bench: Bench) -> None:
    book(bench.client, [used(JAN, "1"), used(FEB, "2"), used(MARCH, "3")])
    bench.closed("2026-01")
    book(bench.client, [used(JAN, "10")])
    move(bench.client)
    assert bench.by_month() == {JAN: Decimal(1), FEB: Decimal(12), MARCH: Decimal(3)}
    bench.closed("2026-02")  # with the correction of January

    book(bench.client, [used(JAN, "100"), used(FEB, "1000")])
    move(bench.client)

    assert bench.by_month() == {JAN: Decimal(1), FEB: Decimal(12), MARCH: Decimal(1103)}


def test_a_month_that_is_opened_again_gets_its_corrections_back(bench: Bench) -> None:
    book(bench.client, [used(JAN, "1"), used(FEB, "2")])
    bench.closed("2026-01")
    book(bench.client, [used(JAN, "10")])
    move(bench.client)
    bench.closed("2026-02")

    assert bench.run("reopen", "2026-01", "--reason", "the bill was wrong") == 0

    # February stays what it was closed with: what goes back is booked in March.
    assert bench.by_month() == {JAN: Decimal(11), FEB: Decimal(12), MARCH: Decimal(-10)}
    assert "2026-01 is open; $10.00 of corrections went back to it" in bench.out
    states = {row["month"]: row["state"] for row in listing.months(bench.client)}
    assert (states[JAN], states[FEB]) == ("reopened", "closed")
    bench.closed("2026-01")
    assert lines.state_of(bench.client, JAN).version == 2
    rows = bench.client.query(
        "SELECT state, version, reason FROM month_closes WHERE month = '2026-01-01'"
        " ORDER BY written_at"
    ).result_rows
    assert rows == [("closed", 1, ""), ("reopened", 1, "the bill was wrong"), ("closed", 2, "")]


def test_a_run_that_broke_off_between_both_entries_is_completed(bench: Bench) -> None:
    book(bench.client, [used(JAN, "1")])
    bench.closed("2026-01")
    closing = Closing()
    for _ in range(3):  # the collector has been running for a while
        closing.look(bench.client)
    book(bench.client, [used(JAN, "10")])
    kind = PriorPeriod()
    [out, _] = list(kind.calls(bench.client))  # what is taken out, and what is booked
    book(bench.client, list(kind.entries(out)))

    closing.look(bench.client)

    assert bench.by_month() == {JAN: Decimal(1), FEB: Decimal(10)}


def test_what_moves_between_users_of_a_department_is_a_correction_too(bench: Bench) -> None:
    mine = used(JAN, "1", user_id="")
    book(bench.client, [mine])
    bench.closed("2026-01")
    closing = Closing()
    for _ in range(3):
        closing.look(bench.client)

    book(bench.client, [reversal(mine), used(JAN, "1", user_id="ada")])  # a late span names her
    closing.look(bench.client)

    assert bench.by_month("user_id") == {
        (JAN, ""): Decimal(1),
        (FEB, ""): Decimal(-1),
        (FEB, "ada"): Decimal(1),
    }


def test_a_month_is_refused_until_its_checks_hold_or_are_accepted(bench: Bench) -> None:
    book(
        bench.client,
        [used(MARCH, "6"), used(MARCH, "1", unread=["usage.new_tokens"]),
         unpriced(start_time=datetime(2026, 3, 2, tzinfo=UTC))],
    )  # fmt: skip

    assert bench.run("close", "2026-03") == 1

    assert "2026-03 stays open: unpriced, unread, no_bill; mend it, or --accept" in bench.err
    assert "1 call without a price (gpt-4.1): tallyspan prices missing" in bench.out
    assert "not trued up (no bill was read): openai $7.00" in bench.out
    assert not lines.state_of(bench.client, MARCH).is_closed
    accepted = [f"--accept={name}=tests only" for name in ("unpriced", "unread", "no_bill")]
    assert bench.run("close", "2026-03", *accepted) == 0
    [[kept]] = bench.client.query("SELECT accepted FROM months").result_rows
    assert kept == dict.fromkeys(("unpriced", "unread", "no_bill"), "tests only")


def test_a_bill_that_does_not_agree_keeps_a_month_open(bench: Bench, tmp_path: Path) -> None:
    book(bench.client, [used(FEB, "6")])
    (tmp_path / "b.csv").write_text("day,model,cost_usd\n2026-02-15,gpt-4.1,7\n")
    bill = ["csv", "--file", str(tmp_path / "b.csv"), "--ledger-provider", "openai"]
    true_up = Bench(bench.folder, bench.client, bench.capsys)
    true_up.name = "true-up"
    whole = ["--from", "2026-02-01", "--to", "2026-02-28", "--apply", "--reason", "invoice"]
    assert true_up.run(*bill, *whole[:2], "--to", "2026-02-20", *whole[4:]) == 0, true_up.err
    assert bench.run("close", "2026-02") == 1
    assert "8 days without a bill (21, 22, 23, 24, 25): tallyspan true-up" in bench.out
    assert true_up.run(*bill, *whole) == 0
    book(bench.client, [used(FEB, "0.5")])
    assert bench.run("check", "2026-02") == 1
    assert "-$0.50 to be trued up again: tallyspan true-up csv" in bench.out
    assert true_up.run(*bill, *whole) == 0

    assert bench.run("close", "2026-02") == 0, bench.err

    assert "recorded $6.50, trued up $0.50: $7.00; billed $7.00" in bench.out


def test_a_bill_that_changes_after_the_close_is_a_correction(bench: Bench, tmp_path: Path) -> None:
    book(bench.client, [used(FEB, "6")])
    bench.closed("2026-02")
    (tmp_path / "b.csv").write_text("day,model,cost_usd\n2026-02-15,gpt-4.1,7\n")
    true_up = Bench(bench.folder, bench.client, bench.capsys)
    true_up.name = "true-up"

    code = true_up.run(
        "csv", "--file", str(tmp_path / "b.csv"), "--ledger-provider", "openai",
        "--from", "2026-02-15", "--to", "2026-02-15", "--apply", "--reason", "late invoice",
    )  # fmt: skip

    assert code == 0
    assert "2026-02 is closed: what changes in it is booked in 2026-03" in true_up.err
    assert bench.by_month() == {FEB: Decimal(6), MARCH: Decimal(1)}  # by the command itself
    audit = bench.client.query(
        "SELECT kind, reason, new_cost_usd FROM price_changes WHERE state = 'finished'"
        " ORDER BY started_at"
    ).result_rows
    assert audit == [
        ("true_up", "late invoice", Decimal(1)),
        ("prior_period", "of a closed month: late invoice", Decimal(1)),
    ]


def test_a_month_whose_entries_have_expired_stays_as_it_was_closed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    book(bench.client, [used(JAN, "1"), used(FEB, "2")])
    bench.closed("2026-01")
    book(bench.client, [used(JAN, "10")])
    move(bench.client)
    before = bench.by_month()
    # January's last entry, which took the ten dollars out, is gone; February's first one is not.
    bench.client.command("ALTER TABLE llm_calls DELETE WHERE start_time < '2026-02-01 00:00:00'"
                         " SETTINGS mutations_sync = 2")  # fmt: skip
    for module in ("booked.prior_period", "months.schedule", "months.close"):
        monkeypatch.setattr(f"tallyspan_collector.{module}.gone_until", lambda _: date(2026, 1, 31))

    move(bench.client)

    assert bench.by_month() == before == {JAN: Decimal(1), FEB: Decimal(12)}
    assert bench.run("reopen", "2026-01", "--reason", "r") == 2
    assert "2026-01: its entries up to 2026-01-31 have expired or are archived" in bench.err


def test_what_cannot_be_closed_or_opened_is_refused(bench: Bench) -> None:
    book(bench.client, [used(MARCH, "6")])
    this = f"{datetime.now(UTC):%Y-%m}"
    for arguments, message in (
        (["close", "2026-13"], "2026-13: must be a month like 2026-10"),
        (["close", this], f"{this}: is not over"),
        (["reopen", "2026-03", "--reason", "r"], "2026-03: is not closed"),
        (["close", "2026-03", "--accept", "unread=x"], "--accept unread: no check of this name"),
        (["close", "2026-03", "--accept", "no_bill"], "--accept no_bill: must be LEFT=RIGHT"),
    ):
        assert bench.run(*arguments) == 2
        assert message in bench.err
    bench.closed("2026-03")
    assert bench.run("close", "2026-03") == 2
    assert "2026-03: is closed already, as version 1 since" in bench.err


def test_of_two_closes_at_once_one_is_refused(bench: Bench) -> None:
    with (
        ledger_lock(bench.client, "month close 2026-03"),
        pytest.raises(Exception, match="booked calls are being changed"),
    ):
        closing.close(bench.client, MARCH, {}, patience_seconds=0)


def test_a_month_that_was_closed_with_nothing_in_it_is_listed_and_stays_empty(
    bench: Bench,
) -> None:
    assert bench.run("close", "2026-02") == 0
    closing = Closing()
    for _ in range(3):
        closing.look(bench.client)
    [row] = listing.months(bench.client)
    assert (row["month"], row["state"], row["cost_usd"], row["closed_usd"]) == (FEB, "closed", 0, 0)

    book(bench.client, [used(FEB, "6")])
    closing.look(bench.client)

    assert bench.by_month() == {MARCH: Decimal(6)}


def test_months_are_listed_with_what_is_recorded_trued_up_and_billed(bench: Bench) -> None:
    book(bench.client, [used(FEB, "6"), used(MARCH, "1")])
    bench.closed("2026-02")

    assert bench.run("list") == 0

    rows = [line.split() for line in bench.out.splitlines()]
    assert rows[0][:8] == ["month", "state", "recorded", "true", "up", "prior", "period", "cost"]
    assert rows[1] == ["2026-03", "open", "$1.00", "$0.00", "$0.00", "$1.00", "-"]
    assert rows[2][:9] == [
        "2026-02", "closed", "(version", "1)", "$6.00", "$0.00", "$0.00", "$6.00", "-",
    ]  # fmt: skip


MONTHS = [JAN, FEB, MARCH]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("book"), st.sampled_from(MONTHS), st.integers(-50, 50)),
        st.tuples(st.just("close"), st.sampled_from(MONTHS), st.just(0)),
        st.tuples(st.just("reopen"), st.sampled_from(MONTHS), st.just(0)),
    ),
    min_size=3,
    max_size=9,
)


@settings(max_examples=6, deadline=None)
@given(steps=STEPS)
def test_closed_months_stand_and_nothing_is_lost_whatever_happens(
    store: SharedStore, client: Client, steps: list[tuple[str, date, int]]
) -> None:
    store.empty()
    frozen: dict[date, Decimal] = {}
    total, now = Decimal(0), datetime(2026, 6, 1, tzinfo=UTC)
    for what, month, cents in steps:
        now += timedelta(hours=1)
        if what == "book" and cents:
            book(client, [used(month, f"{cents}", department=("a", "b")[cents % 2])])
            total += cents
            move(client)
        elif what == "close" and month not in frozen:
            accepted = {} if not _has_spend(client, month) else {"no_bill": "none"}
            closing.close(client, month, accepted)
            frozen[month] = _by_month(client).get(month, Decimal(0))
        elif what == "reopen" and month in frozen:
            closing.reopen(client, month, reason="r")
            del frozen[month]
        live = _by_month(client)
        assert {each: live.get(each, Decimal(0)) for each in frozen} == frozen
        assert sum(live.values()) == total


def _has_spend(client: Client, month: date) -> bool:
    return any(each.name == "no_bill" and not each.is_passed for each in checks(client, month))
