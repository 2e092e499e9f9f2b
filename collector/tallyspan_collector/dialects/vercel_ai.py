"""Vercel AI SDK, versions 3 to 7. Sources: vercel/ai, packages/ai/src/telemetry, packages/otel.

The `.doX` spans are the calls, what is around them repeats or sums their tokens. Until version 5
Anthropic's input was passed on without the cache; 6 and later include it, and are recognised by
`inputTokenDetails`. Google's own usage is in the metadata: what its tools put into the prompt is
nowhere else, and in 6 the total is a sum without it. Version 5 reports Google's reasoning, and
older releases xAI's, beside the output.
"""

from typing import Any

from tallyspan_collector.dialects import values
from tallyspan_collector.dialects.otel_genai import extend
from tallyspan_collector.dialects.table import Attributes, Basis, Dialect, Loss
from tallyspan_collector.read.call import Draft

_GOOGLES = ("gcp.gemini", "gcp.vertex_ai")
_OF_FIVE: dict[str, Any] = {
    "reasoning_outside": frozenset(_GOOGLES),
    "losses": dict.fromkeys(_GOOGLES, frozenset({Loss.TOOL_PROMPT})),
}
"""What version 5 does with Google's counts, where the metadata are not there."""
_META = "ai.telemetry.metadata."
_CONTEXT = "ai.settings.context."
_PM = "ai.response.providerMetadata#"
_GOOGLE = tuple(f"{_PM}{key}.usageMetadata." for key in ("google", "vertex"))
"""Google's usage as it came; the key differs by the version of the provider's package."""


def _google(name: str) -> tuple[str, ...]:
    return tuple(place + name for place in _GOOGLE)


_AGAIN = "the same count is in ai.usage"
_REST = "the rest of a count whose other parts are read"
_HARMLESS = {
    "ai.usage.inputTokenDetails.noCacheTokens": _REST,
    "ai.usage.outputTokenDetails.textTokens": _REST,
    f"{_PM}anthropic.usage.input_tokens": _AGAIN,
    f"{_PM}anthropic.usage.output_tokens": _AGAIN,
    f"{_PM}google.usageMetadata.promptTokenCount": _AGAIN,
    f"{_PM}google.usageMetadata.candidatesTokenCount": _AGAIN,
    f"{_PM}google.usageMetadata.thoughtsTokenCount": _AGAIN,
    f"{_PM}google.usageMetadata.cachedContentTokenCount": _AGAIN,
    f"{_PM}google.usageMetadata.totalTokenCount": _AGAIN,
    f"{_PM}google.usageMetadata.*[[]TEXT].*": "text is what a price without modality is for",
    f"{_PM}google.usageMetadata.*.modality": "the name of a count that is listed itself",
    f"{_PM}openai.*PredictionTokens": "predicted output is part of the output and billed as such",
}


def _stream(draft: Draft, attributes: Attributes) -> None:
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


def _legacy(name: str, scopes: tuple[str, ...], needs: tuple[str, ...], basis: Basis) -> Dialect:
    return extend(
        name=name,
        scopes=scopes,
        needs=needs,
        keys=("ai.operationId",) if basis is Basis.EXCLUSIVE else (),
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
            "service_tier": (
                f"{_PM}anthropic.usage.service_tier", f"{_PM}openai.serviceTier",
                f"{_PM}google.serviceTier",
            ),
        },
        tokens={
            "input_tokens": (
                "ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens",
                "gen_ai.usage.input_tokens",
            ),
            "output_tokens": ("ai.usage.outputTokens", "ai.usage.completionTokens"),
            "cache_read_tokens": (
                "ai.usage.inputTokenDetails.cacheReadTokens", "ai.usage.cachedInputTokens",
                f"{_PM}anthropic.cacheReadInputTokens",
                f"{_PM}anthropic.usage.cache_read_input_tokens",
                f"{_PM}openai.cachedPromptTokens",
                *_google("cachedContentTokenCount"),
            ),
            "cache_write_tokens": (
                "ai.usage.inputTokenDetails.cacheWriteTokens",
                f"{_PM}anthropic.cacheCreationInputTokens",
                f"{_PM}anthropic.usage.cache_creation_input_tokens",
            ),
            "cache_write_1h_tokens": (
                f"{_PM}anthropic.usage.cache_creation.ephemeral_1h_input_tokens",
            ),
            "reasoning_tokens": (
                "ai.usage.outputTokenDetails.reasoningTokens", "ai.usage.reasoningTokens",
                f"{_PM}openai.reasoningTokens", *_google("thoughtsTokenCount"),
            ),
        },
        added={"input_tokens": _google("toolUsePromptTokenCount")},
        total=(*_google("totalTokenCount"), "ai.usage.totalTokens"),
        cache_write_5m=(f"{_PM}anthropic.usage.cache_creation.ephemeral_5m_input_tokens",),
        claimed_cost=(f"{_PM}gateway.cost",),
        usage=("ai.usage.*", f"{_PM}*.usage.*", f"{_PM}google.usageMetadata.*",
               f"{_PM}google.serviceTier", f"{_PM}*Tokens"),
        harmless=_HARMLESS,
        tags=("tallyspan.tag.", _META),
        basis={"": Basis.INCLUSIVE, "anthropic": basis, "aws.bedrock": basis},
        **(_OF_FIVE if basis is Basis.EXCLUSIVE else {}),
        refine=_stream,
        trust=3,
    )  # fmt: skip


SIX = _legacy("vercel_ai_6", ("ai",), ("ai.usage.inputTokenDetails.*",), Basis.INCLUSIVE)
FIVE = _legacy("vercel_ai", ("ai",), ("ai.operationId",), Basis.EXCLUSIVE)
SEVEN = extend(
    name="vercel_ai_7",
    scopes=("gen_ai",),
    texts={
        "user_id": (f"{_CONTEXT}userId", f"{_CONTEXT}user_id"),
        "conversation_id": (f"{_CONTEXT}sessionId", f"{_CONTEXT}threadId", f"{_CONTEXT}chatId"),
        "department": (f"{_CONTEXT}department", f"{_CONTEXT}team"),
    },
    tags=("tallyspan.tag.", _CONTEXT),
    wrapper_keys=(),
    trust=2,
)
