"""Which HTTP requests are LLM calls: path first, then host, for gateways keep the one only.

A provider with a known format is one line of data here. Paths are matched from their end, for
proxies and self-hosted servers put anything before it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from urllib.parse import unquote


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What is known of a request from its address alone.

    `model` and `is_stream` are empty and None where the address does not say. `is_certain` is
    False for hosts we do not know: then the bodies must look like a call as well.
    """

    format: str
    provider: str
    operation: str
    endpoint_id: str
    model: str = ""
    is_stream: bool | None = None
    is_certain: bool = True
    is_retrieval: bool = False
    """Asks for the answer of an earlier call; a call itself only if that one has not said usage."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A path (matched at its end), what speaks there, and the one provider that has it, if any."""

    path: re.Pattern[str]
    format: str
    operation: str
    provider: str = ""


@dataclass(frozen=True, slots=True)
class OwnRule:
    """A user's rule for an endpoint of his own; globs, `port` 0: any.

    Without `format` the path decides by the built-in rules, and only names change.
    """

    host: str
    endpoint_id: str
    port: int = 0
    path: str = "*"
    provider: str = ""
    format: str = ""
    operation: str = "chat"

    def applies(self, host: str, port: int | None, path: str) -> bool:
        """Whether the rule is for such a request."""
        return (
            fnmatchcase(host.lower(), self.host.lower())
            and self.port in {0, port}
            and fnmatchcase(path, self.path)
        )


def _rule(path: str, format_: str, operation: str, provider: str = "") -> Rule:
    return Rule(re.compile(path + r"/?$"), format_, operation, provider)


RULES = (
    # An inference profile is named by its ARN, which has a slash of its own.
    _rule(
        r"/model/(?P<model>arn:.+|[^/]+)/(?:converse|(?P<stream>converse-stream))",
        "bedrock_converse",
        "chat",
    ),
    _rule(
        r"/model/(?P<model>arn:.+|[^/]+)/(?:invoke|(?P<stream>invoke-with-response-stream))",
        "bedrock_invoke",
        "chat",
    ),
    _rule(r"^/v[12]/chat", "cohere", "chat", "cohere"),
    _rule(r"^/v[12]/generate", "cohere", "text_completion", "cohere"),
    _rule(r"^/v[12]/embed", "cohere", "embeddings", "cohere"),
    _rule(r"^/v[12]/rerank", "cohere", "rerank", "cohere"),
    _rule(r"^/v1/summarize", "cohere", "text_completion", "cohere"),
    _rule(r"^/v1/chat", "openai_chat", "chat", "writer"),
    _rule(r"/api/v1/chat", "lm_studio", "chat"),
    _rule(r"/rerank", "openai_chat", "rerank"),
    _rule(r"/score", "openai_chat", "rerank"),
    _rule(r"/api/chat", "ollama", "chat"),
    _rule(r"/api/generate", "ollama", "text_completion"),
    _rule(r"/generate(?P<stream>_stream)?", "tgi", "text_completion"),
    _rule(r"/api/embed(?:dings)?", "ollama", "embeddings"),
    _rule(r"/images/(?:generations|edits|variations)", "openai_media", "generate_content"),
    _rule(r"/audio/(?:transcriptions|translations)", "openai_media", "generate_content"),
    _rule(r"/audio/speech", "openai_speech", "generate_content"),
    _rule(r"/moderations", "openai_chat", "moderation"),
    _rule(r"/v1beta/interactions", "gemini_interactions", "generate_content", "gcp.gemini"),
    _rule(
        r"/v1/conversations(?:/[^/]+(?:/restart)?)?", "mistral_conversations", "chat", "mistral_ai"
    ),
    _rule(r"/v1/ocr", "openai_chat", "generate_content", "mistral_ai"),
    _rule(r"/v1/agents/completions", "openai_chat", "chat", "mistral_ai"),
    _rule(r"/v1/(?:multimodal|contextualized)embeddings", "openai_chat", "embeddings", "voyageai"),
    _rule(r"/decisions", "openai_responses", "chat", "openai"),
    _rule(r"/completion", "llama_cpp", "text_completion"),
    _rule(r"/v1/complete", "anthropic_complete", "text_completion"),
    _rule(
        r"/(?:models|tunedModels)/(?P<model>[^/:]+):(?:embedContent|batchEmbedContents)",
        "gemini",
        "embeddings",
    ),
    _rule(r"/models/(?P<model>imagen[^/:]*):predict", "vertex_predict", "generate_content"),
    _rule(r"/publishers/google/models/(?P<model>[^/:]+):predict", "vertex_predict", "embeddings"),
    _rule(
        r"/publishers/mistralai/models/(?P<model>[^/:]+):(?:rawPredict|(?P<stream>streamRawPredict))",
        "openai_chat",
        "chat",
    ),
    _rule(r"(?<!/input_tokens)/responses(?:/compact)?", "openai_responses", "chat"),
    _rule(r"(?:/deployments/(?P<model>[^/]+))?/chat/completions", "openai_chat", "chat"),
    _rule(r"(?:/deployments/(?P<model>[^/]+))?/completions", "openai_chat", "text_completion"),
    _rule(r"(?:/deployments/(?P<model>[^/]+))?/embeddings", "openai_chat", "embeddings"),
    _rule(r"/v1/messages", "anthropic_messages", "chat"),
    _rule(
        r"/publishers/anthropic/models/(?!count-tokens)(?P<model>[^/:]+):(?:rawPredict|(?P<stream>streamRawPredict))",
        "anthropic_messages",
        "chat",
    ),
    _rule(
        r"/(?:models|tunedModels|endpoints)/(?P<model>[^/:]+)"
        r":(?:generateContent|(?P<stream>streamGenerateContent))",
        "gemini",
        "generate_content",
    ),
)

RETRIEVAL = _rule(r"/responses/[^/]+", "openai_responses", "chat")

OLLAMA_PORT = 11434

PROVIDERS = tuple(
    (re.compile(host + r"$"), provider)
    for host, provider in (
        (r"(?:^|\.)api\.openai\.com", "openai"),
        (r"\.openai\.azure\.(?:com|us|cn)", "azure.ai.openai"),
        (r"\.cognitiveservices\.azure\.com", "azure.ai.openai"),
        (r"\.services\.ai\.azure\.com", "azure.ai.openai"),
        (r"\.models\.ai\.azure\.com", "azure.ai.inference"),
        (r"^api\.anthropic\.com", "anthropic"),
        (r"^generativelanguage\.googleapis\.com", "gcp.gemini"),
        (r"aiplatform\.(?:[a-z-]+\.)?(?:rep\.)?(?:mtls\.)?googleapis\.com", "gcp.vertex_ai"),
        (
            r"(?:^|\.)bedrock-runtime(?:-fips)?\.[a-z0-9-]+\.(?:vpce\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws)",
            "aws.bedrock",
        ),
        (r"^bedrock-mantle\.[a-z0-9-]+\.api\.aws", "aws.bedrock"),
        (r"^api\.mistral\.ai", "mistral_ai"),
        (r"^api\.cohere\.(?:com|ai)", "cohere"),
        (r"^api\.deepseek\.com", "deepseek"),
        (r"(?:^|\.)api\.x\.ai", "x_ai"),
        (r"^api\.groq\.com", "groq"),
        (r"^openrouter\.ai", "openrouter"),
        (r"^api\.together\.(?:xyz|ai)", "together_ai"),
        (r"^api\.fireworks\.ai", "fireworks"),
        (r"^api\.perplexity\.ai", "perplexity"),
        (r"^api\.cerebras\.ai", "cerebras"),
        (r"^router\.huggingface\.co", "hugging_face"),
        (r"^api\.voyageai\.com", "voyageai"),
        (r"^api\.z\.ai", "zai"),
        (r"\.snowflakecomputing\.com", "snowflake"),
        (r"^ollama\.com", "ollama"),
        (r"\.crusoecloud\.com", "crusoe"),
        (r"\.inference\.heroku\.com", "heroku"),
        (r"^api\.writer\.com", "writer"),
        (r"^api\.moonshot\.(?:ai|cn)", "moonshot_ai"),
    )
)

FORMAT_PROVIDER = {
    "openai_chat": "openai",
    "openai_responses": "openai",
    "openai_media": "openai",
    "openai_speech": "openai",
    "anthropic_messages": "anthropic",
    "anthropic_complete": "anthropic",
    "gemini": "gcp.gemini",
    "gemini_interactions": "gcp.gemini",
    "mistral_conversations": "mistral_ai",
    "bedrock_converse": "aws.bedrock",
    "bedrock_invoke": "aws.bedrock",
    "cohere": "cohere",
    "llama_cpp": "llama_cpp",
    "lm_studio": "lm_studio",
    "ollama": "ollama",
    "tgi": "hugging_face",
    "vertex_predict": "gcp.vertex_ai",
}
"""Whose format it is: the provider assumed behind a gateway of unknown host."""


own_rules: list[OwnRule] = []
"""Rules of the user's file, which go before the built-in ones."""


def use(rules: Sequence[OwnRule]) -> None:
    """Let the rules of the user's file, in their order, go before the built-in ones."""
    own_rules[:] = rules
    recognise.cache_clear()


@lru_cache(maxsize=2048)
def recognise(method: str, host: str, port: int | None, path: str) -> Endpoint | None:
    """Return what the request is, or None if it is no LLM call."""
    if method not in {"POST", "GET"}:
        return None
    plain = re.sub(r"//+", "/", unquote(path))
    own = next((rule for rule in own_rules if rule.applies(host, port, plain)), None)
    if method == "GET":
        found = _found(RETRIEVAL, RETRIEVAL.path.search(plain), host, port)
        return replace(_owned(found, own), is_retrieval=True) if found else None
    if own is not None and own.format:
        return Endpoint(
            format=own.format,
            provider=own.provider or _provider(host) or FORMAT_PROVIDER[own.format],
            operation=own.operation,
            endpoint_id=own.endpoint_id,
        )
    for rule in RULES:
        found = _found(rule, rule.path.search(plain), host, port)
        if found is not None:
            return _owned(found, own)
    return None


def _found(rule: Rule, match: re.Match[str] | None, host: str, port: int | None) -> Endpoint | None:
    if match is None:
        return None
    provider = "ollama" if port == OLLAMA_PORT else _provider(host)
    if rule.provider and provider != rule.provider:
        return None  # a path that only this provider gives the meaning
    said = match.groupdict()
    is_known_host = provider and port != OLLAMA_PORT
    return Endpoint(
        format=rule.format,
        provider=provider or rule.provider or FORMAT_PROVIDER[rule.format],
        operation=rule.operation,
        endpoint_id=host if is_known_host or not port else f"{host}:{port}",
        model=said.get("model") or "",
        is_stream=bool(said["stream"]) if "stream" in said else None,
        is_certain=bool(provider),
    )


def _owned(found: Endpoint, own: OwnRule | None) -> Endpoint:
    if own is None:
        return found
    return replace(
        found,
        provider=own.provider or found.provider,
        endpoint_id=own.endpoint_id,
        is_certain=True,
    )


def _provider(host: str) -> str:
    return next((name for pattern, name in PROVIDERS if pattern.search(host)), "")
