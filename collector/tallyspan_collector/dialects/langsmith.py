"""LangSmith's OpenTelemetry export. Only `langsmith.span.kind` is to be believed.

Its operation says `embeddings` of retrievers and `chat` of prompts; details are the `repr` of a
Python dict, newer versions have LangChain's own usage in the metadata. Its total is the provider's,
LangSmith's own is a sum. Served as priority or flex, the parts' names begin with the tier.
Source: langchain-ai/langsmith-sdk, _internal/otel/_otel_exporter.py.
"""

from tallyspan_collector.dialects.langchain import LIFETIMES, TIERS
from tallyspan_collector.dialects.otel_genai import GENERIC, extend
from tallyspan_collector.dialects.table import Attributes
from tallyspan_collector.dialects.usage_object import AGAIN, reasons
from tallyspan_collector.read.call import Draft

_META = "langsmith.metadata."
_LANGCHAINS = f"{_META}usage_metadata#"
_IN = ("gen_ai.usage.input_token_details#", f"{_LANGCHAINS}input_token_details.")
_OUT = ("gen_ai.usage.output_token_details#", f"{_LANGCHAINS}output_token_details.")
"""Where LangChain's details of input and output are."""


def _details(places: tuple[str, ...], part: str) -> tuple[str, ...]:
    parts = (part, *(f"{tier}_{part}" for tier in TIERS))
    return tuple(f"{place}{name}" for place in places for name in parts)


def _tier(draft: Draft, attributes: Attributes) -> None:
    """Take the service tier from the names of the parts."""
    for tier in TIERS:
        if any(f"{place}{tier}" in attributes for place in (*_IN, *_OUT)):
            draft["service_tier"] = draft["service_tier"] or tier


DIALECT = extend(
    name="langsmith",
    scopes=("langsmith*",),
    keys=("langsmith.span.kind", "langsmith.trace.*"),
    operation=("langsmith.span.kind",),
    calls={"llm": "chat", "embedding": "embeddings"},
    wrappers=frozenset({"chain", "retriever", "prompt", "parser"}),
    texts={
        "provider_name": (f"{_META}ls_provider", "gen_ai.system"),
        "request_model": ("gen_ai.request.model", f"{_META}ls_model_name"),
        "user_id": (f"{_META}user_id", f"{_META}userId"),
        "conversation_id": (
            f"{_META}session_id", f"{_META}thread_id", f"{_META}conversation_id",
        ),
        "department": (f"{_META}department", f"{_META}team"),
        "agent_id": (f"{_META}agent_id",),
        "agent_name": (f"{_META}agent_name", f"{_META}langgraph_node"),
    },
    tokens={
        "cache_read_tokens": _details(_IN, "cache_read"),
        "cache_write_tokens": _details(_IN, "cache_creation"),
        "cache_write_1h_tokens": _details(_IN, LIFETIMES["1h"]),
        "reasoning_tokens": _details(_OUT, "reasoning"),
        "input_audio_tokens": _details(_IN, "audio"),
        "output_audio_tokens": _details(_OUT, "audio"),
        "input_image_tokens": _details(_IN, "image"),
        "output_image_tokens": _details(_OUT, "image"),
    },
    meters={
        "input_video_tokens": _details(_IN, "video"),
        "input_document_tokens": _details(_IN, "document"),
        "output_video_tokens": _details(_OUT, "video"),
    },
    conditions={"geo": (f"{_META}inference_geo",)},
    usage=(f"{_LANGCHAINS}*",),
    counted=tuple(f"{place}{tier}" for place in (*_IN, *_OUT) for tier in TIERS),
    harmless={
        **reasons(_LANGCHAINS, AGAIN),
        **dict.fromkeys(
            (f"{place}text" for place in (*_IN, *_OUT)), "text has the price without modality"
        ),
    },
    cache_write_5m=_details(_IN, LIFETIMES["5m"]),
    total=(f"{_LANGCHAINS}total_tokens", *GENERIC.total),
    refine=_tier,
    trust=5,
)  # fmt: skip
