"""After a crash that left a rollup short or with too much, the difference is added."""

from datetime import timedelta

import pytest
from clickhouse_connect.driver.client import Client

from ledger import NOON, book, call, empty, reversal
from shared_store import SharedStore
from tallyspan_clickhouse import repair

EQUAL = """
SELECT (SELECT (sum(sign), sum(input_tokens), sum(cost_usd)) FROM llm_calls) AS base,
       (SELECT (sum(calls), sum(input_tokens), sum(cost_usd)) FROM rollup_daily) AS daily,
       (SELECT (sum(calls), sum(input_tokens), sum(cost_usd)) FROM rollup_hourly) AS hourly,
       (SELECT (sum(calls), sum(input_tokens), sum(cost_usd)) FROM rollup_models
        HAVING sum(arraySum(mapValues(durations))) = sum(calls)) AS models,
       (SELECT (sum(calls), sum(input_tokens), sum(cost_usd)) FROM rollup_conversations
        HAVING sum(arraySum(mapValues(durations))) = sum(calls)) AS conversations
"""


@pytest.fixture
def client(empty_store: SharedStore, client: Client) -> Client:
    book(client, [call(start_time=NOON - timedelta(days=3))])  # NOON is not the oldest day
    return client


def figures(client: Client) -> tuple[object, ...]:
    (row,) = client.query(EQUAL).result_rows
    return tuple(row)


@pytest.mark.parametrize(
    "damage",
    [
        "ALTER TABLE rollup_daily DELETE WHERE user_id = 'u1' SETTINGS mutations_sync = 2",
        "ALTER TABLE rollup_hourly DELETE WHERE toDate(hour) = '2026-03-31' SETTINGS mutations_sync = 2",
        "INSERT INTO rollup_daily SELECT * FROM rollup_daily WHERE user_id = 'u2'",
        "INSERT INTO rollup_models SELECT * FROM rollup_models WHERE day = '2026-03-31'",
        "ALTER TABLE rollup_conversations DELETE WHERE user_id = 'u1' SETTINGS mutations_sync = 2",
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

    assert repair.repair(client, 7) > 0
    assert len(set(figures(client))) == 1
    assert repair.repair(client, 7) == 0


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

    assert repair.repair(client, 9) > 0
    assert client.query(asked).result_rows == [(0,)]
    assert repair.repair(client, 9) == 0


def test_what_expired_from_the_ledger_stays_in_the_rollups(client: Client) -> None:
    empty(client)
    book(client, [call(batch_id=1, start_time=NOON) for _ in range(5)])
    book(client, [call(batch_id=2, start_time=NOON) for _ in range(3)])
    client.command("ALTER TABLE llm_calls DELETE WHERE batch_id = 1 SETTINGS mutations_sync = 2")

    assert repair.repair(client, 2) == 0
    assert client.query("SELECT sum(calls) FROM rollup_daily").result_rows == [(8,)]
