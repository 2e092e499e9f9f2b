"""Frameworks that keep to OpenTelemetry's names with a word of their own, a line or two each."""

from tallyspan_collector.dialects.otel_genai import extend
from tallyspan_collector.dialects.providers import provider
from tallyspan_collector.dialects.table import Attributes, Basis
from tallyspan_collector.read.call import Draft

_ADK = "gcp.vertex.agent.llm_response#usage_metadata."
_GENKIT = "genkit:output#usage."


def _of(details: str, modality: str) -> str:
    return f"{_ADK}{details}_details[{modality}].token_count"


MICROSOFT = extend(
    name="microsoft_agent_framework",
    scopes=("agent_framework*", "Experimental.Microsoft.Extensions.AI*",
            "Experimental.Microsoft.Agents.AI*", "Microsoft.Extensions.AI*",
            "Microsoft.Agents.AI*"),
    basis={"": Basis.INCLUSIVE, "anthropic": Basis.UNDECIDED, "aws.bedrock": Basis.UNDECIDED},
    trust=4,
)  # fmt: skip
"""Source: microsoft/agent-framework observability.py. Counts are the provider client's."""

SEMANTIC_KERNEL = extend(
    name="semantic_kernel",
    scopes=("Microsoft.SemanticKernel*", "semantic_kernel*"),
    basis={"": Basis.INCLUSIVE, "anthropic": Basis.EXCLUSIVE, "aws.bedrock": Basis.UNDECIDED},
    trust=5,
)
"""Source: microsoft/semantic-kernel. Passes the provider's raw counts on."""

SPRING_AI = extend(
    name="spring_ai",
    keys=("spring.ai.*",),
    scopes=("org.springframework.ai*", "org.springframework.boot"),
    needs=("gen_ai.*", "spring.ai.*"),
    wrapper_providers=frozenset({"spring_ai"}),
    wrapper_keys=("spring.ai.kind",),
    texts={"conversation_id": ("spring.ai.chat.client.conversation.id",)},
    basis={"": Basis.INCLUSIVE, "anthropic": Basis.EXCLUSIVE, "aws.bedrock": Basis.EXCLUSIVE},
    trust=5,
)
"""Source: spring-projects/spring-ai, AnthropicChatModel, BedrockProxyChatModel."""

GOOGLE_ADK = extend(
    name="google_adk",
    scopes=("gcp.vertex.agent*",),
    keys=("gcp.vertex.agent.*",),
    span_names={"call_llm*": "generate_content", "generate_content*": "generate_content",
                "*": "agent_run"},
    texts={
        "provider_name": ("gen_ai.provider.name",),
        "conversation_id": ("gcp.vertex.agent.session_id",),
        "service_tier": (f"{_ADK}traffic_type",),
    },
    tokens={
        "input_tokens": ("gen_ai.usage.input_tokens", f"{_ADK}prompt_token_count"),
        "cache_read_tokens": (f"{_ADK}cached_content_token_count",),
        "reasoning_tokens": (f"{_ADK}thoughts_token_count",),
        "cache_read_audio_tokens": (_of("cache_tokens", "AUDIO"),),
        "input_audio_tokens": (_of("prompt_tokens", "AUDIO"),),
        "output_audio_tokens": (_of("candidates_tokens", "AUDIO"),),
        "input_image_tokens": (_of("prompt_tokens", "IMAGE"),),
        "output_image_tokens": (_of("candidates_tokens", "IMAGE"),),
    },
    meters={
        "cache_read_image_tokens": (_of("cache_tokens", "IMAGE"),),
        "cache_read_video_tokens": (_of("cache_tokens", "VIDEO"),),
        "cache_read_document_tokens": (_of("cache_tokens", "DOCUMENT"),),
        "input_video_tokens": (_of("prompt_tokens", "VIDEO"),),
        "input_document_tokens": (_of("prompt_tokens", "DOCUMENT"),),
        "input_tool_tokens": (f"{_ADK}tool_use_prompt_token_count",),
        "output_video_tokens": (_of("candidates_tokens", "VIDEO"),),
    },
    added={"input_tokens": (f"{_ADK}tool_use_prompt_token_count",)},
    total=(f"{_ADK}total_token_count",),
    usage=(f"{_ADK}*",),
    harmless={
        f"{_ADK}candidates_token_count": "the output again, without the thoughts that are read",
        f"{_ADK}*[[]TEXT].*": "text is what a price without modality is for",
        f"{_ADK}*.modality": "the name of a count that is listed itself",
    },
    trust=5,
)  # fmt: skip
"""Source: langfuse OtelIngestionProcessor.ts, google/adk-python telemetry."""


def _without_plugin(draft: Draft, _: Attributes) -> None:
    """Take the plugin off the model's name, from which the provider was concluded."""
    plugin, _, model = draft["request_model"].partition("/")
    if model and provider(plugin, "", "")[0] == draft["provider_name"]:
        draft["request_model"] = model


GENKIT = extend(
    name="genkit",
    scopes=("genkit-tracer*",),
    keys=("genkit:*",),
    operation=("genkit:metadata:subtype", "genkit:type"),
    calls={"model": "chat", "embedder": "embeddings", "reranker": "rerank"},
    wrappers=frozenset(
        {"flow", "action", "flowstep", "prompt", "util", "dotprompt", "executable-prompt"}
    ),
    texts={
        "request_model": ("genkit:name",),
        "conversation_id": ("genkit:sessionId", "genkit:metadata:sessionId"),
    },
    tokens={
        "input_tokens": (f"{_GENKIT}inputTokens",),
        "output_tokens": (f"{_GENKIT}outputTokens",),
        "cache_read_tokens": (f"{_GENKIT}cachedContentTokens",),
        "reasoning_tokens": (f"{_GENKIT}thoughtsTokens",),
    },
    total=(f"{_GENKIT}totalTokens",),
    usage=(f"{_GENKIT}*",),
    harmless={
        f"{_GENKIT}*Characters": "text counted a second time, beside its tokens",
    },
    reasoning_outside=frozenset({""}),
    refine=_without_plugin,
    trust=5,
)
"""Source: langfuse OtelIngestionProcessor.ts. Thoughts are counted beside the output.

JavaScript and Go write the same (go/core/tracing/tracing.go).
"""

DIFY = extend(
    name="dify",
    keys=("dify.*",),
    operation=("gen_ai.operation.name", "gen_ai.span.kind"),
    calls={"LLM": "chat", "EMBEDDING": "embeddings", "RERANKER": "rerank"},
    wrappers=frozenset({"chain", "retriever", "agent", "tool", "task"}),
    texts={
        "agent_id": ("dify.app_id", "dify.app.id"),
        "tenant": ("dify.tenant_id",),
        "user_id": ("dify.user_id",),
    },
    trust=5,
)
"""Source: langgenius/dify api/extensions/otel/parser/llm.py."""

_MASTRA = "mastra.metadata."

MASTRA = extend(
    name="mastra",
    scopes=("@mastra/*",),
    keys=("mastra.span.type",),
    texts={
        "user_id": (f"{_MASTRA}userId", f"{_MASTRA}user_id", f"{_MASTRA}resourceId"),
        "conversation_id": (
            f"{_MASTRA}sessionId", f"{_MASTRA}session_id", f"{_MASTRA}threadId",
            f"{_MASTRA}conversationId",
        ),
        "department": (f"{_MASTRA}department", f"{_MASTRA}team"),
    },
    # as the AI SDK has it: version 2 without the cache, 3 with it, and no span says which
    basis={"": Basis.INCLUSIVE, "anthropic": Basis.UNDECIDED, "aws.bedrock": Basis.UNDECIDED},
    trust=4,
)  # fmt: skip
"""Source: mastra-ai/mastra, observability/otel-exporter; run with @mastra/otel-exporter 1.4.0."""

_TOOL_PROMPT = "gen_ai.usage.tool_use_prompt_tokens"

RIG = extend(
    name="rig",
    keys=(_TOOL_PROMPT,),  # the tracer's name is the application's
    meters={"input_tool_tokens": (_TOOL_PROMPT,)},
    added={"input_tokens": (_TOOL_PROMPT,)},
    basis={"": Basis.INCLUSIVE, "anthropic": Basis.EXCLUSIVE, "aws.bedrock": Basis.EXCLUSIVE},
    reasoning_outside=frozenset({"gcp.gemini", "gcp.vertex_ai"}),
    trust=4,
)
"""Rust. Source: 0xPlaygrounds/rig at b75850e, rig-core/src/telemetry and its providers."""
