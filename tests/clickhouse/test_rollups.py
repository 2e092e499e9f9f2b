import math
import os
import random
import signal
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from cases import cases
from history import History, some_history
from ledger import NOON, TOKENS, Entry, book, call, empty, reversal
from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.local import LocalStore
from tallyspan_clickhouse.migrate import migrate

VIEWS = {
    "usage_daily": ("day", "tenant", "user_id", "department", "model_name", "service_name"),
    "usage_hourly": ("hour", "tenant", "department", "agent_id", "model_name", "error_type"),
    "usage_by_model": ("day", "tenant", "department", "model_name", "error_type", "usage_source"),
    "usage_by_conversation": (
        "day",
        "tenant",
        "user_id",
        "conversation_id",
        "department",
        "agent_id",
        "service_name",
    ),
    "usage_totals": ("day", "tenant", "department", "model_name", "provider_name", "endpoint_id"),
    "usage_by_user": ("day", "tenant", "user_id", "department"),
    "usage_by_agent": ("day", "tenant", "agent_id", "department"),
    "usage_by_agent_alone": ("day", "tenant", "agent_id"),
    "usage_by_model_alone": ("day", "tenant", "model_name"),
    "usage_by_service": ("day", "tenant", "service_name", "source", "department"),
    "usage_entries": ("user_id", "conversation_id", "department", "agent_id", "usage_source"),
}

RARE = ("streamed_calls", "first_chunk_us")
"""Measures that rollups of users and conversations lack."""


def expected(history: History, keys: tuple[str, ...]) -> dict[tuple[Any, ...], dict[str, Any]]:
    groups: dict[tuple[Any, ...], list[Entry]] = defaultdict(list)
    for entry in history.live.values():
        at = entry["start_time"]
        when = {"day": at.date(), "hour": at.replace(minute=0, second=0, microsecond=0)}
        groups[tuple((when | entry)[key] for key in keys)].append(entry)
    return {key: sums(entries) for key, entries in groups.items()}


def sums(entries: list[Entry]) -> dict[str, Any]:
    def total(column: str, among: list[Entry] = entries) -> Any:
        known = [entry[column] for entry in among if entry[column] is not None]
        return sum(known) if known else None

    billed = [entry for entry in entries if not entry["is_notional"]]
    open_ = [entry for entry in billed if entry["cost_status"] == "unpriced"]
    tokens = {f"{name}_tokens": total(f"{name}_tokens") for name in TOKENS}
    given, made = tokens["input_tokens"], tokens["output_tokens"]
    return tokens | {
        "total_tokens": None if given is None and made is None else (given or 0) + (made or 0),
        "calls": len(entries),
        "errors": sum(entry["status"] == "error" for entry in entries),
        "estimated_calls": sum(entry["usage_source"] == "estimated" for entry in entries),
        "unknown_usage_calls": sum(
            entry["usage_source"] == "unknown" and entry["cost_status"] != "not_billed"
            for entry in entries
        ),
        "unpriced_calls": len(open_),
        "unpriced_tokens": (total("input_tokens", open_) or 0)
        + (total("output_tokens", open_) or 0),
        "notional_calls": len(entries) - len(billed),
        "flagged_calls": sum(bool(entry["quality_flags"]) for entry in entries),
        "streamed_calls": sum(entry["time_to_first_chunk_us"] is not None for entry in entries),
        "duration_us": total("duration_us"),
        "first_chunk_us": total("time_to_first_chunk_us") or 0,
        "cost_usd": None if len(open_) == len(entries) else total("cost_usd", billed) or Decimal(0),
        "notional_cost_usd": total("cost_usd", [e for e in entries if e["is_notional"]])
        or Decimal(0),
        "cache_saved_usd": total("cache_saved_usd", billed) or Decimal(0),
    }


def stored(
    client: Client, view: str, keys: tuple[str, ...], measures: list[str]
) -> dict[tuple[Any, ...], Any]:
    """Return what a usage view says, added up the way its columns tell their reader to."""
    counted = [*measures, *(f"{name}_stated" for name in TOKENS)]
    rows = client.query(
        f"SELECT {', '.join(keys)}, {', '.join(f'sum(v.{name}) AS {name}' for name in counted)}"
        f" FROM {view} AS v GROUP BY {', '.join(keys)} HAVING sum(v.calls) != 0"
    ).named_results()
    return {tuple(_utc(row[key]) for key in keys): _known(row, measures) for row in rows}


def _known(row: dict[str, Any], measures: list[str]) -> dict[str, Any]:
    known = {name: row[name] for name in measures}
    for name in TOKENS:
        if row[f"{name}_stated"] == 0:
            known[f"{name}_tokens"] = None
    if row["input_stated"] == 0 and row["output_stated"] == 0:
        known["total_tokens"] = None
    all_unpriced = row["calls"] == row["unpriced_calls"]
    return known | {"cost_usd": None if all_unpriced else row["cost_usd"] or Decimal(0)}


def _utc(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


@pytest.fixture(scope="module", params=range(cases(8, 100)))
def history(client: Client, request: pytest.FixtureRequest) -> History:
    """What is in the ledger: some batches, each sent once or, after an answer was lost, again."""
    empty(client)
    history, sent = some_history(request.param), random.Random(request.param)
    for number, batch in enumerate(history.batches):
        for _ in range(sent.choice([1, 1, 2, 3])):
            book(client, batch, token=f"{request.param}:{number}")
    return history


def test_rollups_equal_the_calls_after_any_history_of_reversals_price_changes_and_resent_batches(
    client: Client, history: History
) -> None:
    for view, keys in VIEWS.items():
        columns = set(client.query(f"SELECT * FROM {view} LIMIT 0").column_names)
        measures = [name for name in sums([]) if name in columns]
        assert len(measures) >= len(sums([])) - len(RARE)
        assert stored(client, view, keys, measures) == {
            group: {name: figures[name] for name in measures}
            for group, figures in expected(history, keys).items()
        }


def test_services_are_told_how_many_calls_name_no_user_and_no_conversation(
    client: Client, history: History
) -> None:
    live = history.live.values()
    asked = "SELECT sum(no_user_calls), sum(no_conversation_calls) FROM usage_by_service"
    assert client.query(asked).result_rows == [
        (
            sum(entry["user_id"] == "" for entry in live),
            sum(entry["conversation_id"] == "" for entry in live),
        )
    ]


def test_each_live_call_is_one_row_and_no_other_is(client: Client, history: History) -> None:
    columns = (
        "user_id", "model_name", "input_tokens", "output_tokens", "reasoning_tokens", "status",
        "duration_us", "time_to_first_chunk_us", "quality_flags",
    )  # fmt: skip
    rows = list(client.query("SELECT * FROM calls").named_results())

    assert sorted(row["span_id"] for row in rows) == sorted(history.live)
    for row in rows:
        live = history.live[row["span_id"]]
        assert {name: row[name] for name in columns} == {name: live[name] for name in columns}
        notional = live["is_notional"]
        assert row["cost_usd"] == (0 if notional else live["cost_usd"])
        assert row["notional_cost_usd"] == (live["cost_usd"] if notional else None)
        assert row["cache_saved_usd"] == (None if notional else live["cache_saved_usd"])
        assert row["cost_status"] == ("notional" if notional else live["cost_status"])
        assert row["price_id"] == live["price_id"]


def test_conversations_and_data_health_say_the_same_as_the_calls(
    client: Client, history: History
) -> None:
    wanted = expected(history, ("tenant", "conversation_id"))
    names = ("calls", "errors", "cost_usd", "notional_cost_usd", "unpriced_calls", "total_tokens")
    rows = client.query("SELECT * FROM conversations").named_results()
    found = {(row["tenant"], row["conversation_id"]): row for row in rows}
    assert set(found) == {key for key in wanted if key[1]}
    for key, row in found.items():
        assert {name: row[name] for name in names} == {name: wanted[key][name] for name in names}

    health = client.query(
        "SELECT sum(calls) AS calls, sum(unpriced_tokens) AS unpriced_tokens,"
        " sum(flagged_calls) AS flagged_calls, sum(reversals) AS reversals,"
        " sum(price_changes) AS price_changes FROM data_health"
    ).first_item
    whole = expected(history, ()).get((), sums([]))
    assert health == {
        **{name: whole[name] for name in ("calls", "unpriced_tokens", "flagged_calls")},
        "reversals": history.reversals,
        "price_changes": history.price_changes,
    }


def test_durations_are_kept_two_percent_exact_and_follow_reversals(
    client: Client, history: History
) -> None:
    def bucket(microseconds: int) -> int:
        return round(20 * math.log2(max(microseconds, 1)))

    durations = Counter(bucket(each["duration_us"]) for each in history.live.values())
    firsts = Counter(
        bucket(each["time_to_first_chunk_us"])
        for each in history.live.values()
        if each["time_to_first_chunk_us"] is not None
    )
    for view in ("usage_totals", "usage_entries"):
        [(all_durations, all_firsts)] = client.query(
            f"SELECT sumMap(durations), sumMap(first_chunks) FROM {view}"
        ).result_rows
        assert {key: n for key, n in all_durations.items() if n} == dict(durations)
        assert {key: n for key, n in all_firsts.items() if n} == dict(firsts)


def test_rollups_stay_when_raw_entries_go(client: Client) -> None:
    empty(client)
    book(client, [call(), call()])
    client.command("ALTER TABLE llm_calls DROP PARTITION 202603")

    assert client.query("SELECT sum(calls) FROM usage_daily").first_row == (2,)
    assert client.query("SELECT count() FROM calls").first_row == (0,)


def test_two_spans_of_one_call_are_both_shown_until_one_is_reversed(client: Client) -> None:
    empty(client)
    first, second = call(), call()
    book(client, [first, second])
    book(client, [reversal(second)])

    assert client.query("SELECT span_id FROM calls").result_rows == [(first["span_id"],)]


@pytest.mark.store
def test_a_batch_over_several_months_resent_after_a_kill_is_booked_once(tmp_path: Path) -> None:
    batch = [call(start_time=NOON + timedelta(days=31 * month)) for month in range(4)]
    with LocalStore(tmp_path) as store:
        writer = connect(store.url)
        migrate(writer)
        book(writer, batch, token="once")
        os.kill(store.engine_pid, signal.SIGKILL)
        for _ in range(3):
            book(connect_again(store), batch, token="once")

        answer = connect_again(store).query(
            "SELECT (SELECT count() FROM calls), (SELECT sum(calls) FROM usage_by_user),"
            " (SELECT sum(calls) FROM usage_hourly)"
        )
        assert answer.first_row == (4, 4, 4)


def connect_again(store: LocalStore) -> Client:
    for _ in range(200):
        try:
            return connect(store.url)
        except StoreError:  # the engine is on its way back
            time.sleep(0.05)
    return connect(store.url)
