"""A span of a trace that matters for its charges, and how it is kept."""

from dataclasses import dataclass, fields
from decimal import Decimal
from operator import attrgetter
from typing import Any, Self

import orjson

from tallyspan.usage import Usage
from tallyspan_collector.call import Call
from tallyspan_collector.dialects.reading import Kind, Reading

Cost = dict[str, Any]
"""The cost columns of an entry, as `entry.cost` makes them."""

_NAMES = tuple(field.name for field in fields(Call))
_USAGE, _FLAGS = _NAMES.index("usage"), _NAMES.index("quality_flags")
_said = attrgetter(*_NAMES)
_counts = attrgetter(*Usage.__slots__)


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


def pack(call: Call) -> list[Any]:
    """Return what the call says, field by field, as JSON has it."""
    said = list(_said(call))
    said[_USAGE] = _counts(call.usage) if call.usage else None
    return said


def unpack(said: list[Any]) -> Call:
    """Return the call again; fields that are newer than the file have their defaults."""
    made = [*said]
    made[_USAGE] = Usage(*made[_USAGE]) if made[_USAGE] else Usage()
    made[_FLAGS] = tuple(made[_FLAGS])
    return Call(*made)


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
        return orjson.dumps(
            [
                [
                    [pack(node.call), node.is_call, node.may_be_charged]
                    for node in self.nodes.values()
                ],
                [
                    # what is booked is mostly a report as it came: then its span id says enough
                    [
                        span_id
                        if (node := self.nodes.get(span_id)) and node.call is each.call
                        else pack(each.call),
                        _texts(each.cost),
                    ]
                    for span_id, each in self.booked.items()
                ],
            ]
        ).decode()

    @classmethod
    def load(cls, dumped: str) -> Self:
        """Return it from its text."""
        nodes, booked = orjson.loads(dumped)
        calls = [Node(unpack(said), is_call, may) for said, is_call, may in nodes]
        by_id = {node.call.span_id: node for node in calls}
        charges = [
            Booked(
                by_id[said].call if isinstance(said, str) else unpack(said),
                _decimals(cost),
            )
            for said, cost in booked
        ]
        return cls(by_id, {each.call.span_id: each for each in charges})


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
