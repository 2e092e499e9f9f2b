"""Names of providers: every spelling an emitter has, a host, or a model, -> today's one name."""

from functools import lru_cache
from re import compile as pattern

from tallyspan.formats import PROVIDERS
from tallyspan.recognise import provider_at

_SPELLINGS = {
    "openai": "openai.chat openai.responses openai.completion openai.embedding open_ai openai-chat",
    "azure.ai.openai": "azure azure_openai azureopenai azure-openai az.ai.openai "
    "azure.chat azure.responses azure-openai.chat azure-openai.responses azure.openai "
    "azure_open_ai",
    "azure.ai.inference": "az.ai.inference azure_ai azure-ai",
    "anthropic": "anthropic.messages claude",
    "aws.bedrock": "aws bedrock amazon-bedrock amazon bedrock_converse bedrock.converse "
    "aws_bedrock awsbedrock amazon_bedrock",
    "gcp.gemini": "gemini google google_genai google-genai google.generative-ai gcp.gen_ai "
    "google_generative_ai google-gla googleai google.generativeai google_ai_gemini",
    "gcp.vertex_ai": "vertexai vertex_ai vertex google.vertex google-vertex google.vertex.chat "
    "google_vertexai vertex_ai_beta gcp.vertex.agent vertex.anthropic.messages "
    "googlevertex.anthropic.messages google.vertex.anthropic.messages google_vertex_ai_gemini",
    "mistral_ai": "mistral mistralai mistral.chat",
    "cohere": "cohere.chat cohere.textembedding",
    "x_ai": "xai xai.chat xai.responses grok",
    "groq": "groq.chat",
    "deepseek": "deepseek.chat deep_seek",
    "moonshot_ai": "moonshot moonshotai kimi",
    "perplexity": "perplexity_ai",
    "together_ai": "together togetherai together_ai.chat",
    "fireworks": "fireworks_ai fireworks.chat",
    "ibm.watsonx.ai": "watsonx watsonx.ai ibm",
    "hugging_face": "huggingface",
    "openrouter": "open_router openrouter.chat",
    "ollama": "ollama.chat",
    "github.models": "github_models",
}
_NAMES = {each: name for name, all_ in _SPELLINGS.items() for each in all_.split()}
_TODAY = PROVIDERS.keys() | _SPELLINGS.keys()

FRAMEWORKS = frozenset({
    "langchain", "langgraph", "crewai", "agno", "haystack", "spring_ai",
    "microsoft.agent_framework", "semantic_kernel", "llamaindex", "llama_index", "litellm",
    "vercel", "gateway", "genkit", "librechat", "dspy", "autogen", "openai_agents", "_other",
    "langchain_core", "langchain_openai", "langchain4j", "spring-ai", "other",
    "microsoft.agents", "strands-agents", "dify", "n8n",
})  # fmt: skip
"""What emitters put where the provider's name should be: not a provider."""

_MODELS = (
    ("claude", "anthropic"),
    ("gpt-", "openai"),
    ("chatgpt", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("text-embedding-3", "openai"),
    ("text-embedding-ada", "openai"),
    ("gemini", "gcp.gemini"),
    ("mistral", "mistral_ai"),
    ("codestral", "mistral_ai"),
    ("command-", "cohere"),
    ("deepseek", "deepseek"),
    ("grok-", "x_ai"),
    ("qwen", "dashscope"),
)
"""How a model's name starts -> who has it first hand."""
_BEDROCK = pattern(
    r"arn:aws[a-z-]*:bedrock:"
    r"|(?:(?:us|eu|apac|jp|au|ca|sa|us-gov|global)\.)?"
    r"(?:ai21|amazon|anthropic|cohere|deepseek|google|meta|minimax|mistral|moonshot|moonshotai|nvidia"
    r"|openai|qwen|stability|twelvelabs|writer|zai)\.\S"
)
"""How Bedrock names models: an ARN, or region group, vendor and model, joined by dots."""


def is_known(spelling: str) -> bool:
    """Return whether it is a provider's name, in any spelling that an emitter has."""
    return (name := spelling.lower()) in _TODAY or name in _NAMES


@lru_cache(maxsize=4096)
def provider(spelling: str, host: str, model: str) -> tuple[str, bool]:
    """Return the provider's name, and whether it was concluded from the model's name.

    A host that is one provider's own decides over `openai`, which compatible clients name for any.
    """
    name = spelling.lower()
    name = _NAMES.get(name, name)
    if name in FRAMEWORKS:
        name = ""
    if name in {"", "openai"} and host:
        of_host = provider_at(host)
        if of_host is not None:
            return of_host.name, False
    if name:
        return name, False
    if _BEDROCK.match(model.lower()):
        return "aws.bedrock", True
    prefix, slash, rest = model.lower().rpartition("/")
    if slash and (of_prefix := _NAMES.get(prefix, prefix)) in _TODAY:
        return of_prefix, True
    for start, of_model in _MODELS:
        if rest.startswith(start):
            return of_model, True
    return "", False
