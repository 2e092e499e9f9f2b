"""Which HTTP requests are LLM calls: path first, then host, for gateways keep the one only.

A provider with a known format is one line of data here. Paths are matched from their end, for
proxies and self-hosted servers put anything before it.
"""

import re
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Rule:
    """A path (matched at its end), what speaks there, and the one provider that has it, if any."""

    path: re.Pattern[str]
    format: str
    operation: str
    provider: str = ""


def _rule(path: str, format_: str, operation: str, provider: str = "") -> Rule:
    return Rule(re.compile(path + r"/?$"), format_, operation, provider)


RULES = (
    _rule(
        r"/model/(?P<model>[^/]+)/(?:converse|(?P<stream>converse-stream))",
        "bedrock_converse",
        "chat",
    ),
    _rule(
        r"/model/(?P<model>[^/]+)/(?:invoke|(?P<stream>invoke-with-response-stream))",
        "bedrock_invoke",
        "chat",
    ),
    _rule(r"^/v[12]/chat", "cohere", "chat", "cohere"),
    _rule(r"^/v[12]/generate", "cohere", "text_completion", "cohere"),
    _rule(r"^/v[12]/embed", "cohere", "embeddings", "cohere"),
    _rule(r"^/v[12]/rerank", "cohere", "rerank", "cohere"),
    _rule(r"/api/chat", "ollama", "chat"),
    _rule(r"/api/generate", "ollama", "text_completion"),
    _rule(r"/api/embed(?:dings)?", "ollama", "embeddings"),
    _rule(r"/images/(?:generations|edits|variations)", "openai_media", "generate_content"),
    _rule(r"/audio/(?:transcriptions|translations)", "openai_media", "generate_content"),
    _rule(r"/audio/speech", "openai_media", "generate_content"),
    _rule(
        r"/(?:models|tunedModels)/(?P<model>[^/:]+):(?:embedContent|batchEmbedContents)",
        "gemini",
        "embeddings",
    ),
    _rule(r"/publishers/google/models/(?P<model>[^/:]+):predict", "vertex_predict", "embeddings"),
    _rule(r"(?<!/input_tokens)/responses(?:/compact)?", "openai_responses", "chat"),
    _rule(r"(?:/deployments/(?P<model>[^/]+))?/chat/completions", "openai_chat", "chat"),
    _rule(r"(?:/deployments/(?P<model>[^/]+))?/completions", "openai_chat", "text_completion"),
    _rule(r"(?:/deployments/(?P<model>[^/]+))?/embeddings", "openai_chat", "embeddings"),
    _rule(r"/v1/messages", "anthropic_messages", "chat"),
    _rule(
        r"/publishers/anthropic/models/(?P<model>[^/:]+):(?:rawPredict|(?P<stream>streamRawPredict))",
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

OLLAMA_PORT = 11434

PROVIDERS = tuple(
    (re.compile(host + r"$"), provider)
    for host, provider in (
        (r"(?:^|\.)api\.openai\.com", "openai"),
        (r"\.openai\.azure\.com", "azure.ai.openai"),
        (r"\.cognitiveservices\.azure\.com", "azure.ai.openai"),
        (r"\.services\.ai\.azure\.com", "azure.ai.openai"),
        (r"\.models\.ai\.azure\.com", "azure.ai.inference"),
        (r"^api\.anthropic\.com", "anthropic"),
        (r"^generativelanguage\.googleapis\.com", "gcp.gemini"),
        (r"aiplatform\.(?:[a-z-]+\.)?(?:rep\.)?(?:mtls\.)?googleapis\.com", "gcp.vertex_ai"),
        (r"^bedrock-runtime(?:-fips)?\.[a-z0-9-]+\.amazonaws\.com", "aws.bedrock"),
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
        (r"^api\.moonshot\.(?:ai|cn)", "moonshot_ai"),
    )
)

FORMAT_PROVIDER = {
    "openai_chat": "openai",
    "openai_responses": "openai",
    "openai_media": "openai",
    "anthropic_messages": "anthropic",
    "gemini": "gcp.gemini",
    "bedrock_converse": "aws.bedrock",
    "bedrock_invoke": "aws.bedrock",
    "cohere": "cohere",
    "ollama": "ollama",
    "vertex_predict": "gcp.vertex_ai",
}
"""Whose format it is: the provider assumed behind a gateway of unknown host."""


@lru_cache(maxsize=2048)
def recognise(method: str, host: str, port: int | None, path: str) -> Endpoint | None:
    """Return what the request is, or None if it is no LLM call."""
    if method != "POST":
        return None
    plain = re.sub(r"//+", "/", unquote(path))
    for rule in RULES:
        found = rule.path.search(plain)
        if found is None:
            continue
        said = found.groupdict()
        provider = "ollama" if port == OLLAMA_PORT else _provider(host)
        if rule.provider and provider != rule.provider:
            continue  # a path that only this provider gives the meaning
        return Endpoint(
            format=rule.format,
            provider=provider or rule.provider or FORMAT_PROVIDER[rule.format],
            operation=rule.operation,
            endpoint_id=host
            if provider and port != OLLAMA_PORT
            else f"{host}:{port}"
            if port
            else host,
            model=said.get("model") or "",
            is_stream=bool(said["stream"]) if "stream" in said else None,
            is_certain=bool(provider),
        )
    return None


def _provider(host: str) -> str:
    return next((name for pattern, name in PROVIDERS if pattern.search(host)), "")
