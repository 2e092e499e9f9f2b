"""A call that is kept comes back as it was, whatever it says."""

from typing import get_type_hints

import orjson
from hypothesis import given
from hypothesis import strategies as st

from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.read.call import Call, Flag, columns_of
from tallyspan_collector.resolution.node import Booked, Node, Trace, _pack, pack_lone, unpack_lone

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
    **{name: AMOUNTS if name.endswith("_picousd") else TEXTS for name in Cost._fields},
)
BOOKED = st.lists(st.tuples(CALLS | SAME, COSTS), min_size=1, max_size=7)


@given(BOOKED, st.integers(0, 3))
def test_lone_calls_come_back_from_their_chunks(
    booked: list[tuple[Call, Cost]], others: int
) -> None:
    calls = [call for call, _ in booked]
    said = columns_of([*calls, *calls[:others]])

    chunks = pack_lone(said, [cost for _, cost in booked], 3)

    found = [
        each
        for chunk, at in zip(chunks, (0, 3, 6), strict=False)
        for each in unpack_lone(chunk, range(min(3, len(booked) - at)))
    ]
    assert found == booked


@given(BOOKED, st.booleans())
def test_a_trace_comes_back_with_its_spans_and_what_was_booked(
    booked: list[tuple[Call, Cost]], is_as_it_came: bool
) -> None:
    nodes = {call.span_id: Node(call, True) for call, _ in booked}
    charged, cost = booked[-1]
    if not is_as_it_came:
        charged = charged._replace(part="merged")
    trace = Trace(nodes, {charged.span_id: Booked(charged, cost)})

    again = Trace.load(trace.dump())

    assert {key: node.call for key, node in again.nodes.items()} == {
        key: node.call for key, node in nodes.items()
    }
    assert again.booked == trace.booked


@given(BOOKED)
def test_lone_calls_of_an_earlier_build_come_back(booked: list[tuple[Call, Cost]]) -> None:
    rows = [[_pack(call), tuple(cost)] for call, cost in booked]

    assert unpack_lone(orjson.dumps(rows), range(len(booked))) == booked
