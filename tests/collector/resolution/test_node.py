"""A call that is kept comes back as it was, whatever it says."""

from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, NamedTuple, get_type_hints
from unittest.mock import patch

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.read import call as call_module
from tallyspan_collector.read.call import BLANK, FIELDS, Call, Flag, columns_of
from tallyspan_collector.resolution import node as module
from tallyspan_collector.resolution.identity import SpanKey, span_key
from tallyspan_collector.resolution.node import (
    LAYOUT,
    LedgerEntry,
    Node,
    Trace,
    pack_lone,
    unpack_lone,
)

COUNTS = st.none() | st.integers(0, 10**9)
AMOUNTS = st.none() | st.integers(-(10**17), 10**17)
TEXTS = st.sampled_from(["", "a", "b\n", "é"])
KINDS = {
    "str": TEXTS,
    "int": st.integers(0, 2**63),
    "bool": st.booleans(),
    "int | None": COUNTS,
    "Mapping[str, str]": st.dictionaries(TEXTS, TEXTS, max_size=2),
    "Mapping[str, float]": st.dictionaries(TEXTS, st.floats(0, 1e6), max_size=2),
    "tuple[str, ...]": st.lists(st.sampled_from(list(Flag)), max_size=2).map(tuple),
    "Usage": st.builds(Usage, **dict.fromkeys(TOKEN_FIELDS, COUNTS)),
}


def strategy(of: object) -> st.SearchStrategy[object]:
    plain = of.__name__ if isinstance(of, type) else str(of)
    return KINDS[str(of).removeprefix("collections.abc.") if plain not in KINDS else plain]


CALLS = st.builds(Call, **{name: strategy(of) for name, of in get_type_hints(Call).items()})
SAME = st.just(Call("1" * 32, "2" * 16, "", 1, 2, "openai", "chat", "gpt"))
COSTS = st.just(Cost()) | st.builds(
    Cost,
    **{
        name: AMOUNTS if name.endswith("_picousd") else strategy(of)
        for name, of in get_type_hints(Cost).items()
    },
)
BOOKED = st.lists(st.tuples(CALLS | SAME, COSTS), min_size=1, max_size=7)


@given(BOOKED, st.integers(0, 3))
def test_lone_calls_come_back_from_their_chunks(
    booked: list[tuple[Call, Cost]], others: int
) -> None:
    calls = [call for call, _ in booked]
    columns = columns_of([*calls, *calls[:others]])

    chunks = pack_lone(columns, [cost for _, cost in booked], 3)

    again = [
        each
        for chunk, at in zip(chunks, (0, 3, 6), strict=False)
        for each in unpack_lone(chunk, range(min(3, len(booked) - at)))
    ]
    assert again == booked


@given(BOOKED, st.booleans())
def test_a_trace_comes_back_with_its_spans_and_what_was_booked(
    booked: list[tuple[Call, Cost]], is_as_it_came: bool
) -> None:
    nodes = {span_key(call): Node(call, True) for call, _ in booked}
    charged, cost = booked[-1]
    if not is_as_it_came:
        charged = charged._replace(part="merged")
    trace = Trace(nodes, {span_key(charged): LedgerEntry(charged, cost)})

    again = Trace.load(trace.dump(), LAYOUT)

    assert {key: node.call for key, node in again.nodes.items()} == {
        key: node.call for key, node in nodes.items()
    }
    assert again.booked == trace.booked


def in_another_order(row: dict[str, object]) -> dict[str, object]:
    return dict(reversed(row.items()))


@given(BOOKED)
def test_a_trace_is_read_by_the_names_of_its_fields(booked: list[tuple[Call, Cost]]) -> None:
    trace = trace_of(booked)
    state = orjson.loads(trace.dump())
    layout = {kind: names[::-1] for kind, names in orjson.loads(LAYOUT).items()}
    for row in state["nodes"]:
        row["call"][FIELDS.index("usage")].reverse()
        row["call"].reverse()
    for row in state["booked"]:
        row["cost"].reverse()

    again = Trace.load(orjson.dumps(in_another_order(state)), orjson.dumps(layout).decode())

    assert calls_of(again) == calls_of(trace)
    assert again.booked == trace.booked


@given(BOOKED)
def test_lone_calls_are_read_by_the_names_of_their_columns(
    booked: list[tuple[Call, Cost]],
) -> None:
    (chunk,) = pack_lone(
        columns_of([call for call, _ in booked]), [cost for _, cost in booked], len(booked)
    )
    state = {name: in_another_order(table) for name, table in orjson.loads(chunk).items()}

    assert unpack_lone(orjson.dumps(state), range(len(booked))) == booked


@given(BOOKED, st.integers(0, len(FIELDS)))
def test_a_field_that_is_new_in_the_middle_of_a_call_is_blank_in_what_was_kept_before(
    booked: list[tuple[Call, Cost]], place: int
) -> None:
    trace = trace_of(booked)
    state = trace.dump()
    (chunk,) = pack_lone(
        columns_of([call for call, _ in booked]), [cost for _, cost in booked], len(booked)
    )

    with later_version(place) as later:
        read = Trace.load(state, LAYOUT)
        lone = unpack_lone(chunk, range(len(booked)))
        again = Trace.load(read.dump(), module.LAYOUT)

    assert {type(node.call) for node in read.nodes.values()} == {later}
    assert all(call.tide == "eu" for call in calls_of(read).values())  # type: ignore[attr-defined]
    assert {key: without_new(call) for key, call in calls_of(read).items()} == calls_of(trace)
    assert [(without_new(call), cost) for call, cost in lone] == booked
    assert calls_of(again) == calls_of(read)


def test_a_field_that_does_not_exist_any_more_is_refused_by_its_name() -> None:
    with later_version(3) as later:
        call = later(**call_module.BLANK, tide="us")
        state, layout = Trace.of_one(call, Cost()).dump(), module.LAYOUT
        chunk = pack_lone(columns_of([call]), [Cost()], 1)[0]

    with pytest.raises(TypeError, match="tide"):
        Trace.load(state, layout)
    with pytest.raises(TypeError, match="tide"):
        unpack_lone(chunk, [0])


def trace_of(booked: list[tuple[Call, Cost]]) -> Trace:
    call, cost = booked[-1]
    nodes = {span_key(call): Node(call, True) for call, _ in booked}
    return Trace(nodes, {span_key(call): LedgerEntry(call, cost)})


def calls_of(trace: Trace) -> dict[SpanKey, Call]:
    return {key: node.call for key, node in trace.nodes.items()}


def without_new(call: Call) -> Call:
    return Call(**{name: value for name, value in call._asdict().items() if name != "tide"})


@contextmanager
def later_version(place: int) -> Iterator[Any]:
    """A build whose `Call` has a field `tide`, at that place among the others; blank is eu."""
    names = [*FIELDS[:place], "tide", *FIELDS[place:]]
    make: Any = NamedTuple
    later = make("Later", [(name, object) for name in names])
    blank = later(**BLANK, tide="eu")._asdict()
    kinds = {**module._KINDS, "Call": blank}
    layout = orjson.dumps({kind: list(fields) for kind, fields in kinds.items()}).decode()
    module._rows_of.cache_clear()
    with (
        patch.multiple(
            call_module, Call=later, FIELDS=later._fields, _in_order=itemgetter(*later._fields)
        ),
        patch.multiple(
            module,
            Call=later,
            BLANK=blank,
            LAYOUT=layout,
            _KINDS=kinds,
            _USAGE=names.index("usage"),
            _TUPLES=[at for at, value in enumerate(blank.values()) if value == ()],
            _BLANK_COLUMNS={**module._BLANK_COLUMNS, "tide": "eu"},
        ),
    ):
        yield later
    module._rows_of.cache_clear()
