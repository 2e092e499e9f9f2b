"""Traces whose spans came to several collectors are charged as if they had come to one.

Each collector charges what it has. The spans of all of them are resolved together
(`resolution/charge.py`); what the ledger has otherwise is put right by corrections: bookings that
do not hold are taken back, and a call that nobody booked so (with the user that a span around it
names, say) is added. What is right depends on the parts and on the entries of the collectors alone,
so a run may be repeated, and one that came too early is put right by the next.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of
from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_clickhouse.moments import microseconds, of_microseconds, sql_moment, utc
from tallyspan_clickhouse.schema import SCHEMA
from tallyspan_collector.booked.audit import Changed
from tallyspan_collector.booked.ledger import AMOUNTS, COSTS, COUNT, KEY, Row
from tallyspan_collector.booked.sent_twice import (
    OF_COLLECTORS,
    Identity,
    correction,
    identity_of,
    standing,
)
from tallyspan_collector.read.call import Call
from tallyspan_collector.resolution.charge import charges
from tallyspan_collector.resolution.identity import NOBODY, Owner, SpanKey, span_key
from tallyspan_collector.resolution.node import LedgerEntry, Node
from tallyspan_collector.resolution.parties import WHO, joint_traces
from tallyspan_collector.several import parts
from tallyspan_collector.several.parts import Part, Summary, TraceId

GROUPS_AT_ONCE = 1_000
"""Traces that are read together: so many are in memory."""
_CLOCKS_APART = timedelta(hours=1)
"""How far from the spans of one collector those of another may begin, by another clock."""
_MILLISECOND = timedelta(milliseconds=1)
_FIRST, _LAST = sql_moment("first"), sql_moment("last")
_IN_BOUNDS = f"start_time >= {_FIRST} AND start_time <= {_LAST}"
_WRITTEN = f"at >= {sql_moment('since')} AND at < {sql_moment('until')}"
_BOOKED = f"""trace_id IN (
    SELECT trace_id FROM llm_calls WHERE {_IN_BOUNDS}
        AND ingested_at >= {sql_moment("since")} AND ingested_at < {sql_moment("until")})
"""  # noqa: S608  own text
_OF_TRACES = f"{_IN_BOUNDS} AND sign != 0 AND trace_id IN {{ids:Array(String)}}"
_STATE = f"""
SELECT if(source = '', '', tenant) AS owner, toString(trace_id), count(), max(ingested_at),
    groupUniqArray(toString(collector))
FROM llm_calls WHERE {_OF_TRACES} GROUP BY owner, trace_id
"""  # noqa: S608  own text
_COLUMNS = [each.name for each in SCHEMA.columns]
_ENTRIES = f"""
SELECT {", ".join(_COLUMNS)} FROM llm_calls WHERE {_OF_TRACES}
SETTINGS select_sequential_consistency = 1
"""  # noqa: S608  own text
_OF_A_PRICE = (
    *COSTS, "unpriced_calls", "unpriced_tokens", "reported_cost_usd", "cost_status",
    "unpriced_reason", "price_id", "price_source", "price_flags", "other_cost_usd", "is_notional",
    "meters", "conditions",
)  # fmt: skip
_NOT_OF_A_PRICE = (*(name for names in WHO for name in names), "quality_flags", "tags")
_SAME_CALL = (*KEY, *(name for name in AMOUNTS if name not in _OF_A_PRICE))
Price = Callable[[Sequence[Call]], list[Row]]
"""Returns the entries of the ledger that book the calls at today's prices."""
States = dict[TraceId, object]
"""Trace -> what parts and ledger had of it when nothing was left to be done."""


class JointTraces:
    """The traces of several collectors that were booked, or written of, in a window."""

    name = "split_trace"
    audit_table = "price_changes"

    def __init__(
        self,
        recent: Mapping[str, Any],
        price: Price,
        trusted: Collection[str],
        settled: States,
    ) -> None:
        """`recent` is that of `writer.Writer.write`; `settled` is kept from run to run."""
        self._recent, self._price, self._trusted = recent, price, trusted
        self._settled = settled
        self.result = Changed()

    def audit_scope(self) -> Mapping[str, Any]:
        """Return the columns of the audit that say which calls."""
        since, until = (of_microseconds(self._recent[name]) for name in ("since", "until"))
        scope = '{"by": "ingested_at"}'
        return {"kind": self.name, "calls_from": since, "calls_to": until, "scope": scope}

    def audit_totals(self) -> Mapping[str, Any]:
        """Return the columns of the audit that say what changed."""
        return asdict(self.result)

    def calls(self, client: Client) -> Iterator[Row]:
        """Yield the entries and the parts of each group of traces that are not settled."""
        joint = parts.groups(self._summaries(client))
        # neighbours in time are neighbours in the ledger
        joint.sort(key=lambda group: min(each.first_start for each in group))
        for start in range(0, len(joint), GROUPS_AT_ONCE):
            yield from self._unsettled(client, joint[start : start + GROUPS_AT_ONCE])

    def _summaries(self, client: Client) -> Collection[Summary]:
        """Return the parts of the window, and those that have a place in common with them."""
        where = f"({_WRITTEN})" + (f" OR {_BOOKED}" if "first" in self._recent else "")
        where = f"trace_id IN (SELECT trace_id FROM {parts.TABLE} WHERE {where})"  # noqa: S608
        summaries = parts.summaries(client, where, self._recent)
        by_writer = {(each.trace, each.collector): each for each in summaries}
        places = {place for each in by_writer.values() for place in each.places}
        looked_at: set[int] = set()
        while wanted := places - looked_at:
            where = "hasAny(places, {places:Array(UInt64)})"
            more = list(parts.summaries(client, where, {"places": sorted(wanted)}))
            by_writer |= {(each.trace, each.collector): each for each in more}
            looked_at |= wanted
            places |= {place for each in more for place in each.places}
        return by_writer.values()

    def _unsettled(self, client: Client, joint: Sequence[Sequence[Summary]]) -> Iterator[Row]:
        of_group = [{each.trace for each in group} for group in joint]
        ids = {id_ for each in of_group for id_ in each}
        summaries = [each for group in joint for each in group]
        parameters = {
            "ids": sorted({each.trace_id for each in ids}),
            "first": microseconds(min(each.first_start for each in summaries) - _CLOCKS_APART),
            "last": microseconds(max(each.last_start for each in summaries) + _CLOCKS_APART),
        }
        ledger = {
            TraceId(str(owner), str(trace_id)): (count, last, {*collectors})
            for owner, trace_id, count, last, collectors in tuples_of(client, _STATE, parameters)
        }
        due: list[tuple[set[TraceId], object]] = []
        for group, traces in zip(joint, of_group, strict=True):
            collectors = {each.collector for each in group}
            collectors |= {name for id_ in traces if id_ in ledger for name in ledger[id_][2]}
            if len(collectors - {""}) == 1 or not traces & ledger.keys():
                continue
            state: object = (
                sorted((*each.trace, each.collector, each.at) for each in group),
                sorted((*id_, *ledger[id_][:2]) for id_ in traces if id_ in ledger),
            )
            if any(self._settled.get(id_) != state for id_ in traces):
                due.append((traces, state))
        if not due:
            return
        wanted = {id_ for traces, _ in due for id_ in traces}
        of_trace: defaultdict[TraceId, list[Part]] = defaultdict(list)
        for part in parts.read(client, wanted):
            of_trace[part.trace_id].append(part)
        entries = _entries(client, parameters | {"ids": sorted({each.trace_id for each in wanted})})
        for traces, state in due:
            rows = [row for id_ in traces for row in entries.get(id_, ())]
            rows.sort(key=lambda row: (row["ingested_at"], row["batch_id"]))
            yield {
                "entries": rows,
                "parts": [part for id_ in traces for part in of_trace[id_]],
                "traces": traces,
                "state": state,
                COUNT: len(rows),
            }

    def entries(self, call: Row) -> Sequence[Row]:
        """Return the corrections of a group of traces; none where it is charged as it should be."""
        # thousands wait to be booked together: what they were concluded from is not kept
        entries, of_collectors = call.pop("entries"), call.pop("parts")
        due = changes(entries, of_collectors, self._price, self._trusted)
        if due:
            self.result.calls += len(due)
            self.result.old_cost_usd += sum(each["cost_usd"] or 0 for each in entries)
            self.result.new_cost_usd += sum(each["cost_usd"] or 0 for each in [*entries, *due])
        else:
            self._settled |= dict.fromkeys(call["traces"], call["state"])
        return due


def _entries(client: Client, parameters: Mapping[str, Any]) -> dict[TraceId, list[Row]]:
    rows: defaultdict[TraceId, list[Row]] = defaultdict(list)
    for values in tuples_of(client, _ENTRIES, parameters):
        row = dict(zip(_COLUMNS, values, strict=True))
        for name in ("start_time", "ingested_at"):
            row[name] = utc(row[name])
        owner, trace_id, _ = _span_of(row)
        rows[TraceId(owner.tenant, trace_id)].append(row)
    return rows


def changes(
    entries: Sequence[Row], of_collectors: Sequence[Part], price: Price, trusted: Collection[str]
) -> list[Row]:
    """Return the corrections that make the ledger what the parts come to together.

    `entries` are all of these traces, in the order they were booked. Bookings of a collector that
    wrote no part of their trace stay, unless another report of the very span is charged.
    """
    corrections = [each for each in entries if each["entry_kind"] not in OF_COLLECTORS]
    if any(not each["collector"] for each in corrections):
        return []  # a command moved a call since
    of_collector: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in entries:
        if row["entry_kind"] in OF_COLLECTORS:
            of_collector[row["collector"], row["source"]].append(row)
    bookings = [row for own in of_collector.values() for row in standing(own)]
    bookings.sort(key=lambda row: row["ingested_at"])
    due = _due(bookings, of_collectors, price, trusted)
    if due is None:
        return []
    kept, added = due
    wanted: Counter[Identity] = Counter()
    examples: dict[Identity, Row] = {}
    for row in corrections:
        examples[_identity(row)] = row
    for row in bookings:
        if all(row is not each for each in kept):
            examples[_identity(row)] = row
            wanted[_identity(row)] -= 1
    for row in (_as_corrected(each, corrections) for each in added):
        examples.setdefault(_identity(row), row)
        wanted[_identity(row)] += 1
    for row in corrections:
        wanted[_identity(row)] -= row["sign"]
    now = STORE_CLOCK.now()
    if entries:
        now = max(now, entries[-1]["ingested_at"] + _MILLISECOND)
    return [
        correction(examples[identity], 1 if count > 0 else -1, now)
        for identity, count in wanted.items()
        for _ in range(abs(count))
    ]


def _due(
    bookings: Sequence[Row], of_collectors: Sequence[Part], price: Price, trusted: Collection[str]
) -> tuple[list[Row], list[Row]] | None:
    """Return the bookings that hold, and entries for the calls that nobody booked so.

    None: a booking that holds is on its way into the ledger; nothing is taken back before.
    """
    nodes: dict[SpanKey, Node] = {}
    for part in of_collectors:
        for key, node in part.trace.nodes.items():
            older = nodes.get(key)
            if older is None or node.weight > older.weight:
                nodes[key] = node
    is_quiet = any(
        key in part.trace.nodes and part.trace.nodes[key].may_be_charged
        for part in of_collectors
        for key in part.trace.booked
    )
    by_span: defaultdict[SpanKey, list[Row]] = defaultdict(list)
    for row in bookings:
        by_span[_span_of(row)].append(row)
    kept: list[Row] = []
    added: list[Row] = []
    charged: set[SpanKey] = set()
    for call in _charges(nodes, is_quiet=is_quiet, trusted=trusted):
        key = span_key(call)
        charged.add(key)
        booked = {
            part.collector: part.trace.booked[key]
            for part in of_collectors
            if key in part.trace.booked
        }
        rows = by_span[key]
        if as_it_is := {name for name, each in booked.items() if each.call == call}:
            there = [row for row in rows if row["collector"] in as_it_is]
            if not there:
                return None
            kept.append(there[0])
        else:
            added += _added(call, booked, rows, price)
    has_part = {(part.collector, part.trace_id) for part in of_collectors}
    for row in bookings:
        key = _span_of(row)
        if (
            row["collector"],
            TraceId(key[0].tenant, key[1]),
        ) not in has_part and key not in charged:
            charged.add(key)
            kept.append(row)
    return kept, added


def _charges(
    nodes: Mapping[SpanKey, Node], *, is_quiet: bool, trusted: Collection[str]
) -> Iterator[Call]:
    """Yield what is charged for the spans, each trace with those that it is resolved with."""
    for traces in joint_traces(nodes.values()):
        joint = {span_key(node.call): node for trace in traces for node in trace}
        yield from charges(joint, is_quiet=is_quiet, trusted=trusted)


def _added(
    call: Call, booked: Mapping[str, LedgerEntry], rows: Sequence[Row], price: Price
) -> list[Row]:
    """Return the entry of a call that no collector booked as it is, at the price it was booked."""
    (row,) = price([call])
    for booking in rows:
        entry = booked.get(booking["collector"])
        if entry is not None and _as_priced(entry.call) == _as_priced(call):
            return [row | {name: booking[name] for name in _OF_A_PRICE}]
    return [row]


def _as_priced(call: Call) -> Call:
    blank = {name: type(getattr(call, name))() for name in _NOT_OF_A_PRICE}
    return call._replace(**blank)


def _as_corrected(row: Row, corrections: Sequence[Row]) -> Row:
    """Return the entry as a correction has it already, if one has: prices change meanwhile."""
    for each in corrections:
        if each["sign"] > 0 and all(each[name] == row[name] for name in _SAME_CALL):
            return each
    return row


def _identity(row: Row) -> Identity:
    """Return what a booking and its correction have in common; two keys may report one span."""
    return row["source"], *identity_of(row)


def _span_of(row: Row) -> SpanKey:
    """Return by what the span of an entry is known among the spans of its trace."""
    owner = Owner(row["tenant"], row["source"]) if row["source"] else NOBODY
    return owner, _text(row["trace_id"]), _text(row["span_id"])


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
