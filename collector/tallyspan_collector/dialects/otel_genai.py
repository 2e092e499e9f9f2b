"""OpenTelemetry GenAI conventions, from 1.26 to today's: every name a version has had is taken.

Every other dialect starts from these names. Sources: semantic-conventions (tags up to 1.44) and
semantic-conventions-genai.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tallyspan import semconv
from tallyspan.conditions import PREFIX as CONDITION_PREFIX
from tallyspan.meters import PREFIX as METER_PREFIX
from tallyspan_collector.dialects import usage_object
from tallyspan_collector.dialects.table import Basis, Dialect, Names
from tallyspan_collector.dialects.values import PICOUSD_OF_USD

CALLS: Mapping[str, str] = {
    "chat": "chat",
    "chat.completions": "chat",
    "generate_content": "generate_content",
    "text_completion": "text_completion",
    "text_completions": "text_completion",
    "completion": "text_completion",
    "embeddings": "embeddings",
    "embedding": "embeddings",
    "rerank": "rerank",
    "web_search": "web_search",
    "moderation": "moderation",
    "image": "generate_content",
    "image_generation": "generate_content",
    "generate_image": "generate_content",
    "generate_video": "generate_content",
    "extend_video": "generate_content",
    "audio": "generate_content",
    "speech": "generate_content",
    "speech_to_text": "generate_content",
    "text_to_speech": "generate_content",
    "transcription": "generate_content",
}

WRAPPERS = frozenset({
    "invoke_agent", "create_agent", "agent_step", "agent_run", "invoke_workflow", "plan",
    "handle_conversation_turn", "execute_tool", "execute_task", "retrieval", "fetch_response",
    "framework", "vectordb", "create_memory", "search_memory", "update_memory", "upsert_memory",
    "delete_memory", "create_memory_store", "delete_memory_store", "count_tokens", "task",
    "workflow", "agent", "tool", "retrieve", "guardrail", "create_thread", "mcp",
})  # fmt: skip

TEXTS: Mapping[str, Names] = {
    "provider_name": (semconv.PROVIDER, "gen_ai.system"),
    "request_model": (semconv.REQUEST_MODEL,),
    "response_model": (semconv.RESPONSE_MODEL,),
    "response_id": (semconv.RESPONSE_ID,),
    "server_address": (semconv.SERVER_ADDRESS, "gen_ai.server.address"),
    "endpoint_id": (semconv.ENDPOINT_ID,),
    "service_tier": (
        semconv.SERVICE_TIER,
        "openai.response.service_tier",
        "anthropic.response.service_tier",
        "gen_ai.openai.response.service_tier",
    ),
    "user_id": (
        semconv.USER_ID,
        "enduser.id",
        "enduser.pseudo.id",
        "gen_ai.user.id",
        "user.email",
        "user.hash",
    ),
    "department": (semconv.DEPARTMENT, "department"),
    "agent_id": (semconv.AGENT_ID,),
    "agent_name": (semconv.AGENT_NAME,),
    "conversation_id": (
        semconv.CONVERSATION_ID,
        "session.id",
        "gen_ai.session.id",
        "gen_ai.thread.id",
    ),
    "error_type": (semconv.ERROR_TYPE,),
    "part": (semconv.CALL_PART,),
    "same_call_id": (semconv.CALL_ID,),
    "usage_source": (semconv.USAGE_SOURCE,),
}

TOKENS: Mapping[str, Names] = {
    "input_tokens": ("gen_ai.usage.prompt_tokens",),
    "output_tokens": ("gen_ai.usage.completion_tokens",),
    "cache_read_tokens": (
        "gen_ai.usage.cache_read_tokens",
        "gen_ai.usage.details.cache_read_tokens",
        "gen_ai.usage.details.cache_read_input_tokens",
        "gen_ai.usage.prompt_details.cache_read",
        "gen_ai.usage.input_cached_tokens",
        "gen_ai.usage.input_tokens.cached",
    ),
    "cache_write_tokens": (
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_write_tokens",
        "gen_ai.usage.cache_write_input_tokens",
        "gen_ai.usage.details.cache_write_tokens",
        "gen_ai.usage.details.cache_creation_tokens",
        "gen_ai.usage.details.cache_creation_input_tokens",
        "gen_ai.usage.prompt_details.cache_write",
        "gen_ai.usage.input_tokens.cache_write",
    ),
    "cache_write_1h_tokens": ("anthropic.usage.cache_creation.ephemeral_1h_input_tokens",),
    "reasoning_tokens": (
        "gen_ai.usage.reasoning_tokens",
        "gen_ai.usage.reasoning_output_tokens",
        "gen_ai.usage.output_tokens.reasoning",
        "gen_ai.usage.details.reasoning_tokens",
        "gen_ai.usage.details.thinking_tokens",
        "llm.usage.reasoning_tokens",
    ),
    "input_audio_tokens": ("gen_ai.usage.details.input_audio_tokens",),
    "cache_read_audio_tokens": ("gen_ai.usage.details.cache_audio_read_tokens",),
    "output_audio_tokens": ("gen_ai.usage.details.output_audio_tokens",),
}

METERS: Mapping[str, Names] = {
    "input_video_tokens": ("gen_ai.usage.video.input_tokens",),
    "input_document_tokens": ("gen_ai.usage.document.input_tokens",),
    "output_video_tokens": ("gen_ai.usage.video.output_tokens",),
    "cache_read_image_tokens": ("gen_ai.usage.image.cache_read.input_tokens",),
    "cache_read_video_tokens": ("gen_ai.usage.video.cache_read.input_tokens",),
    "cache_read_document_tokens": ("gen_ai.usage.document.cache_read.input_tokens",),
}
"""Modalities that are no field of `Usage`."""
_SPLIT_COST = "a part of the cost whose sum is read"
HARMLESS: Mapping[str, str] = {
    "gen_ai.usage.details.input_tokens": "the input again, before the cache is added",
    "gen_ai.usage.details.output_tokens": "the output again",
    "gen_ai.usage.text.*": "text is what a price without modality is for",
    "gen_ai.usage.experimental.system_instruction_tokens": "a part of the input, at its price",
    "gen_ai.usage.experimental.reasoning_tokens_limit": "a limit of the request",
    **usage_object.reasons("gen_ai.usage.", usage_object.HARMLESS),
    "gen_ai.usage.input_cost": _SPLIT_COST,
    "gen_ai.usage.output_cost": _SPLIT_COST,
    "gen_ai.usage.cost.currency": "the unit of a cost that is kept for comparison only",
}
"""Usage that nothing reads, and why no cost depends on it."""

GENERIC = Dialect(
    name="generic",
    scopes=(
        "tallyspan",
        "opentelemetry.instrumentation.genai.*",
        "opentelemetry.instrumentation.google_genai",
        "opentelemetry.instrumentation.openai_v2",
        "opentelemetry.util.genai.*",  # openai_v2, set to the latest names
    ),
    keys=("gen_ai.operation.name", "gen_ai.system", "gen_ai.provider.name", "gen_ai.*"),
    operation=(semconv.OPERATION,),
    calls=CALLS,
    wrappers=WRAPPERS,
    texts=TEXTS,
    tokens=usage_object.joined(
        {name: (attribute,) for name, attribute in semconv.USAGE_ATTRIBUTES.items()},
        TOKENS,
        usage_object.at("gen_ai.usage.", usage_object.TOKENS),
    ),
    total=("gen_ai.usage.total_tokens", "llm.usage.total_tokens"),
    cache_write_5m=("anthropic.usage.cache_creation.ephemeral_5m_input_tokens",),
    tags=(semconv.TAG_PREFIX,),
    meters=usage_object.joined(METERS, usage_object.at("gen_ai.usage.", usage_object.METERS)),
    conditions=usage_object.at("gen_ai.usage.", usage_object.CONDITIONS),
    claimed_cost=("gen_ai.usage.cost", "gen_ai.usage.cost.amount", "gen_ai.usage.total_cost"),
    reported_cost={semconv.REPORTED_COST_USD: PICOUSD_OF_USD},
    usage=(
        "gen_ai.usage.*",
        "llm.usage.*",
        "tallyspan.usage.*",
        f"{METER_PREFIX}*",
        f"{CONDITION_PREFIX}*",
    ),
    harmless=HARMLESS,
    cache_hit=("gen_ai.response.cache_hit",),
    basis={"anthropic": Basis.UNDECIDED, "aws.bedrock": Basis.UNDECIDED},
)

STANDARD = replace(
    GENERIC,
    name="otel_genai",
    keys=(),
    # 1.40 and later say it, and who follows them adds the cache for Anthropic and Bedrock
    basis={"": Basis.INCLUSIVE},
    trust=2,
)
"""Emitters that keep to the conventions; GENERIC is for all others that use their names."""


BEDROCK = replace(
    STANDARD,
    name="otel_bedrock",
    scopes=(
        "opentelemetry.instrumentation.genai.bedrock*",
        "opentelemetry.instrumentation.botocore*",
        "@opentelemetry/instrumentation-aws-sdk",
    ),
    basis={"": Basis.EXCLUSIVE},
)
"""The AWS SDKs' instrumentations pass on what Bedrock reports: input without the cache.

Run with genai-bedrock 1.3b0 and botocore 0.66b2; no total is in their spans.
"""


def extend(
    *,
    texts: Mapping[str, Names] | None = None,
    tokens: Mapping[str, Names] | None = None,
    meters: Mapping[str, Names] | None = None,
    conditions: Mapping[str, Names] | None = None,
    calls: Mapping[str, str] | None = None,
    wrappers: frozenset[str] = frozenset(),
    operation: Names = (),
    usage: Names = (),
    harmless: Mapping[str, str] | None = None,
    reported_cost: Mapping[str, int] | None = None,
    **own: Any,
) -> Dialect:
    """Return the generic dialect with an emitter's own names before the conventions' ones."""
    fields: dict[str, Any] = {
        "scopes": (),
        "keys": (),
        "texts": usage_object.joined(texts or {}, GENERIC.texts),
        "tokens": usage_object.joined(tokens or {}, GENERIC.tokens),
        "meters": usage_object.joined(meters or {}, GENERIC.meters),
        "conditions": usage_object.joined(conditions or {}, GENERIC.conditions),
        "calls": {**GENERIC.calls, **(calls or {})},
        "wrappers": GENERIC.wrappers | wrappers,
        "operation": operation or GENERIC.operation,
        "usage": (*usage, *GENERIC.usage),
        "harmless": {**GENERIC.harmless, **(harmless or {})},
        "reported_cost": {**GENERIC.reported_cost, **(reported_cost or {})},
        "basis": {"": Basis.INCLUSIVE},
        **own,
    }
    return replace(GENERIC, **fields)
