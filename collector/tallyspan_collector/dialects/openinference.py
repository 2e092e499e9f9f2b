"""OpenInference (Arize). Every span is INTERNAL; `openinference.span.kind` says what it is.

Older versions have Google's thoughts in the total alone. Source: Arize-ai/openinference,
spec/semantic_conventions.md.
"""

from collections.abc import Collection
from dataclasses import replace

from tallyspan_collector.dialects import values
from tallyspan_collector.dialects.otel_genai import extend
from tallyspan_collector.dialects.providers import provider
from tallyspan_collector.dialects.table import Attributes, Loss
from tallyspan_collector.read.call import Draft

_THOUGHTS = frozenset({Loss.THOUGHTS})
_ANTHROPIC = "openinference.instrumentation.anthropic"


def concluded_provider(draft: Draft, attributes: Attributes) -> None:
    """Name the provider that the span states, where none was concluded from the model.

    For emitters that state the API, or the one provider they were written for, whoever answered.
    """
    for key in ("llm.provider", "llm.system"):
        if not draft["provider_name"]:
            draft["provider_name"], _ = provider(values.text(attributes.get(key)), "", "")


def _is_unfinished(scope: str, names: Collection[str]) -> bool:
    """Whether a span is of an Anthropic stream that was left early.

    Whole answers have a finish reason. Older versions never report one; they lack the request
    model too, and are recognised by that. Run with 3.1.0 and 0.1.18.
    """
    is_newer = "llm.request.model_name" in names
    return scope == _ANTHROPIC and is_newer and "llm.finish_reason" not in names


def _unfinished(draft: Draft, attributes: Attributes) -> None:
    """Leave out the output of such a stream: a placeholder, 1 or so."""
    if _is_unfinished(draft["scope_name"], attributes):
        draft["usage"] = replace(draft["usage"], output_tokens=None)


DIALECT = extend(
    name="openinference",
    scopes=("openinference.instrumentation*",),
    keys=("openinference.span.kind",),
    operation=("openinference.span.kind",),
    calls={"LLM": "chat", "EMBEDDING": "embeddings", "RERANKER": "rerank"},
    wrappers=frozenset({
        "chain", "retriever", "evaluator", "prompt", "unknown", "decision", "token_counter",
    }),
    texts={
        "provider_name": ("llm.provider", "llm.system"),
        "request_model": ("llm.request.model_name", "llm.model_name", "embedding.model_name",
                          "reranker.model_name"),
        "response_model": ("llm.response.model_name", "llm.model_name", "embedding.model_name"),
        "agent_name": ("agent.name", "graph.node.name"),
        "agent_id": ("agent.id", "graph.node.id"),
        "user_id": ("user.id", "metadata#user_id", "metadata#user"),
        "department": ("metadata#department", "metadata#team"),
    },
    tokens={
        "input_tokens": ("llm.token_count.prompt",),
        "output_tokens": ("llm.token_count.completion",),
        "cache_read_tokens": ("llm.token_count.prompt_details.cache_read",
                              "llm.token_count.prompt_details.cache_input"),
        "cache_write_tokens": ("llm.token_count.prompt_details.cache_write",
                               "llm.token_count.prompt_details.cache_creation"),
        "reasoning_tokens": ("llm.token_count.completion_details.reasoning",),
        "input_audio_tokens": ("llm.token_count.prompt_details.audio",),
        "output_audio_tokens": ("llm.token_count.completion_details.audio",),
    },
    total=("llm.token_count.total",),
    claimed_cost=("llm.cost.total",),
    usage=("llm.token_count.*",),
    losses={"gcp.gemini": _THOUGHTS, "gcp.vertex_ai": _THOUGHTS},
    refine=_unfinished,
    refines=_is_unfinished,
    trust=4,
)  # fmt: skip

JAVA = replace(
    DIALECT,
    name="openinference_java",
    scopes=("com.arize.*",),
    keys=(),
    texts={**DIALECT.texts, "provider_name": ()},
    refine=concluded_provider,
    refines=None,
)
"""For LangChain4j and Spring AI: it states OpenAI as the provider of every call.

Source: Arize-ai/openinference at 1fe497f, java/instrumentation.
"""
