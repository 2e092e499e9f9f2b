"""Providers that speak another one's format, or have a host of their own: one line each.

A provider with a format of its own is described in its format's file (`formats/`) instead.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Provider:
    """Who serves a model, by the name that OpenTelemetry's conventions have for it.

    `hosts`: regular expressions, matched at the end of the host; empty: it runs anywhere.
    `pricing_id`: its id in the genai-prices package; empty: its name.
    `port`: the port that its own server listens on, whatever the host.
    `has_silent_streams`: its streams have usage only if the request wants it.
    """

    name: str
    hosts: tuple[str, ...]
    pricing_id: str = ""
    port: int = 0
    has_silent_streams: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.hosts, tuple):
            raise TypeError(f"provider {self.name!r}: hosts must be a tuple, not {self.hosts!r}")
        for host in self.hosts:
            try:
                re.compile(host)
            except re.error as error:
                raise ValueError(f"provider {self.name!r}: host {host!r}: {error}") from None


OPENAI = Provider("openai", (r"(?:^|\.)api\.openai\.com",), has_silent_streams=True)
AWS_BEDROCK = Provider(
    "aws.bedrock",
    (
        r"(?:^|\.)bedrock-runtime(?:-fips)?\.[a-z0-9-]+\.(?:vpce\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws)",
        r"^bedrock-mantle\.[a-z0-9-]+\.api\.aws",
    ),
    "aws",
)
GEMINI = Provider("gcp.gemini", (r"^generativelanguage\.googleapis\.com",), "google")
HUGGING_FACE = Provider("hugging_face", (r"^router\.huggingface\.co",))
MISTRAL = Provider("mistral_ai", (r"^api\.mistral\.ai",), "mistral")
VERTEX_AI = Provider(
    "gcp.vertex_ai",
    (r"aiplatform\.(?:[a-z-]+\.)?(?:rep\.)?(?:mtls\.)?googleapis\.com",),
    "google",
)

PROVIDERS = (
    OPENAI,
    AWS_BEDROCK,
    GEMINI,
    HUGGING_FACE,
    MISTRAL,
    VERTEX_AI,
    Provider(
        "azure.ai.openai",
        (
            r"\.openai\.azure\.(?:com|us|cn)",
            r"\.cognitiveservices\.azure\.com",
            r"\.services\.ai\.azure\.com",
        ),
        "azure",
        has_silent_streams=True,
    ),
    Provider("azure.ai.inference", (r"\.models\.ai\.azure\.com",), "azure"),
    # Anthropic's own platform at AWS, which sends the bill.
    Provider("aws.anthropic", (r"^aws-external-anthropic\.[a-z0-9-]+\.api\.aws",), "anthropic"),
    Provider("cerebras", (r"^api\.cerebras\.ai",)),
    Provider("crusoe", (r"\.crusoecloud\.com",)),
    Provider("deepseek", (r"^api\.deepseek\.com",)),
    Provider("fireworks", (r"^api\.fireworks\.ai",), has_silent_streams=True),
    Provider("groq", (r"^api\.groq\.com",)),
    Provider("heroku", (r"\.inference\.heroku\.com",)),
    Provider("moonshot_ai", (r"^api\.moonshot\.(?:ai|cn)",), "moonshotai"),
    Provider("openrouter", (r"^openrouter\.ai",)),
    Provider("perplexity", (r"^api\.perplexity\.ai",)),
    Provider("snowflake", (r"\.snowflakecomputing\.com",)),
    Provider("together_ai", (r"^api\.together\.(?:xyz|ai)",), "together"),
    Provider("voyageai", (r"^api\.voyageai\.com",)),
    Provider("writer", (r"^api\.writer\.com",)),
    Provider("x_ai", (r"(?:^|\.)api\.x\.ai",), "x-ai"),
    Provider("zai", (r"^api\.z\.ai",)),
)
