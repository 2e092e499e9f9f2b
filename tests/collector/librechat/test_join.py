"""Each recorded call of a turn is one call of LibreChat's ledger, and no call is two."""

from datetime import timedelta
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from librechat_ledger import NOON, object_id
from tallyspan_collector.librechat.join import Recorded, matched
from tallyspan_collector.librechat.pairs import Pair
from tallyspan_collector.librechat.transactions import Half

MODELS = st.sampled_from(["gpt-5-mini", "claude-sonnet-4-5"])
TOKENS = st.tuples(st.integers(0, 3), st.integers(0, 2))


def pair(number: int, model: str, tokens: tuple[int, int]) -> Pair:
    def half(offset: int) -> Half:
        number_ = str(object_id(NOON, number=2 * number + offset))
        side: Literal["prompt", "completion"] = "completion" if offset else "prompt"
        return Half(
            number_, NOON, side, "u", "c", "m", model, "message", "", tokens[offset],
            None, None, None, None,
        )  # fmt: skip

    return Pair(half(0), half(1))


def call(number: int, model: str, tokens: tuple[int | None, int | None]) -> Recorded:
    return Recorded({
        "input_tokens": tokens[0], "output_tokens": tokens[1], "request_model": model,
        "model_name": model, "start_time": NOON + timedelta(seconds=number),
    })  # fmt: skip


@given(
    st.lists(st.tuples(MODELS, TOKENS), max_size=6),
    st.lists(st.tuples(MODELS, TOKENS | st.just((None, None))), max_size=6),
)
def test_every_call_of_either_side_stands_once_and_as_many_are_left_as_one_side_has_more(
    theirs: list[tuple[str, tuple[int, int]]],
    ours: list[tuple[str, tuple[int | None, int | None]]],
) -> None:
    pairs = [pair(number, *each) for number, each in enumerate(theirs)]
    calls = [call(number, *each) for number, each in enumerate(ours)]
    result = matched(pairs, calls)

    assert sorted(each.prompt.id for each, _ in result if each) == [x.prompt.id for x in pairs]
    assert sorted(id(each) for _, each in result if each) == sorted(map(id, calls))
    assert sum(1 for _, each in result if each is None) == max(len(pairs) - len(calls), 0)
    assert sum(1 for each, _ in result if each is None) == max(len(calls) - len(pairs), 0)


@given(st.permutations([(100, 1), (200, 2), (300, 3)]), st.data())
def test_what_is_left_of_a_turn_is_what_no_span_has(
    tokens: list[tuple[int, int]], data: st.DataObject
) -> None:
    pairs = [pair(number, "gpt-5-mini", each) for number, each in enumerate(tokens)]
    recorded = data.draw(st.sets(st.sampled_from(tokens)))
    calls = [call(number, "gpt-5-mini", each) for number, each in enumerate(recorded)]
    left = {
        (each.prompt.tokens, each.answer.tokens)
        for each, other in matched(pairs, calls)
        if each and other is None
    }

    assert left == set(tokens) - recorded
