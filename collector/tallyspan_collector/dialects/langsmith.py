"""LangSmith's OpenTelemetry export. Only `langsmith.span.kind` is to be believed.

Its operation says `embeddings` of retrievers and `chat` of prompts; details are the `repr` of a
Python dict. They are LangChain's: served as priority or flex, the parts' names begin with the tier.
Source: langchain-ai/langsmith-sdk, _internal/otel/_otel_exporter.py.
"""

from tallyspan_collector.dialects.langchain import TIERS
from tallyspan_collector.dialects.otel_genai import extend
from tallyspan_collector.dialects.table import Attributes
from tallyspan_collector.read.call import Draft

_META = "langsmith.metadata."
_IN = "gen_ai.usage.input_token_details#"
_OUT = "gen_ai.usage.output_token_details#"


def _details(details: str, part: str) -> tuple[str, ...]:
    return (f"{details}{part}", *(f"{details}{tier}_{part}" for tier in TIERS))


def _tier(draft: Draft, attributes: Attributes) -> None:
    """Take the service tier from the names of the parts."""
    for tier in TIERS:
        if f"{_IN}{tier}" in attributes or f"{_OUT}{tier}" in attributes:
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
        "cache_write_1h_tokens": (f"{_IN}ephemeral_1h_input_tokens",),
        "reasoning_tokens": _details(_OUT, "reasoning"),
        "input_audio_tokens": (f"{_IN}audio",),
        "output_audio_tokens": (f"{_OUT}audio",),
        "input_image_tokens": (f"{_IN}image",),
        "output_image_tokens": (f"{_OUT}image",),
    },
    meters={
        "input_video_tokens": (f"{_IN}video",),
        "input_document_tokens": (f"{_IN}document",),
        "output_video_tokens": (f"{_OUT}video",),
    },
    conditions={"geo": (f"{_META}inference_geo",)},
    counted=tuple(f"{details}{tier}" for details in (_IN, _OUT) for tier in TIERS),
    harmless=dict.fromkeys((f"{_IN}text", f"{_OUT}text"), "text has the price without modality"),
    cache_write_5m=(f"{_IN}ephemeral_5m_input_tokens",),
    refine=_tier,
    trust=5,
)  # fmt: skip
