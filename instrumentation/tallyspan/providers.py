"""Providers that speak another one's format, or have a host of their own: one line each.

A provider with a format of its own is described in its format's file (`formats/`) instead.
"""

import re
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Provider:
    """Who serves a model, by the name that OpenTelemetry's conventions have for it.

    `hosts`: regular expressions, matched at the end of the host; empty: it runs anywhere.
    `pricing_id`: its id in the genai-prices package; empty: its name.
    `port`: the port that its own server listens on, whatever the host.
    `has_silent_streams`: its streams have usage only if the request wants it.
    `routes`: of a gateway whose paths name a service: beginnings of paths (regular expressions),
    and the provider that such a call is of.
    """

    name: str
    hosts: tuple[str, ...]
    pricing_id: str = ""
    port: int = 0
    has_silent_streams: bool = False
    routes: tuple[tuple[str, str], ...] = ()
    host_patterns: tuple[re.Pattern[str], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.hosts, tuple):
            raise TypeError(f"provider {self.name!r}: hosts must be a tuple, not {self.hosts!r}")
        hosts = tuple(self._compiled(host, "$") for host in self.hosts)
        object.__setattr__(self, "host_patterns", hosts)
        for path, _ in self.routes:
            self._compiled(path)

    def _compiled(self, pattern: str, end: str = "") -> re.Pattern[str]:
        try:
            return re.compile(pattern + end)
        except re.error as error:
            raise ValueError(f"provider {self.name!r}: host {pattern!r}: {error}") from None

    def service(self, path: str) -> str:
        """Return whose call it is that goes to the path: its own name, or that of the route."""
        return next((name for start, name in self.routes if re.match(start, path)), self.name)


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
MISTRAL = Provider("mistral_ai", (r"^(?:api(?:\.(?:eu|us))?|codestral)\.mistral\.ai",), "mistral")
VERTEX_AI = Provider(
    "gcp.vertex_ai",
    (r"aiplatform\.(?:[a-z-]+\.)?(?:rep\.)?(?:mtls\.)?googleapis\.com",),
    "google",
)
XAI = Provider("x_ai", (r"(?:^|\.)api\.x\.ai",), "x-ai")

_CLOUDFLARE_SERVICES = {
    "openai": "openai",
    "azure-openai": "azure.ai.openai",
    "anthropic": "anthropic",
    "aws-bedrock": "aws.bedrock",
    "google-ai-studio": "gcp.gemini",
    "google-vertex-ai": "gcp.vertex_ai",
    "baseten": "baseten",
    "cerebras": "cerebras",
    "deepseek": "deepseek",
    "grok": "x_ai",
    "groq": "groq",
    "huggingface": "hugging_face",
    "mistral": "mistral_ai",
    "openrouter": "openrouter",
    "perplexity-ai": "perplexity",
}
"""https://developers.cloudflare.com/ai-gateway/usage/providers/; `compat` and `workers-ai` are its
own."""
CLOUDFLARE = Provider(
    "cloudflare",
    (r"^api\.cloudflare\.com", r"^gateway\.ai\.cloudflare\.com"),
    routes=tuple(
        (f"/v1/[^/]+/[^/]+/{name}/", provider) for name, provider in _CLOUDFLARE_SERVICES.items()
    ),
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
    XAI,
    Provider("zai", (r"^api\.z\.ai",)),
    # Gateways: pricing goes by the vendor in the model's name.
    CLOUDFLARE,
    Provider("github.models", (r"^models\.github\.ai", r"^models\.inference\.ai\.azure\.com")),
    Provider("helicone", (r"^ai-gateway\.helicone\.ai",)),
    Provider("portkey", (r"^api\.portkey\.ai",)),
    Provider("vercel.ai_gateway", (r"^(?:(?:eu|us)\.)?ai-gateway\.vercel\.sh",)),
    # Claude Platform on AWS: Anthropic's own, billed by AWS at Anthropic's list.
    Provider("aws.anthropic", (r"^aws-external-anthropic\.[a-z0-9-]+\.api\.aws",), "anthropic"),
    # The rest are sellers with models and prices of their own. Their hosts: the base addresses in
    # litellm 1.110.2 (constants.py, llms/), the api_pattern of genai-prices, or their documents.
    Provider("ai21", (r"^api\.ai21\.com",)),
    Provider("aihubmix", (r"^aihubmix\.com",)),
    Provider("aiml", (r"^api\.aimlapi\.com",)),
    Provider("aleph_alpha", (r"^api\.aleph-alpha\.com",)),
    Provider("arcee", (r"^api\.arcee\.ai",)),
    Provider("avian", (r"^api\.avian\.io",)),
    Provider("baseten", (r"^inference\.baseten\.co",)),
    Provider("chutes", (r"^llm\.chutes\.ai",)),
    Provider("cognition", (r"^api\.cognition\.ai",)),
    Provider("cortecs", (r"^api\.cortecs\.ai",)),
    Provider("dashscope", (r"(?:^|\.)dashscope(?:-[a-z]+)*\.aliyuncs\.com",)),
    Provider(
        "databricks",
        (
            r"\.(?:gcp|cloud)\.databricks\.com",
            r"\.azuredatabricks\.net",
            r"\.databricks\.azure\.(?:us|cn)",
        ),
    ),
    Provider("deepinfra", (r"^api\.deepinfra\.com",)),
    Provider("doubleword", (r"^api\.doubleword\.ai",)),
    Provider("empiriolabs", (r"^api\.empiriolabs\.ai",)),
    Provider("featherless_ai", (r"^api\.featherless\.ai",)),
    Provider("friendliai", (r"^api\.friendli\.ai",)),
    Provider("gigachat", (r"^gigachat\.devices\.sberbank\.ru",)),
    Provider("gmi", (r"^api\.gmi-serving\.com",)),
    Provider("gradient_ai", (r"^inference\.do-ai\.run",)),
    Provider("hyperbolic", (r"^api\.hyperbolic\.xyz",)),
    # The model gateway, which speaks OpenAI's format; watsonx's own is not read.
    Provider("ibm.watsonx.ai", (r"\.ml\.cloud\.ibm\.com",)),
    Provider("inception", (r"^api\.inceptionlabs\.ai",)),
    Provider("jina_ai", (r"^api\.jina\.ai",)),
    Provider("kyma", (r"^kymaapi\.com",)),
    Provider("lambda_ai", (r"^api\.lambda(?:labs\.com|\.ai)",)),
    Provider("meta", (r"^api\.meta\.ai",)),
    Provider("meta_llama", (r"^api\.llama\.com",)),
    Provider("minimax", (r"^api\.(?:minimax\.(?:io|chat)|minimaxi\.(?:com|chat))",)),
    Provider("modelscope", (r"^api-inference\.modelscope\.cn",)),
    Provider("morph", (r"^api\.morphllm\.com",)),
    Provider("nano-gpt", (r"^nano-gpt\.com",)),
    Provider("nebius", (r"^api\.(?:studio|tokenfactory)(?:\.[a-z0-9-]+)?\.nebius\.(?:ai|com)",)),
    Provider("novita", (r"^api\.novita\.ai",)),
    Provider("nscale", (r"^inference\.api\.nscale\.com",)),
    Provider("nvidia_nim", (r"^integrate\.api\.nvidia\.com",)),
    # The unified endpoint is `oai`; each model has a host of its own beside it.
    Provider("ovhcloud", (r"^[a-z0-9-]+\.endpoints\.kepler\.ai\.cloud\.ovh\.net",)),
    Provider("parasail", (r"^api\.parasail\.io",)),
    Provider("poe", (r"^api\.poe\.com",)),
    Provider("publicai", (r"^api\.publicai\.co",)),
    Provider("reka", (r"^api\.reka\.ai",)),
    Provider("sambanova", (r"^api\.sambanova\.ai",)),
    Provider("sarvam", (r"^api\.sarvam\.ai",)),
    Provider("scaleway", (r"^api\.scaleway\.ai",)),
    Provider("siliconflow", (r"^api\.siliconflow\.(?:cn|com)",)),
    Provider("streamlake", (r"^vanchin\.streamlake\.ai",)),
    Provider("synthetic", (r"^api\.synthetic\.new",)),
    Provider("typesafe", (r"^api\.typesafe\.ai",)),
    Provider("v0", (r"^api\.v0\.dev",)),
    Provider("veniceai", (r"^api\.venice\.ai",)),
    Provider("volcengine", (r"^ark\.[a-z0-9-]+\.(?:volces|bytepluses)\.com",)),
    Provider("wandb", (r"^api\.inference\.wandb\.ai",)),
    Provider("xiaomi_mimo", (r"^api\.xiaomimimo\.com",)),
    Provider("zhipuai", (r"^open\.bigmodel\.cn",)),
)
