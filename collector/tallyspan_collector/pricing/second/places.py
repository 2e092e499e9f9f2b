"""Whose service a model of LiteLLM's map is, and what its prices depend on."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from tallyspan_collector.pricing.match import Conditions
from tallyspan_collector.pricing.second.source import Place

PROVIDERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "openai": ("openai", "openai/"),
        "text-completion-openai": ("openai", "openai/"),
        "azure": ("azure.ai.openai", "azure/"),
        "azure_text": ("azure.ai.openai", "azure/"),
        "azure_ai": ("azure.ai.openai", "azure_ai/"),
        "anthropic": ("anthropic", "anthropic/"),
        "bedrock": ("aws.bedrock", "bedrock/"),
        "bedrock_converse": ("aws.bedrock", "bedrock/"),
        "bedrock_mantle": ("aws.bedrock", "bedrock_mantle/"),
        "gemini": ("gcp.gemini", "gemini/"),
        "mistral": ("mistral_ai", "mistral/"),
        "codestral": ("mistral_ai", "codestral/"),
        "deepseek": ("deepseek", "deepseek/"),
        "xai": ("x_ai", "xai/"),
        "cohere": ("cohere", "cohere/"),
        "cohere_chat": ("cohere", "cohere_chat/"),
        "fireworks_ai": ("fireworks", "fireworks_ai/"),
        "fireworks_ai-embedding-models": ("fireworks", "fireworks_ai/"),
        "moonshot": ("moonshot_ai", "moonshot/"),
        "voyage": ("voyageai", "voyage/"),
        "vercel_ai_gateway": ("vercel.ai_gateway", "vercel_ai_gateway/"),
        "watsonx": ("ibm.watsonx.ai", "watsonx/"),
    }
    | {
        name: (name, f"{name}/")
        for name in (
            "ai21", "baseten", "cerebras", "cloudflare", "crusoe", "dashscope", "databricks",
            "deepinfra", "friendliai", "groq", "hyperbolic", "inception", "lambda_ai", "meta",
            "minimax", "morph", "nebius", "novita", "nscale", "oci", "ovhcloud", "perplexity",
            "sambanova", "scaleway", "snowflake", "together_ai", "wandb", "zai",
        )
    }
)  # fmt: skip
"""Their provider -> ours, and what stands before the names of its models."""
_VERTEX = "vertex_ai"

_BEDROCK_REGION = re.compile(r"(?P<region>(?:us-gov|[a-z]{2})-[a-z]+-\d)/(?P<model>.+)")
_AZURE_ZONE = re.compile(r"(?P<zone>us|eu|apac|us-gov|global-standard|global)/(?P<model>.+)")
_NOT_A_MODEL = re.compile(
    r"commitment"  # Bedrock's reserved units, by the hour
    r"|\d+-x-|max-x-max|/50-steps|^(?:hd|standard|low|medium|high)/"  # sizes of pictures
    r"|^speech/|^doc-intelligence|^search(?:_api)?$"  # services that are no models
    r"|^model[_-]router$"  # a fee beside the model's price
    r"|^claude_platform/"  # Anthropic's own list, by another name
)


def place(their_provider: str, key: str) -> Place | None:
    """Return where the prices of an entry hold; None: it is none of a provider that we compare."""
    whose = (
        ("gcp.vertex_ai", "vertex_ai/")
        if their_provider.startswith(_VERTEX)
        else PROVIDERS.get(their_provider)
    )
    if whose is None:
        return None
    provider, prefix = whose
    model, conditions = _located(provider, key.removeprefix(prefix))
    if not model or _NOT_A_MODEL.search(model):
        return None
    return Place(provider, model, conditions=conditions)


def is_compared(their_provider: str) -> bool:
    """Whether the models of a provider are compared at all."""
    return their_provider in PROVIDERS or their_provider.startswith(_VERTEX)


def _located(provider: str, model: str) -> tuple[str, Conditions]:
    """Return the model without what its name says of its region or deployment, and that."""
    if provider == "aws.bedrock":
        match = _BEDROCK_REGION.fullmatch(model)
        if match is not None:
            return match["model"], (("region", match["region"]),)
        # without a vendor it is a size or a kind of a provisioned unit
        return (model if "." in model else ""), ()
    if provider == "azure.ai.openai":
        match = _AZURE_ZONE.fullmatch(model)
        if match is None:
            return model, ()
        if match["zone"].startswith("global"):
            return match["model"], (("deployment", "global"),)
        if match["zone"] == "us-gov":
            return match["model"], (("region", "us-gov"),)
        return match["model"], (("deployment", "data-zone"), ("region", match["zone"]))
    return model, ()
