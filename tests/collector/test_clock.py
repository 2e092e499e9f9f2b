"""A clock that is wrong costs no call: it is kept where it is found, and flagged."""

import time
from datetime import datetime
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otlp_spans import CHAT, request, span
from running import running_collector
from shared_store import SharedStore
from tallyspan_collector.read.call import Call, Flag
from tallyspan_collector.read.received import (
    AHEAD_NS,
    BEHIND_NS,
    FIRST_CALL_NS,
    TAG,
    Receipt,
    as_received,
)

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
DAY_NS = 86_400 * 10**9
RECEIVED_MS = 1_790_000_000_000
RECEIVED = RECEIVED_MS * 1_000_000


def call(start: int, end: int) -> Call:
    draft = Call("1" * 32, "2" * 16, "", start, end, "openai", "chat", "gpt-5-mini")._asdict()
    return as_received(draft, Receipt(RECEIVED_MS))


@pytest.mark.parametrize("start", [RECEIVED - BEHIND_NS, RECEIVED - DAY_NS, RECEIVED + AHEAD_NS])
def test_a_plausible_time_is_left_alone(start: int) -> None:
    received = call(start, start)

    assert (received.start_time_ns, received.quality_flags) == (start, ())


@pytest.mark.parametrize("start", [FIRST_CALL_NS, RECEIVED - BEHIND_NS - 1])
def test_a_time_long_past_is_kept_and_flagged(start: int) -> None:
    received = call(start, start + 5)

    assert (received.start_time_ns, received.end_time_ns) == (start, start + 5)
    assert received.quality_flags == (Flag.CLOCK_OFF,)


@given(
    st.integers(0, FIRST_CALL_NS - 1) | st.integers(RECEIVED + AHEAD_NS + 1, 2**64 - 1),
    st.integers(0, 2**64 - 1),
)
def test_a_time_that_cannot_be_becomes_the_time_of_receipt(start: int, took: int) -> None:
    received = call(start, start + took)

    assert received.end_time_ns == RECEIVED
    assert received.end_time_ns - received.start_time_ns == min(took, DAY_NS)
    assert received.quality_flags == (Flag.CLOCK_OFF,)
    kept = datetime.fromisoformat(received.tags[TAG])
    assert int(kept.timestamp()) == start // 10**9


def test_calls_of_every_month_and_of_no_time_at_all_are_in_the_ledger(
    tmp_path: Path, empty_store: SharedStore
) -> None:
    month = 30.5 * DAY_NS
    times = [1, 2**63, 2**64 - 1, *(int(number * month) for number in range(1, 2_000, 10))]
    spans = []
    for number, start in enumerate([*times, time.time_ns()], 1):
        each = span(number, CHAT)
        each.start_time_unix_nano, each.end_time_unix_nano = start, min(start + 1000, 2**64 - 1)
        spans.append(each)
    with (
        running_collector(tmp_path, store=empty_store.url) as collector,
        grpc.insecure_channel(collector.ready.otlp_grpc) as channel,
    ):
        channel.unary_unary(TRACES)(request(*spans), timeout=20)
        collector.settle()
        (row,) = collector.rows(
            "SELECT count() AS calls, countIf(has(quality_flags, 'clock_off')) AS flagged,"
            " countIf(start_time > now() + 1) AS ahead, countIf(start_time < '2020-01-01') AS lost,"
            " countIf(cost_status != 'priced' AND start_time > now() - INTERVAL 1 DAY) AS unpriced"
            " FROM calls"
        )

    recent = sum(time.time_ns() - BEHIND_NS <= each <= time.time_ns() for each in times)
    assert row == {
        "calls": len(spans), "flagged": len(times) - recent, "ahead": 0, "lost": 0, "unpriced": 0
    }  # fmt: skip
