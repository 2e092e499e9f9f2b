"""A span of a trace that matters for its charges, and how it is kept."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import orjson

from tallyspan.usage import TOKEN_FIELDS, Usage, counts_of
from tallyspan_collector.dialects.reading import Kind, Reading
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.read.call import FIELDS, Call, Columns, columns_of

_USAGE, _FLAGS = FIELDS.index("usage"), FIELDS.index("quality_flags")


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A call, or a wrapper that says who its calls are for; equal to itself alone."""

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


class Booked(NamedTuple):
    """What stands in the ledger for a call: the call as booked, and what it cost."""

    call: Call
    cost: Cost


@dataclass(slots=True)
class Trace:
    """What is known of a trace: its spans, and its charges in the ledger, both by span id."""

    nodes: dict[str, Node]
    booked: dict[str, Booked]

    def dump(self) -> bytes:
        """Return it as JSON."""
        return orjson.dumps(
            [
                [
                    [_pack(node.call), node.is_call, node.may_be_charged]
                    for node in self.nodes.values()
                ],
                [
                    # what is booked is mostly a report as it came: then its span id says enough
                    [
                        span_id
                        if (node := self.nodes.get(span_id)) and node.call is each.call
                        else _pack(each.call),
                        tuple(each.cost),
                    ]
                    for span_id, each in self.booked.items()
                ],
            ]
        )

    @classmethod
    def of_one(cls, call: Call, cost: Cost) -> Self:
        """Return a trace of one call, booked as it came."""
        return cls({call.span_id: Node(call, True)}, {call.span_id: Booked(call, cost)})

    @classmethod
    def load(cls, dumped: bytes) -> Self:
        """Return it from its JSON."""
        nodes, booked = orjson.loads(dumped)
        calls = [Node(_unpack(said), is_call, may) for said, is_call, may in nodes]
        by_id = {node.call.span_id: node for node in calls}
        charges = [
            Booked(by_id[said].call if isinstance(said, str) else _unpack(said), Cost(*cost))
            for said, cost in booked
        ]
        return cls(by_id, {each.call.span_id: each for each in charges})


def pack_lone(said: Columns, costs: Sequence[Cost], chunk: int) -> list[bytes]:
    """Return calls that were booked as they came, as JSON, so many in each text.

    They are kept field by field, without the fields that none of them says. `said` may go on with
    other calls behind those that `costs` are of.
    """
    columns = _stated(said, _UNSAID)
    amounts = _stated(dict(zip(Cost._fields, zip(*costs, strict=True), strict=True)), _NO_COST)
    packed = []
    for start in range(0, len(costs), chunk):
        end = min(start + chunk, len(costs))
        packed.append(
            orjson.dumps(
                [
                    {name: values[start:end] for name, values in columns.items()},
                    {name: values[start:end] for name, values in amounts.items()},
                ]
            )
        )
    return packed


def unpack_lone(packed: bytes, numbers: Iterable[int]) -> list[tuple[Call, Cost]]:
    """Return those of a text's calls that are asked for, and their costs."""
    said = orjson.loads(packed)
    if isinstance(said[0], list):  # of a build that kept them call by call
        return [(_unpack(said[number][0]), Cost(*said[number][1])) for number in numbers]
    columns, amounts = said
    found = []
    for number in numbers:
        of_call = {name: values[number] for name, values in columns.items()}
        usage = Usage(*(of_call.pop(name, None) for name in TOKEN_FIELDS))
        of_call["quality_flags"] = tuple(of_call.get("quality_flags", ()))
        cost = Cost(**{name: values[number] for name, values in amounts.items()})
        found.append((Call(usage=usage, **of_call), cost))
    return found


_NOBODY = Call("", "", "", 0, 0, "", "", "")
_UNSAID = {name: values[0] for name, values in columns_of([_NOBODY]).items()}
_NEEDED = frozenset(FIELDS) - Call._field_defaults.keys()
_NO_COST = Cost()._asdict()


def _stated(columns: Columns, unsaid: Mapping[str, Any]) -> Columns:
    return {
        name: values
        for name, values in columns.items()
        if name in _NEEDED or values[0] != unsaid[name] or values.count(unsaid[name]) < len(values)
    }


def _pack(call: Call) -> list[Any]:
    """Return what the call says, field by field, as JSON has it."""
    said: list[Any] = list(call)
    said[_USAGE] = counts_of(call.usage)
    return said


def _unpack(said: list[Any]) -> Call:
    """Return the call again; fields that are newer than the file have their defaults."""
    said[_USAGE] = Usage(*said[_USAGE])
    said[_FLAGS] = tuple(said[_FLAGS])
    return Call(*said)
