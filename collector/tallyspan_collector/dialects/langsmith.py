"""LangSmith's OpenTelemetry export. Only `langsmith.span.kind` is to be believed.

Its operation says `embeddings` of retrievers and `chat` of prompts; details are the `repr` of a
Python dict. Source: langchain-ai/langsmith-sdk, _internal/otel/_otel_exporter.py.
"""

from tallyspan_collector.dialects.otel_genai import extend

_META = "langsmith.metadata."
_IN = "gen_ai.usage.input_token_details#"
_OUT = "gen_ai.usage.output_token_details#"

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
        "cache_read_tokens": (f"{_IN}cache_read",),
        "cache_write_tokens": (f"{_IN}cache_creation",),
        "cache_write_1h_tokens": (f"{_IN}ephemeral_1h_input_tokens",),
        "reasoning_tokens": (f"{_OUT}reasoning",),
        "input_audio_tokens": (f"{_IN}audio",),
        "output_audio_tokens": (f"{_OUT}audio",),
    },
    harmless={
        f"{_IN}ephemeral_5m_input_tokens": "what is written to the cache less the part kept for "
        "one hour; both are read",
    },
    trust=5,
)  # fmt: skip
