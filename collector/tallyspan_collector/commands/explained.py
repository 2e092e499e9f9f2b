"""What is known of a trace as plain values: its reports, its charges, its entries in the ledger.

`explain` renders them; as JSON they are what a script reads.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.ledger import entry
from tallyspan_collector.pricing.arithmetic import terms
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import Unpriced
from tallyspan_collector.pricing.region import region_of
from tallyspan_collector.read.call import Call
from tallyspan_collector.resolution.node import LedgerEntry, Node, Trace
from tallyspan_collector.resolution.same_call import groups, joins
from tallyspan_collector.summary import decimal_text

Said = dict[str, Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WHO = ("user_id", "department", "agent_id", "agent_name", "conversation_id", "tenant", "source")
_DIGITS = Decimal("1e-12")


def report_of(node: Node) -> Said:
    """Return a span the collector read, as it was understood."""
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


def charge_of(booked: LedgerEntry, trace: Trace, book: PriceBook) -> Said:
    """Return what is booked for a call: the reports it was merged of and why, and its cost."""
    call, cost = booked
    nodes = trace.nodes
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
    amount, prompt, answer = entry.usd(cost[:3])
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
        "arithmetic": _arithmetic(
            book,
            (call.provider_name, call.endpoint_id, call.model_name, call.service_tier),
            call.start_time_ns,
            call.server_address,
            (call.usage, call.units),
            (cost.price_id, amount),
        ),
    }


def entries_of(rows: Iterable[Mapping[str, Any]], book: PriceBook) -> list[Said]:
    """Return the entries of the ledger; `rows` as `summary.trace` has them, in their order.

    A change of price has a difference only: `cost_after_usd` is what the call costs from then on,
    and the sum is that of the call's tokens at the new price.
    """
    made: list[Said] = []
    measured: dict[str, tuple[Usage, Mapping[str, float]]] = {}
    standing: dict[str, Decimal] = {}
    for row in rows:
        span_id = row["span_id"]
        if row["sign"] > 0:
            usage = Usage(**{name: row[name] for name in TOKEN_FIELDS})
            measured[span_id] = usage, row["units"]
        if row["cost_usd"] is not None:
            standing[span_id] = standing.get(span_id, Decimal(0)) + row["cost_usd"]
        entry_ = _entry_of(row)
        if row["sign"] >= 0 and span_id in measured:
            amount = row["cost_usd"] if row["sign"] else standing.get(span_id)
            entry_["arithmetic"] = _arithmetic(
                book,
                (row["provider_name"], row["endpoint_id"], row["model_name"], row["service_tier"]),
                _start_ns(row),
                row["server_address"],
                measured[span_id],
                (row["price_id"], amount),
            )
        if not row["sign"]:
            entry_["cost_after_usd"] = _usd(standing.get(span_id))
        made.append(entry_)
    return made


def _entry_of(row: Mapping[str, Any]) -> Said:
    shown = (
        "entry_kind", "sign", "span_id", "provider_name", "operation_name", "model_name",
        "cost_status", "unpriced_reason", "price_id", "price_source", "batch_id",
    )  # fmt: skip
    return {
        **{name: row[name] for name in shown},
        "start_time": _time(_start_ns(row)),
        "booked_at": row["ingested_at"].isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        **{name: row[name] for name in WHO if row.get(name)},
        "tokens": _counts(Usage(**{name: row[name] for name in TOKEN_FIELDS})),
        "units": dict(row["units"]),
        "is_notional": row["is_notional"],
        "quality_flags": list(row["quality_flags"]),
        "cost_usd": _usd(row["cost_usd"]),
        "arithmetic": [],
    }


def _start_ns(row: Mapping[str, Any]) -> int:
    microseconds: int = (row["start_time"] - _EPOCH) // timedelta(microseconds=1)
    return microseconds * 1000


def net_of(rows: Iterable[Mapping[str, Any]]) -> Said:
    """Return what the entries add up to."""
    found = list(rows)
    billed = [row["cost_usd"] for row in found if row["cost_usd"] is not None]
    notional = [
        row["cost_usd"] for row in found if row["cost_usd"] is not None and row["is_notional"]
    ]
    net: Said = {
        "calls": sum(row["sign"] for row in found),
        "tokens": {
            name: sum(row[name] or 0 for row in found)
            for name in TOKEN_FIELDS
            if any(row[name] is not None for row in found)
        },
        "cost_usd": _usd(sum(billed, Decimal(0)) - sum(notional, Decimal(0))),
    }
    if notional:
        net["notional_cost_usd"] = _usd(sum(notional, Decimal(0)))
    return net


def not_in_ledger(trace: Trace, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the span ids of charges that are decided and that the ledger does not have yet."""
    standing: dict[str, int] = {}
    for row in rows:
        standing[row["span_id"]] = standing.get(row["span_id"], 0) + row["sign"]
    return [span_id for span_id in trace.booked if standing.get(span_id, 0) < 1]


def _what(call: Call) -> Said:
    return {
        "operation_name": call.operation_name,
        "provider_name": call.provider_name,
        "model_name": call.model_name,
        "tokens": _counts(call.usage),
        "units": call.units,
        **{name: said for name in WHO if (said := getattr(call, name))},
        "quality_flags": list(call.quality_flags),
    }


def _emitter(call: Call) -> Said:
    return {
        "span_id": call.span_id, "dialect": call.dialect, "scope_name": call.scope_name,
        "service_name": call.service_name,
    }  # fmt: skip


def _arithmetic(
    book: PriceBook,
    kind: tuple[str, str, str, str],
    at_ns: int,
    host: str,
    measured: tuple[Usage, Mapping[str, float]],
    booked: tuple[str, Decimal | None],
) -> list[str]:
    """Return the lines of the sum; none where today's price book has another price for the call."""
    price_id, amount = booked
    if amount is None or not price_id:
        return []
    price = book.quote(*kind, at_ns, region_of(host))
    if isinstance(price, Unpriced):
        return []
    cost = price.cost(*measured)
    if isinstance(cost, Unpriced) or entry.usd([cost.cost_picousd]) != [amount]:
        return []
    return [
        f"{decimal_text(_decimal(each.amount))} {each.name} x {_rate(each.usd)}"
        f" = {_usd(_decimal(each.amount * each.usd))} USD"
        for each in terms(price, *measured)
    ]


def _rate(usd: Fraction) -> str:
    if usd < Fraction(1, 1000):
        return f"{decimal_text(_decimal(usd * 10**6))} USD a million"
    return f"{decimal_text(_decimal(usd))} USD each"


def _decimal(number: Fraction) -> Decimal:
    return (Decimal(number.numerator) / number.denominator).quantize(_DIGITS)


def _usd(amount: Decimal | None) -> str | None:
    return None if amount is None else format(amount, "f")


def _counts(usage: Usage) -> dict[str, int]:
    return {name: count for name in TOKEN_FIELDS if (count := getattr(usage, name)) is not None}


def _time(at_ns: int) -> str:
    moment = _EPOCH + timedelta(microseconds=at_ns // 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
