"""A trace as plain values: its reports, its charges, its entries in the ledger.

`explain` prints them as text or as JSON.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_clickhouse.moments import iso_text, microseconds, of_nanoseconds
from tallyspan_collector.dialects.read_from import facts
from tallyspan_collector.ledger import entry
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.explanation import explanation
from tallyspan_collector.pricing.match import Kind
from tallyspan_collector.read.call import Call
from tallyspan_collector.resolution.identity import NOBODY, Owner, SpanKey, owner_of
from tallyspan_collector.resolution.node import LedgerEntry, Node, Trace
from tallyspan_collector.resolution.parties import parties, party_of, together
from tallyspan_collector.resolution.same_call import groups, joins

Values = dict[str, Any]
WHO = ("user_id", "department", "agent_id", "agent_name", "conversation_id", "tenant", "source")


def report_of(node: Node) -> Values:
    """Return a span as the collector read it."""
    call = node.call
    kind = "call" if node.is_call else "wrapper"
    return {
        "span_id": call.span_id,
        "parent_span_id": call.parent_span_id,
        "kind": "agent" if node.may_be_charged else kind,
        "dialect": call.dialect,
        "scope_name": call.scope_name,
        "service_name": call.service_name,
        "start_time": _time(call.start_time_ns),
        "response_id": call.response_id,
        **_what(call),
    }


Places = Mapping[str, Mapping[str, str]]
"""Span id -> fact of its call -> the attribute, or place in one, that it was read from."""


def charge_of(
    booked: LedgerEntry,
    trace: Trace,
    book: PriceBook,
    places: Places | None = None,
    trusted: Collection[str] = (),
) -> Values:
    """Return what is booked for a call.

    The reports it was merged of and why, which fact is of which, how its price was made, and its
    cost. `places` are there for spans of a file: a trace of the journal has its attributes no more.
    `trusted` are the keys whose reports are merged.
    """
    call, cost = booked
    nodes = next(
        joint
        for joint in together(parties(trace.nodes, trusted)[party_of(owner_of(call), trusted)])
        if call.span_id in joint and joint[call.span_id].call.trace_id == call.trace_id
    )
    own = (
        next(
            (
                group
                for group in groups(nodes)
                if any(each.call.span_id == call.span_id for each in group)
            ),
            [],
        )
        if any(node.is_call for node in nodes.values())
        else []
    )
    ids = {node.call.span_id for node in own}
    amount, prompt, answer, other = entry.usd((*cost[:3], cost.other_cost_picousd))
    return {
        "span_id": call.span_id,
        **_what(call),
        "reports": [_emitter(node.call) for node in own],
        "joins": [
            {"span_ids": [join.one, join.other], "reason": join.reason}
            for join in joins(nodes)
            if join.one in ids
        ]
        if len(own) > 1
        else [],
        "cost_usd": _usd(amount),
        "input_cost_usd": _usd(prompt),
        "output_cost_usd": _usd(answer),
        "cost_status": cost.cost_status,
        "unpriced_reason": cost.unpriced_reason,
        "price_id": cost.price_id,
        "price_source": cost.price_source,
        "price_flags": list(cost.price_flags),
        "other_cost_usd": _usd(other),
        "read_from": _read_from(call, [node.call for node in own], places or {}),
        **explanation(
            book,
            Kind.of(
                call.provider_name,
                call.endpoint_id,
                call.model_name,
                call.service_tier,
                call.conditions,
            ),
            call.start_time_ns,
            (call.usage, call.meters),
            (cost.cost_status, cost.price_id, amount),
        ),
    }


def entries_of(rows: Iterable[Mapping[str, Any]], book: PriceBook) -> list[Values]:
    """Return the entries of the ledger, of rows of `entries_of_trace`, in their order.

    The entry of a price change has only the difference as its cost. `cost_after_usd` is the call's
    cost from then on, and the arithmetic is that of its tokens at the new price.
    """
    entries: list[Values] = []
    measured: dict[SpanKey, tuple[Usage, Mapping[str, float]]] = {}
    standing: dict[SpanKey, Decimal] = {}
    for row in rows:
        span = _span_of(row)
        if row["sign"] > 0:
            usage = Usage(**{name: row[name] for name in TOKEN_FIELDS})
            measured[span] = usage, row["meters"]
        if row["cost_usd"] is not None:
            standing[span] = standing.get(span, Decimal(0)) + row["cost_usd"]
        entry_ = _entry_of(row)
        if row["sign"] >= 0 and span in measured:
            amount = row["cost_usd"] if row["sign"] else standing.get(span)
            entry_ |= explanation(
                book,
                Kind.of(
                    row["provider_name"],
                    row["endpoint_id"],
                    row["model_name"],
                    row["service_tier"],
                    row["conditions"],
                ),
                _start_ns(row),
                measured[span],
                (row["cost_status"], row["price_id"], amount),
            )
        if not row["sign"]:
            entry_["cost_after_usd"] = _usd(standing.get(span))
        entries.append(entry_)
    return entries


def _entry_of(row: Mapping[str, Any]) -> Values:
    shown = (
        "entry_kind", "sign", "span_id", "provider_name", "operation_name", "model_name",
        "cost_status", "unpriced_reason", "price_id", "price_source", "batch_id",
    )  # fmt: skip
    return {
        **{name: row[name] for name in shown},
        "start_time": _time(_start_ns(row)),
        "booked_at": iso_text(row["ingested_at"]),
        **{name: row[name] for name in WHO if row.get(name)},
        "tokens": _counts(Usage(**{name: row[name] for name in TOKEN_FIELDS})),
        "meters": dict(row["meters"]),
        "conditions": dict(row["conditions"]),
        "is_notional": row["is_notional"],
        "quality_flags": list(row["quality_flags"]),
        "unread": list(row["unread"]),
        "cost_usd": _usd(row["cost_usd"]),
        "price_flags": list(row["price_flags"]),
        "other_cost_usd": _usd(row["other_cost_usd"]),
        "steps": [],
        "arithmetic": [],
    }


def _start_ns(row: Mapping[str, Any]) -> int:
    return microseconds(row["start_time"]) * 1000


def net_of(rows: Iterable[Mapping[str, Any]]) -> Values:
    """Return the sums of the entries."""
    entries = list(rows)
    billed = [row["cost_usd"] for row in entries if row["cost_usd"] is not None]
    notional = [
        row["cost_usd"] for row in entries if row["cost_usd"] is not None and row["is_notional"]
    ]
    net: Values = {
        "calls": sum(row["sign"] for row in entries),
        "tokens": {
            name: sum(row[name] or 0 for row in entries)
            for name in TOKEN_FIELDS
            if any(row[name] is not None for row in entries)
        },
        "cost_usd": _usd(sum(billed, Decimal(0)) - sum(notional, Decimal(0))),
    }
    if notional:
        net["notional_cost_usd"] = _usd(sum(notional, Decimal(0)))
    return net


def not_in_ledger(trace: Trace, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the span ids of charges that are not in the ledger yet."""
    standing: dict[SpanKey, int] = {}
    for row in rows:
        span = _span_of(row)
        standing[span] = standing.get(span, 0) + row["sign"]
    return [span[2] for span in trace.booked if standing.get(span, 0) < 1]


def _span_of(row: Mapping[str, Any]) -> SpanKey:
    """Return by what the call of an entry is kept in its trace."""
    owner = Owner(row["tenant"], row["source"]) if row["source"] else NOBODY
    return owner, row["trace_id"], row["span_id"]


def _what(call: Call) -> Values:
    return {
        "operation_name": call.operation_name,
        "provider_name": call.provider_name,
        "model_name": call.model_name,
        "tokens": _counts(call.usage),
        "meters": call.meters,
        "conditions": call.conditions,
        **{name: value for name in WHO if (value := getattr(call, name))},
        "quality_flags": list(call.quality_flags),
        "unread": list(call.unread),
    }


def _emitter(call: Call) -> Values:
    return {
        "span_id": call.span_id, "dialect": call.dialect, "scope_name": call.scope_name,
        "service_name": call.service_name,
    }  # fmt: skip


def _read_from(call: Call, reports: Sequence[Call], places: Places) -> list[Values]:
    """Return for each fact of the call the report it is of, and its place in that one's span.

    The report whose span is charged comes first. A fact that is in none of them as it is charged
    was worked out, and has no report.
    """
    ordered = sorted(reports, key=lambda each: each.span_id != call.span_id) or [call]
    result: list[Values] = []
    for name, value in facts(call).items():
        report = next((each for each in ordered if facts(each).get(name) == value), None)
        result.append(
            {
                "name": name,
                "value": value,
                "span_id": "" if report is None else report.span_id,
                "dialect": "" if report is None else report.dialect,
                "place": "" if report is None else places.get(report.span_id, {}).get(name, ""),
            }
        )
    return result


def _usd(amount: Decimal | None) -> str | None:
    return None if amount is None else format(amount, "f")


def _counts(usage: Usage) -> dict[str, int]:
    return {name: count for name in TOKEN_FIELDS if (count := getattr(usage, name)) is not None}


def _time(at_ns: int) -> str:
    return iso_text(of_nanoseconds(at_ns))
