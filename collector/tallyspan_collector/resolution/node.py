"""A span of a trace that matters for its charges, and how it is kept: by the names of fields."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import orjson

from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.dialects.reading import Kind, Reading
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.read.call import BLANK, FIELDS, Call, Columns, call_of, columns_of


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A call, or a wrapper that has the user or agent of its calls; equal to itself alone."""

    call: Call
    is_call: bool
    may_be_charged: bool = False

    @classmethod
    def of(cls, reading: Reading) -> Self | None:
        """Return the node of a reading; None: it is neither a call nor a wrapper."""
        if reading.call is None or reading.kind is Kind.NOTHING:
            return None
        return cls(reading.call, reading.kind is Kind.CALL, reading.may_be_charged)

    @property
    def emitter(self) -> tuple[str, str]:
        """Who made the span: two spans of one emitter are two calls, unless one holds the other."""
        return self.call.scope_name, self.call.service_name


class LedgerEntry(NamedTuple):
    """What stands in the ledger for a call: the call as booked, and its cost."""

    call: Call
    cost: Cost


@dataclass(slots=True)
class Trace:
    """One trace: its spans, and its charges in the ledger, both by span id."""

    nodes: dict[str, Node]
    booked: dict[str, LedgerEntry]

    def dump(self) -> bytes:
        """Return it as JSON; calls and costs by name, without the fields that are blank."""
        return orjson.dumps(
            {
                "nodes": [
                    {
                        "call": _pack(node.call),
                        "is_call": node.is_call,
                        "may_be_charged": node.may_be_charged,
                    }
                    for node in self.nodes.values()
                ],
                "booked": [
                    {
                        # a call is mostly booked as a span reports it: then its span id is enough
                        "call": span_id
                        if (node := self.nodes.get(span_id)) and node.call is entry.call
                        else _pack(entry.call),
                        "cost": _filled(entry.cost._asdict(), _BLANK_COST),
                    }
                    for span_id, entry in self.booked.items()
                ],
            }
        )

    @classmethod
    def of_one(cls, call: Call, cost: Cost) -> Self:
        """Return a trace of one call, booked as its span reports it."""
        return cls({call.span_id: Node(call, True)}, {call.span_id: LedgerEntry(call, cost)})

    @classmethod
    def load(cls, state: bytes) -> Self:
        """Return it from its JSON; a field that it lacks is blank.

        Raises `TypeError`, with its name, for a field that does not exist (any more).
        """
        content = orjson.loads(state)
        nodes = [Node(_unpack(row.pop("call")), **row) for row in content["nodes"]]
        by_id = {node.call.span_id: node for node in nodes}
        entries = [
            LedgerEntry(
                by_id[row["call"]].call if isinstance(row["call"], str) else _unpack(row["call"]),
                Cost(**row["cost"]),
            )
            for row in content["booked"]
        ]
        return cls(by_id, {entry.call.span_id: entry for entry in entries})


def pack_lone(columns: Columns, costs: Sequence[Cost], chunk: int) -> list[bytes]:
    """Return calls that were booked as they came, as JSON, so many in each text.

    They are kept column by column, without the columns that are blank for all. `columns` may go on
    with other calls behind those that `costs` are of.
    """
    calls = _filled_columns(columns, _BLANK_COLUMNS)
    amounts = _filled_columns(
        dict(zip(Cost._fields, zip(*costs, strict=True), strict=True)), _BLANK_COST
    )
    packed = []
    for start in range(0, len(costs), chunk):
        end = min(start + chunk, len(costs))
        packed.append(
            orjson.dumps(
                {
                    "calls": {name: values[start:end] for name, values in calls.items()},
                    "costs": {name: values[start:end] for name, values in amounts.items()},
                }
            )
        )
    return packed


def unpack_lone(packed: bytes, numbers: Iterable[int]) -> list[tuple[Call, Cost]]:
    """Return the calls at these places of a text, with their costs.

    Raises `TypeError`, with its name, for a field that does not exist (any more).
    """
    content = orjson.loads(packed)
    calls, costs = content["calls"], content["costs"]
    pairs = []
    for number in numbers:
        row = {name: values[number] for name, values in calls.items()}
        row["usage"] = {name: row.pop(name) for name in TOKEN_FIELDS if name in row}
        cost = Cost(**{name: values[number] for name, values in costs.items()})
        pairs.append((_unpack(row), cost))
    return pairs


_BLANK_COLUMNS = {name: values[0] for name, values in columns_of([call_of(BLANK)]).items()}
_BLANK_COST = Cost()._asdict()
KEPT_FIELDS = frozenset(
    {f"Call.{name}" for name in FIELDS}
    | {f"Usage.{name}" for name in TOKEN_FIELDS}
    | {f"Cost.{name}" for name in Cost._fields}
)
"""What a kept state may name; a file that names others was written by another version."""


def _pack(call: Call) -> dict[str, Any]:
    """Return the fields of a call that are not blank, as JSON has them."""
    row = _filled(call._asdict(), BLANK)
    if "usage" in row:
        row["usage"] = {
            name: count for name in TOKEN_FIELDS if (count := getattr(call.usage, name)) is not None
        }
    return row


def _unpack(row: Mapping[str, Any]) -> Call:
    usage = Usage(**row.get("usage", {}))
    flags = tuple(row.get("quality_flags", ()))
    return call_of({**BLANK, **row, "usage": usage, "quality_flags": flags})


def _filled(row: Mapping[str, Any], blank: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value != blank[name]}


def _filled_columns(columns: Columns, blank: Mapping[str, Any]) -> Columns:
    return {
        name: values
        for name, values in columns.items()
        if values[0] != blank[name] or values.count(blank[name]) < len(values)
    }
