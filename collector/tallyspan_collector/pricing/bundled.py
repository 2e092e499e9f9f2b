"""The prices that come with the genai-prices package, chosen by the call's own time and tier."""

from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version

from genai_prices import Usage as PricedUsage
from genai_prices import calc_price

from tallyspan.usage import Usage

SOURCE = f"genai-prices {version('genai-prices')}"

PROVIDER_IDS = {
    "openai": "openai",
    "azure.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "anthropic": "anthropic",
    "aws.bedrock": "aws",
    "gcp.gemini": "google",
    "gcp.vertex_ai": "google",
    "mistral_ai": "mistral",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "x_ai": "x-ai",
    "groq": "groq",
    "openrouter": "openrouter",
    "together_ai": "together",
    "fireworks": "fireworks",
    "perplexity": "perplexity",
    "cerebras": "cerebras",
    "moonshot_ai": "moonshotai",
    "voyageai": "voyageai",
    "zai": "zai",
}
"""OpenTelemetry's provider names -> the package's ids."""

PRICED_FIELDS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "cache_read_audio_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "input_image_tokens",
    "output_image_tokens",
)
_THEIR_NAMES = {"cache_read_audio_tokens": "cache_audio_read_tokens"}
_STANDARD_TIERS = {"", "default", "standard", "auto", "on_demand"}


def context(provider_id: str, tier: str) -> dict[str, str] | None:
    """Return the price context of a served tier: standard prices need none."""
    if tier in _STANDARD_TIERS:
        return None
    if provider_id == "anthropic":
        return {"speed": "fast"} if tier == "fast" else {"processing": tier}
    return {"service_tier": tier}


def price(
    provider: str, model: str, at_ns: int, usage: Usage, tier: str
) -> tuple[Decimal, Decimal, Decimal, str] | None:
    """Return total, input and output in USD and the price's id; None: no price is known.

    Raises `ValueError` if the counts contradict each other (more cache than input).
    """
    provider_id = PROVIDER_IDS.get(provider)
    if provider_id is None or not is_known(provider_id, model):
        return None
    counts = {_THEIR_NAMES.get(field, field): getattr(usage, field) for field in PRICED_FIELDS}
    found = calc_price(
        PricedUsage(**{field: value for field, value in counts.items() if value is not None}),
        model_ref=model,
        provider_id=provider_id,
        genai_request_timestamp=datetime.fromtimestamp(at_ns / 1e9, UTC),
        price_context=context(provider_id, tier),
    )
    return (
        found.total_price,
        found.input_price,
        found.output_price,
        f"{found.provider.id}/{found.model.id}",
    )


@lru_cache(maxsize=10_000)
def is_known(provider_id: str, model: str) -> bool:
    """Whether the package has the model; remembered, for it searches long for what it lacks."""
    try:
        calc_price(PricedUsage(input_tokens=0), model_ref=model, provider_id=provider_id)
    except LookupError:
        return False
    return True
