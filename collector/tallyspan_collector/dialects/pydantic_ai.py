"""pydantic-ai and Logfire. Agent spans repeat the usage of their calls in versions before 2.

Source: pydantic/pydantic-ai, models/instrumented.py; pydantic/logfire, _internal/integrations.
"""

from dataclasses import replace

from tallyspan_collector.dialects import usage_object
from tallyspan_collector.dialects.otel_genai import extend
from tallyspan_collector.dialects.table import Attributes
from tallyspan_collector.read.call import Draft

_DETAILS = "gen_ai.usage.details."
_RAW = "gen_ai.usage.raw#"
_TOKENS = {
    "cache_read_tokens": (f"{_DETAILS}cached_content_tokens",),
    "cache_write_1h_tokens": (f"{_DETAILS}ephemeral_1h_input_tokens",),
    "cache_read_audio_tokens": (f"{_DETAILS}audio_cache_tokens",),
    "reasoning_tokens": (f"{_DETAILS}thoughts_tokens",),
    "input_audio_tokens": (f"{_DETAILS}audio_prompt_tokens",),
    "output_audio_tokens": (f"{_DETAILS}audio_candidates_tokens", f"{_DETAILS}audio_tokens"),
    "input_image_tokens": (f"{_DETAILS}image_prompt_tokens",),
    "output_image_tokens": (f"{_DETAILS}image_candidates_tokens", f"{_DETAILS}image_tokens"),
}
_METERS = {
    "web_search": (f"{_DETAILS}web_search_requests", f"{_DETAILS}num_search_queries"),
    "search_units": (f"{_DETAILS}search_units",),
    "input_tool_tokens": (f"{_DETAILS}tool_use_prompt_tokens",),
    "input_video_tokens": (f"{_DETAILS}video_prompt_tokens",),
    "input_document_tokens": (f"{_DETAILS}document_prompt_tokens",),
    "cache_read_image_tokens": (f"{_DETAILS}image_cache_tokens",),
    "cache_read_video_tokens": (f"{_DETAILS}video_cache_tokens",),
    "cache_read_document_tokens": (f"{_DETAILS}document_cache_tokens",),
    "output_video_tokens": (f"{_DETAILS}video_candidates_tokens",),
}
_AGAIN = "the count has an attribute of its own, or is the rest of counts that have"
_HARMLESS = {
    f"{_DETAILS}text_*_tokens": _AGAIN,
    f"{_DETAILS}text_tokens": _AGAIN,
    f"{_DETAILS}prompt_cache_hit_tokens": _AGAIN,
    f"{_DETAILS}prompt_cache_miss_tokens": _AGAIN,
    f"{_DETAILS}message_iterations": "how many turns the message had, whose tokens are summed",
    **dict.fromkeys(
        (
            f"{_DETAILS}compaction_{key}"
            for key in (
                "iterations",
                "input_tokens",
                "output_tokens",
                "cache_read_input_tokens",
                "cache_creation_input_tokens",
            )
        ),
        "compactions are summed with the message",
    ),
}


def _refine(draft: Draft, attributes: Attributes) -> None:
    usage_object.refine(draft, attributes, _RAW)


DIALECT = extend(
    name="pydantic_ai",
    scopes=("pydantic-ai",),
    keys=("logfire.json_schema",),
    span_names={"agent run": "invoke_agent", "invoke_agent*": "invoke_agent", "running*": "tool"},
    texts={
        "agent_name": ("gen_ai.agent.name", "agent_name"),
        # the attribute `model_name` is the agent's, set where no call is
    },
    tokens=_TOKENS,
    meters=_METERS,
    harmless=_HARMLESS,
    claimed_cost=("operation.cost",),
    trust=3,
)

LOGFIRE = replace(
    DIALECT,
    name="logfire",
    scopes=("logfire*",),
    keys=(),
    needs=("gen_ai.usage.*", "operation.cost", "logfire.level_num"),
    tokens=usage_object.joined(DIALECT.tokens, usage_object.at(_RAW, usage_object.TOKENS)),
    cache_write_5m=usage_object.under(_RAW, usage_object.CACHE_WRITE_5M),
    meters=usage_object.joined(DIALECT.meters, usage_object.at(_RAW, usage_object.METERS)),
    conditions=usage_object.joined(
        DIALECT.conditions, usage_object.at(_RAW, usage_object.CONDITIONS)
    ),
    counted=usage_object.under(_RAW, usage_object.REFINED),
    harmless={
        **DIALECT.harmless,
        **usage_object.reasons(_RAW, usage_object.AGAIN, usage_object.HARMLESS),
    },
    refine=_refine,
)
"""Logfire's own instrumentation of SDKs. What failed has a level.

The answer's usage as it is stands in one attribute; counts that have none of their own are read
there. Source: pydantic/logfire, llm_providers/usage.py (5.4.0).
"""

LOGFIRE_STREAM = replace(
    LOGFIRE,
    name="logfire_stream",
    needs=("gen_ai.request.model",),
    operation=(),
    span_names={"*": "task"},
)
"""The request of a stream ends before its answer: a second span, beside it, tells of the call."""
