"""Which traces a collector tells the others of."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

from shared_store import SharedStore
from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.moments import microseconds
from tallyspan_collector.read.call import BLANK, Call, call_of
from tallyspan_collector.resolution.identity import Identities, span_key
from tallyspan_collector.resolution.node import Node, Trace
from tallyspan_collector.several import parts
from tallyspan_collector.several.parts import TraceId
from tallyspan_collector.several.writer import Writer

NOW = datetime.now(UTC)
ID = TraceId("", f"{7:032x}")


def a_trace(number: int, *, is_call: bool) -> Trace:
    at_ns = microseconds(NOW) * 1000
    fields: dict[str, Any] = {"trace_id": ID.trace_id, "span_id": f"{number:016x}",
                              "start_time_ns": at_ns, "end_time_ns": at_ns}  # fmt: skip
    call: Call = call_of(BLANK | fields)
    return Trace({span_key(call): Node(call, is_call)}, {})


def test_what_another_one_told_of_long_before_the_call_came_is_told_of_then(
    empty_store: SharedStore,
) -> None:
    identities = Identities()
    number = identities.trace(*ID)
    with closing(connect(empty_store.url)) as client:
        parts.write(client, "other", {ID: a_trace(1, is_call=False)})
        booked_at = datetime.now(UTC) + timedelta(hours=1)
        client.insert(
            "llm_calls",
            [[NOW, "call", 1, ID.trace_id, f"{2:016x}", "one", booked_at]],
            column_names=["start_time", "entry_kind", "sign", "trace_id", "span_id", "collector",
                          "ingested_at"],
        )  # fmt: skip
        recent = {
            "since": microseconds(booked_at - timedelta(minutes=1)),
            "until": microseconds(booked_at + timedelta(minutes=1)),
            "first": microseconds(NOW - timedelta(minutes=1)),
            "last": microseconds(NOW + timedelta(minutes=1)),
        }
        own = {number: a_trace(2, is_call=True)}
        writer = Writer(client, "one", identities, lambda _: own)

        assert writer.write(recent, set(), set()) == 1
        assert {each.collector for each in parts.read(client, [ID])} == {"one", "other"}
        assert writer.write(recent, set(), set()) == 0
        assert writer.write(recent, {number}, set()) == 0  # nothing in it changed
