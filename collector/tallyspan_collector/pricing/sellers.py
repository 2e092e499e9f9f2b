"""Whose price a call has: sellers that sell at another's list price, gateways, what is free.

Nothing here has prices. What does not stand here is not priced by another seller's list.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from types import MappingProxyType

from tallyspan.formats import PROVIDERS
from tallyspan.providers import AWS_BEDROCK
from tallyspan_collector.pricing.match import Kind


@dataclass(frozen=True, slots=True)
class AtListPrice:
    """A seller that charges what the maker charges, and where that is documented.

    `seller`, `maker`: ids in the price data. `but_not`: models of the maker's list that it has
    not from its maker, or at a price of its own.
    """

    seller: str
    maker: str
    source: str
    but_not: re.Pattern[str] = re.compile(r"(?!)")


_OPEN_WEIGHTS = re.compile(r"(?:.*/)?(?:gpt-oss|gemma|open-|mixtral|devstral-small|mistral-nemo).*")
"""Models that anybody may serve, so that each seller has a price of its own."""

AT_LIST_PRICE = (
    AtListPrice(
        "azure",
        "openai",
        "https://azure.microsoft.com/pricing/details/cognitive-services/openai-service/ (Global)",
        _OPEN_WEIGHTS,
    ),
    AtListPrice(
        "azure",
        "anthropic",
        "https://platform.claude.com/docs/en/about-claude/pricing (Claude in Microsoft Foundry)",
    ),
    AtListPrice(
        "google",
        "anthropic",
        "https://cloud.google.com/vertex-ai/generative-ai/pricing (Claude, global endpoint)",
    ),
)
"""Of the sellers whose prices the package looks up at another, those that may be. DeepSeek's, xAI's
and Moonshot's models have prices of Azure's own: their makers' list is not Azure's."""

SAME_LIST: Mapping[str, str] = MappingProxyType({"aws.anthropic": "anthropic"})
"""A platform -> the provider whose list it has. Claude Platform on AWS is Anthropic's own, rated at
its standard prices (https://docs.aws.amazon.com/claude-platform/latest/userguide/billing.html)."""

ROUTES: Mapping[str, str] = MappingProxyType(
    {
        "azure": "azure.ai.openai",
        "azure-openai": "azure.ai.openai",
        "azure_ai": "azure.ai.openai",
        "aws-bedrock": "aws.bedrock",
        "bedrock": "aws.bedrock",
        "fireworks_ai": "fireworks",
        "gemini": "gcp.gemini",
        "google": "gcp.gemini",
        "google-ai-studio": "gcp.gemini",
        "google-vertex-ai": "gcp.vertex_ai",
        "vertex_ai": "gcp.vertex_ai",
        "grok": "x_ai",
        "xai": "x_ai",
        "x-ai": "x_ai",
        "mistral": "mistral_ai",
        "moonshot": "moonshot_ai",
        "perplexity-ai": "perplexity",
        "voyage": "voyageai",
        "workers-ai": "cloudflare",
    }
)
"""What stands before a model's name at a gateway -> whose service it is; the rest go by their own
name. From the documentation of LiteLLM, Cloudflare AI Gateway, Vercel AI Gateway and Portkey."""

MAKERS = frozenset({"openai", "anthropic", "gcp.gemini", "x_ai", "cohere", "mistral_ai"})
"""Makers whose own models cost the same at the gateways that name makers: Vercel adds nothing
(https://vercel.com/docs/ai-gateway/pricing), and LiteLLM's map agrees in all 53 that the price data
has too. DeepSeek's, Moonshot's and Z.ai's do not, for others serve them at prices of their own;
Perplexity's have a fee for each request beside."""

NAMING_SERVICES = frozenset({"openai", "anthropic", "cloudflare", "portkey", "helicone"})
"""Where `vendor/model` names the service that is called. `openai` and `anthropic` are whom a proxy
at a host of its own is taken for; neither sells a model with such a name itself."""
NAMING_MAKERS = frozenset({"gateway", "vercel.ai_gateway", "github.models"})
"""Where `vendor/model` names who made it. `gateway`: Vercel's, as its AI SDK calls it."""

_FIRST_HAND: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?:gpt-|chatgpt-|o[134](?:$|-)|text-embedding-(?:3|ada)-)"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"gemini-"), "gcp.gemini"),
    (re.compile(r"grok-"), "x_ai"),
)
"""How the names of models begin that a gateway has without their vendor -> who made them."""

FREE: tuple[tuple[str, str, str], ...] = (
    ("gcp.gemini", "gemma-*", "free of charge: https://ai.google.dev/gemini-api/docs/pricing"),
    ("openai", "*moderation*", "free of charge: https://developers.openai.com/api/docs/pricing"),
    ("openrouter", "*", "its own list has models at 0: https://openrouter.ai/models"),
)
"""Provider, model and where it says so: a price of 0 is one. Anywhere else a 0 is a free tier, or
a gap, of the data."""

_BORROWED = re.compile(r"(?:Imported from|Seen on) OpenRouter(?!.*\bVerified against\b)", re.DOTALL)
"""How the package marks prices that are OpenRouter's, until somebody finds the seller's own."""
_ARN = re.compile(
    r"arn:aws[\w-]*:bedrock:[\w-]*:\d*:(?:foundation-model|inference-profile)/(?P<model>.+)$"
)
_DOT = re.compile(r"(?<=\d)\.(?=\d)")
_GOOGLE = frozenset({"gcp.gemini", "gcp.vertex_ai"})
_GOOGLE_PATH = re.compile(r"(?:projects/.+/)?(?:publishers/[\w-]+/models/|models/|google/)")
"""`google/` stands before Gemini's names at Vertex's OpenAI-compatible endpoint."""
_CLAUDE = re.compile(r"claude-(?P<version>[4-9](?:-\d)?)-(?P<family>[a-z]+)(?=$|[-@:])")


def priced_as(kind: Kind) -> Kind:
    """Return the call as the one who sells the model would name it; itself if nobody else does."""
    if kind.provider == AWS_BEDROCK.name:
        return replace(kind, model=_at_bedrock(kind.model))
    if kind.provider in SAME_LIST:
        return replace(kind, provider=SAME_LIST[kind.provider])
    vendor, slash, model = kind.model.removeprefix("@").partition("/")
    service = service_of(vendor) if slash else ""
    if kind.provider in _GOOGLE and (own := _GOOGLE_PATH.match(kind.model)) is not None:
        return replace(kind, model=kind.model[own.end() :])
    if service == kind.provider and service in MAKERS:
        return replace(kind, model=_spelling(model))
    if kind.provider not in NAMING_SERVICES | NAMING_MAKERS:
        return kind
    if not slash:
        return _unprefixed(kind)
    if kind.model.startswith("@") and not service:  # Portkey: the name of a key, any text
        return kind if "/" in model else _unprefixed(replace(kind, model=model))
    if service in MAKERS and _OPEN_WEIGHTS.fullmatch(model.lower()) is None:
        return replace(kind, provider=service, model=_spelling(model))
    if service and service not in MAKERS and kind.provider in NAMING_SERVICES:
        return priced_as(replace(kind, provider=service, model=model))
    return kind


def is_at_list_price(seller: str, maker: str, model: str) -> bool:
    """Whether the seller (ids in the price data) charges the maker's list price for its model."""
    return any(
        each.seller == seller and each.maker == maker and not each.but_not.fullmatch(model.lower())
        for each in AT_LIST_PRICE
    )


def is_borrowed(seller: str, comments: str | None) -> bool:
    """Whether the package's comments say that it took a seller's price from OpenRouter's list."""
    return seller != "openrouter" and _BORROWED.match(comments or "") is not None


def is_free(provider: str, model: str) -> bool:
    """Whether a price of 0 is what the provider charges for the model."""
    name = model.lower().rpartition("models/")[2]
    return any(provider == who and fnmatchcase(name, glob) for who, glob, _ in FREE)


def maker_of(model: str) -> str:
    """Return who made a model, by how its name begins; empty if that does not say it."""
    return next((who for start, who in _FIRST_HAND if start.match(model.lower())), "")


def service_of(vendor: str) -> str:
    """Return whose service a gateway's `vendor/` names; empty if it is none that we know."""
    low = vendor.lower()
    name = ROUTES.get(low, low)
    return name if name in PROVIDERS else ""


def _at_bedrock(model: str) -> str:
    """Return the model that an ARN, or LiteLLM's path (`converse/`, a region), ends with."""
    arn = _ARN.search(model)
    if arn is not None:
        return arn["model"]
    return model if "arn:" in model else model.rpartition("/")[2]


def _unprefixed(kind: Kind) -> Kind:
    """Return a gateway's model without a vendor as its maker's; `openai` may well be OpenAI."""
    if kind.provider in {"openai", "anthropic"} or _OPEN_WEIGHTS.fullmatch(kind.model.lower()):
        return kind
    maker = maker_of(kind.model)
    return replace(kind, provider=maker, model=_spelling(kind.model)) if maker else kind


def _spelling(model: str) -> str:
    """Return the name as its maker spells it: `claude-4.6-opus` is `claude-opus-4-6` there."""
    if not model.lower().startswith("claude-"):
        return model
    dashed = _DOT.sub("-", model.lower())
    match = _CLAUDE.match(dashed)
    if match is None:
        return dashed
    return f"claude-{match['family']}-{match['version']}{dashed[match.end() :]}"
