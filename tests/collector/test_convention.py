"""How a total decides what an emitter's counts mean: the truth, or no price, never a third value."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.dialects import (
    frameworks,
    langfuse,
    openllmetry,
    otel_genai,
    strands,
    vercel_ai,
)
from tallyspan_collector.dialects.convention import rule_of, settle
from tallyspan_collector.dialects.table import Basis, Dialect, Loss, Rule
from tallyspan_collector.read.call import Flag

INCLUSIVE, EXCLUSIVE, UNDECIDED = Basis.INCLUSIVE, Basis.EXCLUSIVE, Basis.UNDECIDED


def settled(
    of_emitter: Rule, total: int | None, reported: dict[str, int], added: tuple[int, int] = (0, 0)
) -> tuple[Usage, tuple[Flag, ...]]:
    counts = [reported.get(name) for name in TOKEN_FIELDS]
    flags = settle(counts, total, of_emitter, added)
    return Usage(*counts), flags


@dataclass(frozen=True)
class Truth:
    """What a call used: disjoint counts."""

    fresh: int
    read: int
    write: int
    tool_prompt: int
    visible: int
    reasoning: int

    @property
    def cache(self) -> int:
        return self.read + self.write

    @property
    def input(self) -> int:
        return self.fresh + self.cache + self.tool_prompt

    @property
    def output(self) -> int:
        return self.visible + self.reasoning

    @property
    def total(self) -> int:
        return self.input + self.output


SMALL = st.integers(0, 12)  # small, so that one count is another's by chance


def rule(dialect: Dialect, provider: str) -> Rule:
    return rule_of(dialect, provider, "some-model")


def _cache(truth: Truth) -> dict[str, int]:
    return {"cache_read_tokens": truth.read, "cache_write_tokens": truth.write}


Reported = tuple[Rule, dict[str, int], int | None, tuple[int, int]]


def openai(truth: Truth) -> Reported:
    """Cache in the input, reasoning in the output."""
    counts = {"input_tokens": truth.input, "output_tokens": truth.output,
              "reasoning_tokens": truth.reasoning, **_cache(truth)}  # fmt: skip
    return rule(otel_genai.GENERIC, "openai"), counts, truth.total, (0, 0)


def anthropic_raw(truth: Truth) -> Reported:
    """An input without the cache, and a sum of the emitter's own."""
    fresh = truth.fresh + truth.tool_prompt
    counts = {"input_tokens": fresh, "output_tokens": truth.output, **_cache(truth)}
    return rule(frameworks.SPRING_AI, "anthropic"), counts, fresh + truth.output, (0, 0)


def bedrock_raw(truth: Truth) -> Reported:
    """Converse's counts as they came: its total has the cache."""
    counts = {"input_tokens": truth.fresh + truth.tool_prompt, "output_tokens": truth.output,
              **_cache(truth)}  # fmt: skip
    return rule(strands.TYPESCRIPT, "aws.bedrock"), counts, truth.total, (0, 0)


def bedrock_of_a_newer_version(truth: Truth) -> Reported:
    """The rule says without the cache, but the version is a newer one that adds it."""
    counts = {"input_tokens": truth.input, "output_tokens": truth.output, **_cache(truth)}
    return rule(strands.OLDER, "aws.bedrock"), counts, truth.total, (0, 0)


def bedrock_through_langfuse(truth: Truth) -> Reported:
    """The handler took the cache off an input that was without it."""
    fresh = truth.fresh + truth.tool_prompt
    counts = {"input_tokens": max(0, fresh - truth.cache), "output_tokens": truth.output,
              **_cache(truth)}  # fmt: skip
    return rule(langfuse.DIALECT, "aws.bedrock"), counts, truth.total, (0, 0)


def gemini_raw(truth: Truth) -> Reported:
    """The AI SDK 5 without the metadata: thoughts beside the output, no word of a tool's prompt."""
    counts = {"input_tokens": truth.input - truth.tool_prompt, "output_tokens": truth.visible,
              "reasoning_tokens": truth.reasoning, **_cache(truth)}  # fmt: skip
    return rule(vercel_ai.FIVE, "gcp.gemini"), counts, truth.total, (0, 0)


def gemini_with_tool_prompt(truth: Truth) -> Reported:
    """The same with it: the tool's prompt is in the metadata."""
    of_google, counts, total, _ = gemini_raw(truth)
    return of_google, counts, total, (truth.tool_prompt, 0)


def gemini_with_tool_prompt_twice(truth: Truth) -> Reported:
    """A newer AI SDK might add the tool's prompt itself, and thoughts, and keep the metadata."""
    counts = {"input_tokens": truth.input, "output_tokens": truth.output,
              "reasoning_tokens": truth.reasoning, **_cache(truth)}  # fmt: skip
    return rule(vercel_ai.FIVE, "gcp.gemini"), counts, truth.total, (truth.tool_prompt, 0)


def gemini_without_thoughts(truth: Truth) -> Reported:
    """Thoughts are in the total alone."""
    counts = {"input_tokens": truth.input, "output_tokens": truth.visible, **_cache(truth)}
    return rule(openllmetry.DIALECT, "gcp.gemini"), counts, truth.total, (0, 0)


def gemini_through_langfuse(truth: Truth) -> Reported:
    """The handler took the thoughts off an output that was without them."""
    counts = {"input_tokens": truth.input - truth.cache,
              "output_tokens": max(0, truth.visible - truth.reasoning),
              "reasoning_tokens": truth.reasoning, **_cache(truth)}  # fmt: skip
    return rule(langfuse.DIALECT, "gcp.vertex_ai"), counts, truth.total, (0, 0)


def xai_raw(truth: Truth) -> Reported:
    """Reasoning beside the output; the rule says in it, as newer versions have it."""
    counts = {"input_tokens": truth.input, "output_tokens": truth.visible,
              "reasoning_tokens": truth.reasoning, **_cache(truth)}  # fmt: skip
    return rule(vercel_ai.FIVE, "x_ai"), counts, truth.total, (0, 0)


def xai_through_langfuse(truth: Truth) -> Reported:
    """The handler took the reasoning off an output that was without it."""
    _, counts, total, added = gemini_through_langfuse(truth)
    return rule(langfuse.DIALECT, "x_ai"), counts, total, added


def azure_grok(truth: Truth) -> Reported:
    """Cache beside the input, though the provider's is in it as a rule."""
    counts = {"input_tokens": truth.input - truth.cache, "output_tokens": truth.output,
              **_cache(truth)}  # fmt: skip
    return rule(otel_genai.STANDARD, "azure.ai.inference"), counts, truth.total, (0, 0)


EMITTERS = [
    openai, anthropic_raw, bedrock_raw, bedrock_of_a_newer_version, bedrock_through_langfuse,
    gemini_raw, gemini_with_tool_prompt, gemini_with_tool_prompt_twice, gemini_without_thoughts,
    gemini_through_langfuse, xai_raw, xai_through_langfuse, azure_grok,
]  # fmt: skip


@pytest.mark.parametrize("emitter", EMITTERS, ids=lambda emitter: emitter.__name__)
@given(truth=st.builds(Truth, SMALL, SMALL, SMALL, SMALL, SMALL, SMALL))
def test_what_is_settled_by_a_total_is_the_truth_or_has_no_price(
    emitter: Any, truth: Truth
) -> None:
    of_emitter, counts, total, added = emitter(truth)
    usage, flags = settled(of_emitter, total, counts, added)

    is_the_truth = (usage.input_tokens, usage.output_tokens) == (truth.input, truth.output)
    assert is_the_truth or Flag.TOTAL_MISMATCH in flags


@pytest.mark.parametrize("emitter", EMITTERS, ids=lambda emitter: emitter.__name__)
def test_counts_that_are_like_no_others_are_settled(emitter: Any) -> None:
    truth = Truth(fresh=50_021, read=4_003, write=2_017, tool_prompt=0, visible=907, reasoning=310)
    of_emitter, counts, total, added = emitter(truth)
    usage, flags = settled(of_emitter, total, counts, added)

    assert (usage.input_tokens, usage.output_tokens) == (truth.input, truth.output)
    assert Flag.TOTAL_MISMATCH not in flags


OUTSIDE = Rule(is_input_certain=True, may_be_outside=True)
COUNTS = {"input_tokens": 100, "output_tokens": 20}
THOUGHTS, TOOLS = frozenset({Loss.THOUGHTS}), frozenset({Loss.TOOL_PROMPT})


@pytest.mark.parametrize(
    ("of_emitter", "total", "counts", "expected", "flags"),
    [
        # 100 + 20 + 60 of cache = 180
        (Rule(), 180, {"cache_read_tokens": 60}, (160, 20), [Flag.INPUT_BASIS_CORRECTED]),
        (Rule(UNDECIDED), 180, {"cache_read_tokens": 60}, (160, 20), []),
        # 120 = 100 + 20: the cache is in it, or it is beside and the sum leaves it out
        (Rule(UNDECIDED), 120, {"cache_read_tokens": 60}, (100, 20), [Flag.INPUT_BASIS_ASSUMED]),
        (Rule(UNDECIDED, is_input_certain=True), 120, {"cache_read_tokens": 60}, (100, 20), []),
        (Rule(EXCLUSIVE), 120, {"cache_read_tokens": 60}, (160, 20), []),
        # more cache than input: beside it, and the emitter's sum leaves it out
        (Rule(UNDECIDED), 120, {"cache_read_tokens": 300}, (400, 20), []),
        (Rule(), 120, {"cache_read_tokens": 300}, (400, 20), [Flag.INPUT_BASIS_CORRECTED]),
        # 100 + 20 + 15 of reasoning = 135
        (Rule(), 135, {"reasoning_tokens": 15}, (100, 35), [Flag.OUTPUT_BASIS_CORRECTED]),
        # xAI: more reasoning than output, and a sum of the emitter's own
        (OUTSIDE, 120, {"reasoning_tokens": 310}, (100, 330), [Flag.OUTPUT_BASIS_CORRECTED]),
        (OUTSIDE, None, {"reasoning_tokens": 310}, (100, 330), [Flag.OUTPUT_BASIS_CORRECTED]),
        # Mistral: 100 + 375 of audio + 20 = 495
        (Rule(is_audio_outside=True), 495, {"input_audio_tokens": 375}, (475, 20),
         [Flag.INPUT_BASIS_CORRECTED]),
        # 200 that only the total has: what they are depends on the emitter
        (Rule(losses=THOUGHTS), 320, {}, (100, 220), [Flag.THOUGHTS_FROM_TOTAL]),
        (Rule(losses=TOOLS), 320, {}, (300, 20), [Flag.TOOL_PROMPT_FROM_TOTAL]),
        (Rule(losses=TOOLS | THOUGHTS), 320, {}, (100, 20), [Flag.TOTAL_MISMATCH]),
        (Rule(), 320, {}, (100, 20), [Flag.TOTAL_MISMATCH]),
        # with reasoning reported, it is not the reasoning that is missing
        (Rule(losses=TOOLS | THOUGHTS), 320, {"reasoning_tokens": 5}, (300, 20),
         [Flag.TOOL_PROMPT_FROM_TOTAL]),
        # the cache is as much as is missing: it may be either
        (Rule(losses=THOUGHTS), 180, {"cache_read_tokens": 60}, (100, 20), [Flag.TOTAL_MISMATCH]),
        (Rule(), 119, {}, (100, 20), [Flag.TOTAL_MISMATCH]),
        (Rule(), 0, {}, (100, 20), []),
    ],
)  # fmt: skip
def test_one_explanation_that_fits_is_taken_and_named(
    of_emitter: Rule,
    total: int | None,
    counts: dict[str, int],
    expected: tuple[int, int],
    flags: list[Flag],
) -> None:
    usage, doubts = settled(of_emitter, total, COUNTS | counts)

    assert (usage.input_tokens, usage.output_tokens) == expected
    assert list(doubts) == flags


def test_thoughts_that_only_the_total_has_are_reasoning() -> None:
    usage, _ = settled(Rule(losses=THOUGHTS), 320, COUNTS)

    assert usage.reasoning_tokens == 200


def test_what_comes_on_top_is_not_added_where_the_total_has_it_once() -> None:
    usage, flags = settled(Rule(), 120, COUNTS, (30, 0))
    other, none = settled(Rule(), 150, COUNTS, (30, 0))

    assert (usage.input_tokens, flags) == (100, (Flag.PARTS_REPEATED,))
    assert (other.input_tokens, none) == (130, ())
