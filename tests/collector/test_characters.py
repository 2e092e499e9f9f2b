"""Tokens by characters, where a call has no counts of its own: rounded up, by family, marked."""

from typing import Any

import pytest

from tallyspan_collector.dialects import Kind, Reader
from tallyspan_collector.read.call import Call, Flag
from tallyspan_collector.read.otlp import Span

E = "tallyspan.estimate."


def read(attributes: dict[str, Any], scope: str = "tallyspan") -> Call:
    every = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
             "tallyspan.usage.source": "estimated", **attributes}  # fmt: skip
    span = Span("1" * 32, "2" * 16, "", 10**18, 10**18 + 1, False, every, {}, scope)
    reading = Reader().read(span)
    assert reading.kind is Kind.CALL
    assert reading.call is not None
    return reading.call


@pytest.mark.parametrize(
    ("model", "characters", "expected"),
    [
        # 401 at 4 are 101; 2 messages of 4 and 3 for the request
        ("gpt-4o", {"input": (401, 0), "output": (10, 0), "messages": 2}, (112, 3)),
        # 71 at 3.5 are 21
        ("claude-sonnet-4-5", {"input": (71, 0), "output": (7, 0), "messages": 1}, (28, 2)),
        # 20 of 30 are Chinese: 10 at 4 and 20 at 1.4 are 3 and 15; of Claude 10 at 3.5 and 20 at 1
        ("gpt-4o", {"input": (30, 20), "output": (0, 0), "messages": 1}, (25, 0)),
        ("claude-sonnet-4-5", {"input": (30, 20), "output": (0, 0), "messages": 1}, (30, 0)),
        # more wide ones than there are cannot be: all 5 at 1.4
        ("gpt-4o", {"input": (5, 9), "output": (0, 0), "messages": 1}, (11, 0)),
    ],
)
def test_characters_are_tokens_by_the_models_family(
    model: str, characters: dict[str, Any], expected: tuple[int, int]
) -> None:
    counts = {f"{E}messages": characters["messages"]}
    for side in ("input", "output"):
        counts[f"{E}{side}_characters"], counts[f"{E}{side}_wide_characters"] = characters[side]
    call = read({**counts, "gen_ai.request.model": model})

    assert (call.usage.input_tokens, call.usage.output_tokens) == expected
    assert call.usage_source == "estimated"
    assert call.quality_flags == ()


def test_what_the_provider_said_stays_and_only_the_rest_is_estimated() -> None:
    call = read({
        "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5",
        "gen_ai.usage.input_tokens": 1380, "gen_ai.usage.cache_read_input_tokens": 1000,
        "gen_ai.usage.output_tokens": 1, f"{E}output_characters": 70,
    })  # fmt: skip

    assert (call.usage.input_tokens, call.usage.cache_read_tokens) == (1380, 1000)
    assert (call.usage.output_tokens, call.usage_source) == (20, "estimated")


@pytest.mark.parametrize("value", ["many", -3, 2.5, [1], None])
def test_counts_that_can_be_none_leave_the_usage_unknown(value: object) -> None:
    call = read({"gen_ai.request.model": "gpt-4o", f"{E}input_characters": value})

    assert (call.usage.input_tokens, call.usage_source) == (None, "unknown")
    assert (Flag.BAD_COUNT in call.quality_flags) == (value is not None)


def test_nobody_elses_span_is_estimated_so() -> None:
    call = read({"gen_ai.request.model": "gpt-4o", f"{E}input_characters": 400}, "shop")

    assert call.usage.input_tokens is None
