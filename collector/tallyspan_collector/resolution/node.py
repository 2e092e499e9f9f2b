"""A span of a trace that matters for its charges, and how it is kept: by the names of fields."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Self

import orjson

from tallyspan.usage import TOKEN_FIELDS, Usage, counts_of
from tallyspan_collector.dialects.reading import Kind, Reading
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.read.call import BLANK, FIELDS, Call, Columns, call_of, columns_of
from tallyspan_collector.resolution.identity import SpanKey, span_key


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
    def emitter(self) -> tuple[str, str, str]:
        """Who made the span: two spans of one emitter are two calls, unless one holds the other."""
        call = self.call
        return call.scope_name, call.service_name, call.source

    @property
    def weight(self) -> tuple[object, ...]:
        """How much is in it: the heavier of two versions of one span counts, in any order."""
        call = self.call
        counts = [call.usage.output_tokens is not None, call.usage.input_tokens is not None]
        return (self.is_call, *counts, call.end_time_ns, bool(call.user_id), repr(call))


class LedgerEntry(NamedTuple):
    """What stands in the ledger for a call: the call as booked, and its cost."""

    call: Call
    cost: Cost


@dataclass(slots=True)
class Trace:
    """One trace: its spans, and its charges in the ledger, both by owner and span id."""

    nodes: dict[SpanKey, Node]
    booked: dict[SpanKey, LedgerEntry]

    def dump(self) -> bytes:
        """Return it as JSON, the values of calls and costs in the order of `LAYOUT`."""
        places = {key: place for place, key in enumerate(self.nodes)}
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
                        # a call is mostly booked as a span reports it: then its place is enough
                        "call": places[key]
                        if (node := self.nodes.get(key)) and node.call is entry.call
                        else _pack(entry.call),
                        "cost": tuple(entry.cost),
                    }
                    for key, entry in self.booked.items()
                ],
            }
        )

    @classmethod
    def of_one(cls, call: Call, cost: Cost) -> Self:
        """Return a trace of one call, booked as its span reports it."""
        key = span_key(call)
        return cls({key: Node(call, True)}, {key: LedgerEntry(call, cost)})

    @classmethod
    def load(cls, state: bytes, layout: str) -> Self:
        """Return it from its JSON, by the names that the layout has; a field without one is blank.

        Raises `TypeError`, with its name, for a field that does not exist (any more).
        """
        rows = _rows_of(layout)
        content = orjson.loads(state)
        nodes = [
            Node(_unpack(row["call"], rows), row["is_call"], row["may_be_charged"])
            for row in content["nodes"]
        ]
        calls: dict[int | str, Call] = {place: node.call for place, node in enumerate(nodes)}
        # an earlier version named a span by its id; its traces had no two of one id
        calls |= {node.call.span_id: node.call for node in nodes}
        entries = [
            LedgerEntry(
                _unpack(call, rows) if isinstance(call := row["call"], list) else calls[call],
                _unpack_cost(rows.cost(row["cost"])),
            )
            for row in content["booked"]
        ]
        return cls(
            {span_key(node.call): node for node in nodes},
            {span_key(entry.call): entry for entry in entries},
        )


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
        fields = {name: values[number] for name, values in calls.items()}
        usage = Usage(**{name: fields.pop(name) for name in TOKEN_FIELDS if name in fields})
        call = call_of({**BLANK, **_with_tuples(fields, BLANK), "usage": usage})
        amounts = {name: values[number] for name, values in costs.items()}
        pairs.append((call, Cost(**_with_tuples(amounts, _BLANK_COST))))
    return pairs


_BLANK_COLUMNS = {name: values[0] for name, values in columns_of([call_of(BLANK)]).items()}
_BLANK_COST = Cost()._asdict()
_KINDS: Mapping[str, Mapping[str, Any]] = {
    "Call": BLANK,
    "Usage": dict.fromkeys(TOKEN_FIELDS),
    "Cost": _BLANK_COST,
}
"""What a dumped trace has rows of -> the fields of each, with their values where a row has none."""
LAYOUT = orjson.dumps({kind: list(blank) for kind, blank in _KINDS.items()}).decode()
"""The names of the values in the rows of a dumped trace, as JSON; kept beside it, once for many."""
_USAGE = FIELDS.index("usage")
_TUPLES = [place for place, blank in enumerate(BLANK.values()) if blank == ()]
_COST_TUPLES = [place for place, blank in enumerate(_BLANK_COST.values()) if blank == ()]
"""Places of the fields that are tuples; JSON has lists only."""


def unknown_fields(layout: str) -> list[str]:
    """Return the fields of a layout that do not exist (any more)."""
    return [
        f"{kind}.{name}"
        for kind, names in orjson.loads(layout).items()
        for name in names
        if name not in _KINDS.get(kind, ())
    ]


class _Rows(NamedTuple):
    """Each returns, of a row of a layout, the values of today's fields in their order."""

    call: Callable[[list[Any]], list[Any]]
    usage: Callable[[list[Any]], list[Any]]
    cost: Callable[[list[Any]], list[Any]]


@lru_cache(maxsize=16)
def _rows_of(layout: str) -> _Rows:
    if unknown := unknown_fields(layout):
        raise TypeError(f"unknown fields: {', '.join(unknown)}")
    names = orjson.loads(layout)
    return _Rows(*(_by_name(names[kind], blank) for kind, blank in _KINDS.items()))


def _by_name(names: list[str], blank: Mapping[str, Any]) -> Callable[[list[Any]], list[Any]]:
    if names == list(blank):
        return lambda row: row
    blanks = list(blank.values())
    # a field that the layout lacks is taken from the blanks, which are appended to the row
    places = [
        names.index(name) if name in names else len(names) + number
        for number, name in enumerate(blank)
    ]

    def by_name(row: list[Any]) -> list[Any]:
        values = row + blanks
        return [values[place] for place in places]

    return by_name


def _pack(call: Call) -> list[Any]:
    values: list[Any] = list(call)
    values[_USAGE] = counts_of(call.usage)
    return values


def _unpack(row: list[Any], rows: _Rows) -> Call:
    values = rows.call(row)
    values[_USAGE] = Usage(*rows.usage(values[_USAGE]))
    for place in _TUPLES:
        values[place] = tuple(values[place])
    return Call._make(values)


def _unpack_cost(row: list[Any]) -> Cost:
    values = list(row)
    for place in _COST_TUPLES:
        values[place] = tuple(values[place])
    return Cost._make(values)


def _with_tuples(values: Mapping[str, Any], blank: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with tuples where a blank has one."""
    return {
        name: tuple(value) if blank.get(name) == () else value for name, value in values.items()
    }


def _filled_columns(columns: Columns, blank: Mapping[str, Any]) -> Columns:
    return {
        name: values
        for name, values in columns.items()
        if values[0] != blank[name] or values.count(blank[name]) < len(values)
    }
