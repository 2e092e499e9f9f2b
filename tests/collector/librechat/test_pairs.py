"""Documents of LibreChat's ledger become calls: each prompt with its own answer."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from librechat_ledger import NOON, OTHER_PROCESS, PROCESS, object_id
from tallyspan.answer import MAX_TOKENS
from tallyspan_collector.librechat.mongo import FIELDS
from tallyspan_collector.librechat.pairs import paired
from tallyspan_collector.librechat.transactions import Half, UnreadableError, half_of


def document(side: str, amount: float, number: int, **more: Any) -> dict[str, Any]:
    return {
        "_id": object_id(NOON, number=number),
        "user": ObjectId("65aa00000000000000000001"),
        "conversationId": "c1",
        "messageId": "m1",
        "tokenType": side,
        "model": "gpt-5-mini",
        "context": "message",
        "rawAmount": amount,
        "rate": 0.25,
        "tokenValue": amount * 0.25,
    } | more


def half(side: str, amount: int, number: int, **more: Any) -> Half:
    result = half_of(document(side, -amount, number, **more))
    assert result is not None
    return result


def test_a_half_has_its_tokens_and_what_librechat_charged() -> None:
    prompt = half("prompt", 1201, 1)

    assert (prompt.tokens, prompt.cache_read_tokens, prompt.cache_write_tokens) == (
        1201,
        None,
        None,
    )
    assert prompt.value_picousd == 300_250_000  # 1,201 x 0.25 millionths of a dollar
    assert prompt.rate == Decimal("0.25")
    assert prompt.at == NOON


def test_the_cache_is_part_of_the_prompt() -> None:
    prompt = half("prompt", 2400, 1, inputTokens=-100, writeTokens=-300, readTokens=-2000)

    assert (prompt.tokens, prompt.cache_read_tokens, prompt.cache_write_tokens) == (2400, 2000, 300)


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ({"tokenType": "video"}, "tokenType"),
        ({"rawAmount": None}, "rawAmount is missing"),
        ({"rawAmount": 5}, "that a call can have"),
        ({"rawAmount": -1.5}, "that a call can have"),
        ({"rawAmount": float("nan")}, "that a call can have"),
        ({"rawAmount": -1e300}, "that a call can have"),
        ({"inputTokens": -1, "readTokens": 1}, "readTokens is no number"),
        ({"model": "m" * 1001}, "model has more than 1,000 characters"),
        ({"rawAmount": "-5"}, "no number"),
        ({"_id": "abc"}, "no ObjectId"),
    ],
)
def test_a_document_that_is_no_half_says_why(more: dict[str, Any], wrong: str) -> None:
    with pytest.raises(UnreadableError, match=wrong):
        half_of(document("prompt", -5, 1, **more))


@given(
    st.fixed_dictionaries(
        {"_id": st.just(object_id(NOON)), "tokenType": st.sampled_from(["prompt", "completion"])},
        optional={
            name: st.none()
            | st.booleans()
            | st.integers(-(1 << 63), 1 << 63)
            | st.floats()
            | st.text(max_size=3)
            | st.lists(st.integers(), max_size=2)
            for name in (*FIELDS["transactions"], "createdAt")
            if name != "tokenType"
        },
    )
)
def test_any_document_is_a_half_that_can_be_booked_or_says_why_not(
    content: dict[str, Any],
) -> None:
    try:
        reading = half_of(content)
    except UnreadableError:
        return
    assert reading is not None
    assert 0 <= reading.tokens < MAX_TOKENS
    assert abs(reading.value_picousd or 0) < 10**18


def test_credits_that_are_bought_are_no_call() -> None:
    assert half_of(document("credits", 20_000, 1, context="autoRefill")) is None


def test_the_numbers_of_a_process_tell_which_answer_a_prompt_has() -> None:
    # the first prompt's answer was never written: in order alone it would get the second one's
    lost = half("prompt", 10, 1)
    prompt, answer = half("prompt", 20, 5), half("completion", 2, 6)
    pairs, orphans = paired([lost, prompt, answer])

    assert [(pair.prompt.tokens, pair.answer.tokens) for pair in pairs] == [(20, 2)]
    assert orphans == [lost]


def test_numbers_that_follow_each_other_do_not_pair_two_turns() -> None:
    prompt, answer = half("prompt", 10, 1), half("completion", 2, 2, messageId="m2")

    assert paired([prompt, answer]) == ([], [prompt, answer])


def test_halves_of_other_versions_are_paired_in_their_order() -> None:
    halves = [
        half("prompt", 10, 1), half("prompt", 20, 3), half("completion", 1, 5),
        half("completion", 2, 7),
    ]  # fmt: skip
    pairs, orphans = paired(reversed(halves))

    assert [(pair.prompt.tokens, pair.answer.tokens) for pair in pairs] == [(10, 1), (20, 2)]
    assert orphans == []


def test_an_answer_that_stands_before_its_prompt_finds_it() -> None:
    answer = half("completion", 1, 9, _id=object_id(NOON, OTHER_PROCESS, 9))
    prompt = half("prompt", 10, 2, _id=object_id(NOON + timedelta(seconds=1), PROCESS, 2))
    pairs, orphans = paired([answer, prompt])

    assert [(pair.prompt, pair.answer) for pair in pairs] == [(prompt, answer)]
    assert orphans == []


@given(st.data())
def test_calls_of_several_turns_and_processes_find_their_halves_however_they_are_mixed(
    data: st.DataObject,
) -> None:
    calls = data.draw(st.integers(1, 12))
    halves = []
    for number in range(calls):
        process = data.draw(st.sampled_from([PROCESS, OTHER_PROCESS]))
        message = data.draw(st.sampled_from(["m1", "m2", "m3"]))
        for side, offset in (("prompt", 0), ("completion", 1)):
            at = object_id(NOON, process, 10 * number + offset)
            halves.append(half(side, number + 1, 0, _id=at, messageId=message))
    pairs, orphans = paired(data.draw(st.permutations(halves)))

    assert orphans == []
    assert len(pairs) == calls
    assert all(pair.prompt.tokens == pair.answer.tokens for pair in pairs)
    assert all(pair.prompt.message == pair.answer.message for pair in pairs)
