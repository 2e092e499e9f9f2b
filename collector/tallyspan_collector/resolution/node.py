"""A span of a trace that matters for its charges, and how it is kept."""

import json
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Self

from tallyspan.usage import Usage
from tallyspan_collector.call import Call
from tallyspan_collector.dialects.reading import Kind, Reading

Cost = dict[str, Any]
"""The cost columns of an entry, as `entry.cost` makes them."""

_DEFAULTS = {
    field.name: getattr(Call("", "", "", 0, 0, "", "", ""), field.name) for field in fields(Call)
}


@dataclass(frozen=True, slots=True)
class Node:
    """A call, or a wrapper that says who its calls are for."""

    call: Call
    is_call: bool
    may_be_charged: bool = False

    @classmethod
    def of(cls, reading: Reading) -> Self | None:
        """Return the node of a reading; None: it is nothing of ours."""
        if reading.call is None or reading.kind is Kind.NOTHING:
            return None
        return cls(reading.call, reading.kind is Kind.CALL, reading.may_be_charged)

    @property
    def emitter(self) -> tuple[str, str]:
        """Who made the span: two spans of one emitter are two calls, unless one holds the other."""
        return self.call.scope_name, self.call.service_name


def pack(call: Call) -> dict[str, Any]:
    """Return what the call says, as JSON has it; what nobody said is left out."""
    said = {
        name: value
        for name, default in _DEFAULTS.items()
        if (value := getattr(call, name)) != default
    }
    if call.usage:
        usage = call.usage
        said["usage"] = {
            name: count for name in Usage.__slots__ if (count := getattr(usage, name)) is not None
        }
    return said


def unpack(said: dict[str, Any]) -> Call:
    """Return the call again."""
    made = {**said}
    if "usage" in made:
        made["usage"] = Usage(**made["usage"])
    if "quality_flags" in made:
        made["quality_flags"] = tuple(made["quality_flags"])
    for name in ("trace_id", "span_id", "parent_span_id", "provider_name", "operation_name",
                 "request_model"):  # fmt: skip
        made.setdefault(name, "")
    made.setdefault("start_time_ns", 0)
    made.setdefault("end_time_ns", 0)
    return Call(**made)


@dataclass(frozen=True, slots=True)
class Booked:
    """What stands in the ledger for a call: the call as booked, and its cost columns."""

    call: Call
    cost: Cost


@dataclass(slots=True)
class Trace:
    """What is known of a trace: its spans, and its charges in the ledger, both by span id."""

    nodes: dict[str, Node]
    booked: dict[str, Booked]

    def dump(self) -> str:
        """Return it as text."""
        return json.dumps(
            [
                [
                    [pack(node.call), node.is_call, node.may_be_charged]
                    for node in self.nodes.values()
                ],
                [[pack(each.call), _texts(each.cost)] for each in self.booked.values()],
            ],
            separators=(",", ":"),
        )

    @classmethod
    def load(cls, dumped: str) -> Self:
        """Return it from its text."""
        nodes, booked = json.loads(dumped)
        calls = [Node(unpack(said), is_call, may) for said, is_call, may in nodes]
        charges = [Booked(unpack(said), _decimals(cost)) for said, cost in booked]
        return cls(
            {node.call.span_id: node for node in calls},
            {each.call.span_id: each for each in charges},
        )


def _texts(cost: Cost) -> Cost:
    return {
        name: {"decimal": str(value)} if isinstance(value, Decimal) else value
        for name, value in cost.items()
    }


def _decimals(cost: Cost) -> Cost:
    return {
        name: Decimal(value["decimal"]) if isinstance(value, dict) else value
        for name, value in cost.items()
    }
