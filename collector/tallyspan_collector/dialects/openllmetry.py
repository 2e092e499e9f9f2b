"""OpenLLMetry (Traceloop), old and new names. Source: traceloop/openllmetry, semconv_ai.

Its Bedrock instrumentation passes the provider's own input on, without the cache. Google's thoughts
are in the total alone (run with 0.62.4).
"""

from tallyspan_collector.dialects.otel_genai import extend
from tallyspan_collector.dialects.table import Basis, Loss

_THOUGHTS = frozenset({Loss.THOUGHTS})
_PROPERTY = "traceloop.association.properties."

DIALECT = extend(
    name="openllmetry",
    scopes=("opentelemetry.instrumentation.*", "traceloop.*"),
    needs=(
        "traceloop.*",
        "llm.request.type",
        "llm.is_streaming",
        "llm.usage.total_tokens",
        "gen_ai.usage.total_tokens",
        "gen_ai.is_streaming",
        "gen_ai.prompt.0.*",
    ),
    keys=("traceloop.*", "llm.request.type"),
    operation=("gen_ai.operation.name", "llm.request.type"),
    wrapper_keys=("traceloop.span.kind",),
    wrapper_providers=frozenset({"crewai", "agno", "langgraph", "llamaindex", "haystack"}),
    texts={
        "user_id": (f"{_PROPERTY}user_id", f"{_PROPERTY}userId", "gen_ai.user", "llm.user"),
        "conversation_id": (
            f"{_PROPERTY}session_id",
            f"{_PROPERTY}chat_id",
            f"{_PROPERTY}thread_id",
            f"{_PROPERTY}conversation_id",
        ),
        "department": (f"{_PROPERTY}department", f"{_PROPERTY}team"),
        "agent_name": ("gen_ai.agent.name",),
    },
    tags=("tallyspan.tag.", _PROPERTY),
    basis={"": Basis.INCLUSIVE, "aws.bedrock": Basis.EXCLUSIVE},
    losses={"gcp.gemini": _THOUGHTS, "gcp.vertex_ai": _THOUGHTS},
    trust=5,
)
