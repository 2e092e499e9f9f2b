"""After a crash that left a rollup short or with too much, the difference is added."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from front import Mode, fronted
from ledger import NOON, book, call, reversal
from shared_store import SharedStore
from tallyspan_clickhouse import archive, repair, retention
from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.errors import StoreError

EQUAL = """
SELECT (SELECT (sum(sign), sum(input_tokens), sum(cost_usd)) FROM llm_calls) AS base,
       (SELECT (sum(calls), sum(input_tokens), sum(cost_usd)) FROM rollup_hourly
        HAVING sum(arraySum(mapValues(durations))) = sum(calls)) AS hourly,
       (SELECT (sum(calls), sum(input_tokens), sum(cost_usd)) FROM rollup_days
        WHERE part = 'totals' HAVING sum(arraySum(mapValues(durations))) = sum(calls)) AS totals,
       (SELECT (sum(calls), sum(input_tokens), sum(cost_usd)) FROM rollup_days
        WHERE part = 'agents_alone' HAVING sum(arraySum(mapValues(durations))) = sum(calls))
        AS agents_alone,
       (SELECT (sum(calls), sum(input_tokens), sum(cost_usd)) FROM rollup_days
        WHERE part = 'agents') AS agents,
       (SELECT (sum(calls), sum(input_tokens), sum(cost_usd)) FROM rollup_conversations)
        AS conversations,
       (SELECT (sum(calls), sum(input_tokens), sum(cost_usd)) FROM rollup_users) AS users
"""


@pytest.fixture
def client(empty_store: SharedStore, client: Client) -> Client:
    book(client, [call(start_time=NOON - timedelta(days=3))])
    return client


def figures(client: Client) -> tuple[object, ...]:
    (row,) = client.query(EQUAL).result_rows
    return tuple(row)


@pytest.mark.parametrize(
    "damage",
    [
        "ALTER TABLE rollup_hourly DELETE WHERE toDate(hour) = '2026-03-31' SETTINGS mutations_sync = 2",
        "INSERT INTO rollup_hourly SELECT * FROM rollup_hourly WHERE toDate(hour) = '2026-03-31'",
        "ALTER TABLE rollup_days DELETE WHERE part = 'agents' AND day = '2026-03-31' SETTINGS mutations_sync = 2",
        "INSERT INTO rollup_days SELECT * FROM rollup_days WHERE day = '2026-03-31' AND part = 'totals'",
        "ALTER TABLE rollup_conversations DELETE WHERE user_id = 'u1' SETTINGS mutations_sync = 2",
        "INSERT INTO rollup_conversations SELECT * FROM rollup_conversations WHERE user_id = 'u2'",
        "ALTER TABLE rollup_users DELETE WHERE user_id = 'u1' SETTINGS mutations_sync = 2",
    ],
)
def test_what_a_rollup_lost_or_has_twice_is_put_right(
    client: Client, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(repair, "SETTLED_SECONDS", 0.01)
    book(client, [call(user_id=f"u{n % 3}", batch_id=7, start_time=NOON) for n in range(30)])
    assert len(set(figures(client))) == 1
    client.command(damage)
    assert len(set(figures(client))) > 1

    assert repair.repair(client, [7]).rows > 0
    assert len(set(figures(client))) == 1
    assert repair.repair(client, [7]) == (0, set())


def test_a_correction_that_was_lost_is_found_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair, "SETTLED_SECONDS", 0.01)
    gone = call(user_id="gone", batch_id=9, start_time=NOON)
    book(client, [gone, reversal(gone)])
    asked = "SELECT count() FROM calls WHERE user_id = 'gone'"
    assert client.query(asked).result_rows == [(0,)]
    client.command("TRUNCATE TABLE corrected_calls")
    assert client.query(asked).result_rows == [(1,)]

    assert repair.repair(client, [9]).rows == 1
    assert client.query(asked).result_rows == [(0,)]
    assert repair.repair(client, [9]) == (0, set())


@pytest.mark.parametrize(
    "damage",
    [
        "TRUNCATE TABLE doubtful_entries",
        "INSERT INTO doubtful_entries SELECT * FROM doubtful_entries SETTINGS insert_deduplicate = 0",
    ],
)
def test_a_doubtful_entry_that_was_lost_or_is_there_twice_is_put_right(
    client: Client, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(repair, "SETTLED_SECONDS", 0.01)
    book(client, [call(batch_id=3, unread=["usage.tier"], price_flags=[flag]) for flag in "xy"])
    asked = (
        "SELECT count(), sum(input_tokens), sum(cost_usd), sum(entries) FROM"
        " (SELECT * FROM doubtful_entries FINAL)"
    )
    right = client.query(asked).result_rows
    assert right == [(2, 200, Decimal("0.000246"), 2)]
    client.command(damage)
    assert client.query(asked).result_rows != right

    assert repair.repair(client, [3]).rows == 2
    assert client.query(asked).result_rows == right
    assert repair.repair(client, [3]) == (0, set())


def test_the_oldest_day_of_the_ledger_is_repaired_as_any_other(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair, "SETTLED_SECONDS", 0.01)
    oldest = NOON - timedelta(days=50)
    book(client, [call(batch_id=4, start_time=oldest)])
    client.command(
        "ALTER TABLE rollup_users DELETE WHERE day = '2026-02-09' SETTINGS mutations_sync = 2"
    )

    assert repair.repair(client, [4]) == (1, set())
    (total,) = client.query("SELECT sum(calls), sum(cost_usd) FROM rollup_users").result_rows
    assert total == (2, Decimal("0.000246"))


def test_what_was_archived_stays_in_the_rollups_and_the_batchs_other_days_are_repaired(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair, "SETTLED_SECONDS", 0.01)
    october = datetime(2025, 10, 9, 12, tzinfo=UTC)
    book(client, [call(start_time=october, cost_usd=Decimal("0.02")) for _ in range(203)])
    archive.archive(client, 202510, tmp_path)
    # Late calls of October and of a month before it, in one batch: October is not the oldest day.
    september = datetime(2025, 9, 9, 12, tzinfo=UTC)
    late = [call(start_time=october, batch_id=5, cost_usd=Decimal("0.01")) for _ in range(4)]
    book(client, [*late, call(start_time=september, batch_id=5)])
    client.command(
        "ALTER TABLE rollup_users DELETE WHERE day = '2025-09-09' SETTINGS mutations_sync = 2"
    )

    assert repair.repair(client, [5]) == (1, {october.date()})
    per_month = "SELECT toYYYYMM(day) AS m, sum(calls), sum(cost_usd) FROM {} GROUP BY m ORDER BY m"
    for rollup in ("rollup_users", "rollup_days WHERE part = 'totals'"):
        assert client.query(per_month.format(rollup)).result_rows == [
            (202509, 1, Decimal("0.000123")),
            (202510, 207, Decimal("4.10")),
            (202603, 1, Decimal("0.000123")),
        ]


def test_what_expired_stays_in_the_rollups_also_when_the_retention_is_longer_by_now(
    client: Client,
) -> None:
    day = datetime.now(UTC) - timedelta(days=80)
    retention.keep(client, "llm_calls", 60)
    retention.keep(client, "llm_calls", 0)  # for ever, from now on
    book(client, [call(batch_id=2, start_time=day)])
    client.insert("rollup_users", [["", day.date(), "expired", "", 7]],
                  column_names=["tenant", "day", "user_id", "department", "calls"])  # fmt: skip

    assert repair.repair(client, [2]) == (0, {day.date()})
    assert client.query("SELECT sum(calls) FROM rollup_users").result_rows == [(9,)]


def test_what_somebody_took_from_the_ledger_by_hand_stays_in_the_rollups(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair, "SETTLED_SECONDS", 0.01)
    booked = {"start_time": NOON, "ingested_at": NOON - timedelta(days=1)}
    book(client, [call(batch_id=1, **booked) for _ in range(7)])
    book(client, [call(batch_id=2, start_time=NOON) for _ in range(3)])
    client.command("ALTER TABLE llm_calls DELETE WHERE batch_id = 1 SETTINGS mutations_sync = 2")

    assert repair.repair(client, [2]) == (0, {NOON.date()})
    assert client.query("SELECT sum(calls) FROM rollup_users").result_rows == [(11,)]


def test_an_answer_without_the_rows_that_were_counted_is_not_taken_for_no_days(
    client: Client,
) -> None:
    with pytest.raises(StoreError, match="batch 99 were counted"):
        repair.repair(client, [99])


def test_an_empty_answer_is_not_taken_for_no_difference(
    empty_store: SharedStore, client: Client
) -> None:
    book(client, [call(batch_id=1, start_time=NOON)])
    with fronted(empty_store.url) as (front, url), connect(url) as behind:
        front.befall(Mode.EMPTY, b"SELECT groupArray(tuple(")
        with pytest.raises(StoreError, match="the store gave no answer"):
            repair.repair(behind, [1])
