"""Vercel AI SDK, versions 3 to 7. Sources: vercel/ai, packages/ai/src/telemetry, packages/otel.

The `.doX` spans are the calls, what is around them repeats or sums their tokens. Until version 5
Anthropic's input was passed on without the cache; 6 and later include it, and are recognised by
`inputTokenDetails`. Version 5 reports Google's reasoning, and older releases xAI's, beside the
output. What a provider alone reports is in the metadata (`vercel_metadata.py`).
"""

from typing import Any

from tallyspan_collector.dialects import usage_object, values, vercel_metadata
from tallyspan_collector.dialects.otel_genai import extend
from tallyspan_collector.dialects.table import Attributes, Basis, Dialect, Loss, Names
from tallyspan_collector.read.call import Draft

_GOOGLES = ("gcp.gemini", "gcp.vertex_ai")
_OF_FIVE: dict[str, Any] = {
    "reasoning_outside": frozenset(_GOOGLES),
    "losses": dict.fromkeys(_GOOGLES, frozenset({Loss.TOOL_PROMPT})),
}
"""What version 5 does with Google's counts, where the metadata are not there."""
_META = "ai.telemetry.metadata."
_CONTEXT = "ai.settings.context."
_REST = "the rest of a count whose other parts are read"
_HARMLESS = {
    **vercel_metadata.HARMLESS,
    "ai.usage.inputTokenDetails.noCacheTokens": _REST,
    "ai.usage.outputTokenDetails.textTokens": _REST,
}
_USAGE = ("ai.usage.*", *vercel_metadata.USAGE)
_TOKENS: dict[str, Names] = {
    "input_tokens": (
        "ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens",
        "gen_ai.usage.input_tokens",
    ),
    "output_tokens": ("ai.usage.outputTokens", "ai.usage.completionTokens"),
    "cache_read_tokens": (
        "ai.usage.inputTokenDetails.cacheReadTokens", "ai.usage.cachedInputTokens",
    ),
    "cache_write_tokens": ("ai.usage.inputTokenDetails.cacheWriteTokens",),
    "reasoning_tokens": (
        "ai.usage.outputTokenDetails.reasoningTokens", "ai.usage.reasoningTokens",
    ),
}  # fmt: skip
_METADATA: dict[str, Any] = {
    "tokens": usage_object.joined(_TOKENS, vercel_metadata.TOKENS),
    "added": vercel_metadata.ADDED,
    "total": (*vercel_metadata.TOTAL, "ai.usage.totalTokens"),
    "cache_write_5m": vercel_metadata.CACHE_WRITE_5M,
    "meters": vercel_metadata.METERS,
    "conditions": vercel_metadata.CONDITIONS,
    "claimed_cost": vercel_metadata.CLAIMED_COST,
    "reported_cost": vercel_metadata.REPORTED_COST,
    "usage": _USAGE,
    "harmless": _HARMLESS,
    "counted": vercel_metadata.REFINED,
}
"""What every version has in its metadata; version 7 only where it is told to."""


def _refine(draft: Draft, attributes: Attributes) -> None:
    """Note a stream, which only the operation's name tells, and what Vercel's gateway was used for.

    The gateway names models by vendor and model; the vendor is the provider.
    """
    draft["is_stream"] = str(attributes.get("ai.operationId", "")).endswith("doStream")
    milliseconds = attributes.get("ai.response.msToFirstChunk")
    if isinstance(milliseconds, int | float) and not isinstance(milliseconds, bool):
        draft["time_to_first_chunk_us"] = values.microseconds(milliseconds / 1000)
    if attributes.get("ai.model.provider") == "gateway":
        for name in ("request_model", "response_model"):
            draft[name] = draft[name].rpartition("/")[2]
    vercel_metadata.refine(draft, attributes)


def _legacy(name: str, mark: str, basis: Basis) -> Dialect:
    """Return the dialect of versions with the mark, whatever tracer they were given (opencode)."""
    return extend(
        name=name,
        scopes=("ai",),
        needs=(mark,),
        keys=(mark,),
        operation=("ai.operationId", "operation.name"),
        operation_after=".",
        calls={
            "doGenerate": "chat",
            "doStream": "chat",
            "doEmbed": "embeddings",
            "doRerank": "rerank",
        },
        wrappers=frozenset({
            "generatetext", "streamtext", "generateobject", "streamobject", "embed", "embedmany",
            "rerank", "toolcall", "generateimage", "generatespeech",
        }),
        texts={
            "provider_name": ("ai.model.provider",),
            "request_model": ("ai.model.id",),
            "response_model": ("ai.response.model",),
            "response_id": ("ai.response.id",),
            "user_id": (f"{_META}userId", f"{_META}user_id", f"{_META}user"),
            "conversation_id": (
                f"{_META}sessionId", f"{_META}session_id", f"{_META}threadId",
                f"{_META}conversationId", f"{_META}chatId",
            ),
            "department": (f"{_META}department", f"{_META}team"),
            "agent_name": ("ai.telemetry.functionId", "resource.name"),
            "service_tier": vercel_metadata.SERVICE_TIER,
        },
        **_METADATA,
        tags=("tallyspan.tag.", _META),
        basis={"": Basis.INCLUSIVE, "anthropic": basis, "aws.bedrock": basis},
        **(_OF_FIVE if basis is Basis.EXCLUSIVE else {}),
        refine=_refine,
        trust=3,
    )  # fmt: skip


SIX = _legacy("vercel_ai_6", "ai.usage.inputTokenDetails.*", Basis.INCLUSIVE)
FIVE = _legacy("vercel_ai", "ai.operationId", Basis.EXCLUSIVE)
SEVEN = extend(
    name="vercel_ai_7",
    scopes=("gen_ai",),
    texts={
        "user_id": (f"{_CONTEXT}userId", f"{_CONTEXT}user_id"),
        "conversation_id": (f"{_CONTEXT}sessionId", f"{_CONTEXT}threadId", f"{_CONTEXT}chatId"),
        "department": (f"{_CONTEXT}department", f"{_CONTEXT}team"),
        "service_tier": vercel_metadata.SERVICE_TIER,
    },
    **_METADATA,
    tags=("tallyspan.tag.", _CONTEXT),
    wrapper_keys=(),
    refine=vercel_metadata.refine,
    trust=2,
)
