"""Langfuse's buckets, as LangChain's handler makes them of each provider's usage."""

import json
from typing import Any

import pytest

from tallyspan.usage import Usage
from tallyspan_collector.dialects import Kind, Reader
from tallyspan_collector.read.call import Call, Flag
from tallyspan_collector.read.otlp import Span

OM = "langfuse.observation.metadata."


def read(provider: str, buckets: dict[str, Any], model: str = "some-model") -> Call:
    attributes: dict[str, object] = {
        "langfuse.observation.type": "generation",
        "langfuse.observation.model.name": model,
        "langfuse.observation.usage_details": json.dumps(buckets),
        f"{OM}ls_provider": json.dumps(provider),  # as the Python SDK writes it
    }
    span = Span("1" * 32, "2" * 16, "", 10**18, 10**18, False, attributes, {}, "langfuse-sdk")
    reading = Reader().read(span)
    assert reading.kind is Kind.CALL
    assert reading.call is not None
    return reading.call


@pytest.mark.parametrize(
    ("provider", "buckets", "expected", "flags"),
    [
        # OpenAI: 6000 with 4000 read and 500 written, of 500 out 300 reasoning, served as priority:
        # the handler leaves the whole where it is
        ("openai",
         {"input": 6000, "output": 500, "total": 6500, "input_priority_cache_read": 4000,
          "input_priority_cache_creation": 500, "input_priority": 2000,
          "output_priority_reasoning": 300, "output_priority": 200},
         Usage(6000, 500, 4000, 500, reasoning_tokens=300), ()),
        # and as flex: it takes off 500 + 4000 + 2000
        ("openai",
         {"input": 0, "output": 0, "total": 6500, "input_flex_cache_read": 4000,
          "input_flex_cache_creation": 500, "input_flex": 2000,
          "output_flex_reasoning": 300, "output_flex": 200},
         Usage(6000, 500, 4000, 500, reasoning_tokens=300), ()),
        # Anthropic: 300 fresh, 5000 read, 1000 written for 5 minutes and 2000 for an hour
        ("anthropic",
         {"input": 300, "output": 80, "total": 8380, "input_cache_read": 5000,
          "input_cache_creation": 0, "input_ephemeral_5m_input_tokens": 1000,
          "input_ephemeral_1h_input_tokens": 2000},
         Usage(8300, 80, 5000, 3000, 2000), ()),
        # an older package reports the writes as well, so they were taken off twice:
        # 3700 fresh + 5000 + 3000 = 11700, less 5000, 3000, 1000 and 2000 leaves 700
        ("anthropic",
         {"input": 700, "output": 80, "total": 11780, "input_cache_read": 5000,
          "input_cache_creation": 3000, "input_ephemeral_5m_input_tokens": 1000,
          "input_ephemeral_1h_input_tokens": 2000},
         Usage(11700, 80, 5000, 3000, 2000), ()),
        # Claude on Bedrock, its own usage: nothing was taken off
        ("bedrock",
         {"input": 300, "output": 80, "cache_read_input_tokens": 5000,
          "cache_creation_input_tokens": 3000, "cache_creation_ephemeral_5m_input_tokens": 1000,
          "cache_creation_ephemeral_1h_input_tokens": 2000},
         Usage(8300, 80, 5000, 3000, 2000), ()),
        # Bedrock: 8000 without the cache, less 6000 of cache
        ("bedrock",
         {"input": 2000, "output": 50, "total": 14050, "input_cache_read": 4000,
          "input_cache_creation": 2000},
         Usage(14000, 50, 4000, 2000), (Flag.TOTAL_REPAIRED,)),
        # Vertex: 1000 + 5000 of text and audio read from the cache, 300 answered, 600 thought
        ("google_vertexai",
         {"cached_content_token_count": 5000, "thoughts_token_count": 600, "input": 0,
          "output": 0, "total": 6900, "input_modality_1": 700, "input_modality_4": 300,
          "output_modality_1": 300, "cached_modality_1": 4000, "cached_modality_4": 1000},
         Usage(6000, 900, 5000, None, None, 1000, 600, 1300), ()),
        # without modalities of the cache nothing was taken off
        ("google_vertexai",
         {"cached_content_token_count": 5000, "thoughts_token_count": 600, "input": 6000,
          "output": 300, "total": 6900},
         Usage(6000, 900, 5000, reasoning_tokens=600), ()),
        # candidates that hold the thoughts already
        ("google_vertexai",
         {"thoughts_token_count": 600, "input": 6000, "output": 900, "total": 6900},
         Usage(6000, 900, reasoning_tokens=600), (Flag.OUTPUT_BASIS_CORRECTED,)),
        # a prompt of Google's own tools
        ("google_vertexai",
         {"thoughts_token_count": 58, "input": 26, "output": 45,
          "tool_use_prompt_token_count": 12504, "total": 12633},
         Usage(12530, 103, reasoning_tokens=58), ()),
        # LangChain's usage of Vertex: 300 without the 200 thoughts, less 200
        ("google_vertexai",
         {"input": 6000, "output": 100, "output_reasoning": 200, "total": 6500},
         Usage(6000, 500, reasoning_tokens=200), (Flag.TOTAL_REPAIRED,)),
        # a stream that lost the thoughts
        ("google_genai", {"input": 6000, "output": 300, "total": 6900},
         Usage(6000, 900, reasoning_tokens=600), (Flag.THOUGHTS_FROM_TOTAL,)),
        # nobody else loses thoughts
        ("openai", {"input": 6000, "output": 300, "total": 6900},
         Usage(6000, 300), (Flag.TOTAL_MISMATCH,)),
        # an input that has the cache in it, as a program of one's own may report it
        ("openai", {"input": 1000, "input_cached_tokens": 800, "output": 50, "total": 1050},
         Usage(1000, 50, 800), (Flag.INPUT_BASIS_CORRECTED,)),
        # xAI's own usage through OpenAI's SDK: 310 of reasoning beside 9
        ("xai",
         {"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 331,
          "completion_tokens_details": {"reasoning_tokens": 310}},
         Usage(12, 319, reasoning_tokens=310), (Flag.OUTPUT_BASIS_CORRECTED,)),
    ],
)  # fmt: skip
def test_buckets_are_the_usage_of_the_call(
    provider: str, buckets: dict[str, int], expected: Usage, flags: tuple[Flag, ...]
) -> None:
    call = read(provider, buckets)

    assert call.usage == expected
    assert call.quality_flags == flags


@pytest.mark.parametrize("tier", ["priority", "flex"])
def test_the_names_of_the_parts_name_the_tier(tier: str) -> None:
    call = read("openai", {f"input_{tier}": 5, f"output_{tier}": 3, "total": 8})

    assert (call.service_tier, call.provider_name) == (tier, "openai")
