"""What a collector has of a trace, as the table `split_traces` keeps it for the others.

A part has the spans of one trace id that came to one collector, the spans around calls too, and
what it booked for them. It replaces the part that the collector wrote before.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple

import structlog
from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of
from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_clickhouse.moments import of_nanoseconds, utc
from tallyspan_collector.ledger.exactly_once import EXACTLY_ONCE
from tallyspan_collector.resolution.meeting import meet_elsewhere
from tallyspan_collector.resolution.node import LAYOUT, Trace

TABLE = "split_traces"
_COLUMNS = (
    "tenant", "trace_id", "collector", "at", "first_start", "last_start", "places", "layout",
    "state",
)  # fmt: skip
_SUMMARY = "tenant, toString(trace_id), toString(collector), at, first_start, last_start, places"
_log = structlog.get_logger()


class TraceId(NamedTuple):
    """A trace of a tenant (empty: without keys); the id is hex."""

    tenant: str
    trace_id: str


class Summary(NamedTuple):
    """A part without its spans: whose, since when (UTC), when its spans began, where they meet."""

    trace: TraceId
    collector: str
    at: datetime
    first_start: datetime
    last_start: datetime
    places: tuple[int, ...]


class Part(NamedTuple):
    """What a collector has of a trace."""

    trace_id: TraceId
    collector: str
    trace: Trace


def parts_of(trace: Trace) -> dict[TraceId, Trace]:
    """Return the spans and bookings of a trace by tenant and trace id: several may be joined."""
    parts: dict[TraceId, Trace] = {}
    for key, node in trace.nodes.items():
        parts.setdefault(_id_of(key), Trace({}, {})).nodes[key] = node
    for key, booked in trace.booked.items():
        parts.setdefault(_id_of(key), Trace({}, {})).booked[key] = booked
    return parts


def _id_of(key: tuple[Any, str, str]) -> TraceId:
    owner, trace_id, _ = key
    return TraceId(owner.tenant, trace_id)


def write(client: Client, collector: str, parts: Mapping[TraceId, Trace]) -> None:
    """Write the parts of a collector, in place of those it wrote before.

    Raises what the store raises. A second time with the same content changes nothing.
    """
    now = STORE_CLOCK.now()
    rows = [
        [*id_, collector, now, *_starts(trace), _places(trace), LAYOUT, trace.dump().decode()]
        for id_, trace in parts.items()
    ]
    if rows:
        client.insert(
            TABLE, rows, column_names=_COLUMNS, settings={**EXACTLY_ONCE, "insert_deduplicate": 0}
        )


def _starts(trace: Trace) -> tuple[datetime, datetime]:
    starts = [node.call.start_time_ns for node in trace.nodes.values()]
    return of_nanoseconds(min(starts)), of_nanoseconds(max(starts))


def _places(trace: Trace) -> list[int]:
    calls = [node.call for node in trace.nodes.values() if node.is_call]
    return sorted({meeting.place for meeting in meet_elsewhere(calls)})


def summaries(client: Client, where: str, parameters: Mapping[str, Any]) -> Iterator[Summary]:
    """Yield what is known of the parts for which the SQL `where` holds."""
    query = f"SELECT {_SUMMARY} FROM {TABLE} FINAL WHERE {where}"  # noqa: S608  own text
    for tenant, trace_id, collector, at, first, last, places in tuples_of(
        client, query, parameters
    ):
        yield Summary(
            TraceId(str(tenant), str(trace_id)),
            str(collector),
            utc(at),
            utc(first),
            utc(last),
            tuple(places),
        )


def read(client: Client, wanted: Collection[TraceId]) -> list[Part]:
    """Return all parts of these traces; without those that another version wrote in its own way."""
    ids = {each.trace_id for each in wanted}
    rows = tuples_of(
        client,
        "SELECT tenant, toString(trace_id), toString(collector), layout, state"  # noqa: S608
        f" FROM {TABLE} FINAL WHERE trace_id IN {{ids:Array(String)}}",
        {"ids": sorted(ids)},
    )
    parts = []
    for tenant, trace_id, collector, layout, state in sorted(rows, key=itemgetter(2)):
        id_ = TraceId(str(tenant), str(trace_id))
        if id_ not in wanted:
            continue
        try:
            trace = Trace.load(state.encode(), layout)
        except TypeError as error:
            _log.warning("split_trace.unread", collector=collector, error=str(error))
        else:
            parts.append(Part(id_, str(collector), trace))
    return parts


def groups(parts: Iterable[Summary]) -> list[Sequence[Summary]]:
    """Return the parts that are resolved together: of one trace, or with a place in common."""
    group_of: dict[object, list[Summary]] = {}
    for part in parts:
        keys: list[object] = [part.trace, *part.places]
        met = {id(group): group for key in keys if (group := group_of.get(key)) is not None}
        joint = [part]
        for group in met.values():
            joint += group
        for each in joint:
            group_of |= dict.fromkeys([each.trace, *each.places], joint)
    return list({id(group): group for group in group_of.values()}.values())
