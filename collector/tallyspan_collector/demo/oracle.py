"""The expected cost of a recording, computed without our readers, spans, collector or store."""

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal

from genai_prices import Usage, calc_price

from tallyspan_collector.demo.recordings import Recording
from tallyspan_collector.pricing.bundled import PROVIDER_IDS, context

_FIELDS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
    "cache_write_1h": "cache_write_1h_tokens",
    "input_audio": "input_audio_tokens",
    "output_audio": "output_audio_tokens",
    "input_image": "input_image_tokens",
    "output_image": "output_image_tokens",
    "reasoning": "output_reasoning_tokens",
    "search_units": "rerank_searches",
}
_SEARCHES = ("web_search", "google_search_queries")
_PICO = Decimal(1).scaleb(-12)


def cost(recording: Recording, at: datetime | None = None) -> Decimal:
    """Return USD: the provider's own figure, else genai-prices for the recorded counts, else 0."""
    expected = recording.expected
    if "provider_cost_usd" in expected and not expected.get("byok"):
        return Decimal(str(expected["provider_cost_usd"])).quantize(_PICO)
    counts = {name: expected[key] for key, name in _FIELDS.items() if key in expected}
    if counts.get("cache_read_tokens") and counts.get("input_audio_tokens"):
        counts["cache_audio_read_tokens"] = _cached_audio(recording)
    provider_id = PROVIDER_IDS[expected["provider"]]
    searches = sum(expected.get("server_tools", {}).get(name, 0) for name in _SEARCHES)
    if searches:
        is_per_prompt = str(expected.get("model")).startswith("gemini-2")
        counts["web_searches"] = 1 if is_per_prompt else searches
    if "input_tokens" not in expected and "output_tokens" not in expected:
        return Decimal(0)
    try:
        priced = calc_price(
            Usage(**counts),
            model_ref=expected.get("model") or expected["request_model"],
            provider_id=provider_id,
            genai_request_timestamp=at or datetime.now(UTC),
            price_context=context(provider_id, str(expected.get("service_tier", ""))),
        )
    except LookupError:
        return Decimal(0)
    return priced.total_price.quantize(_PICO, ROUND_HALF_EVEN)


def _cached_audio(recording: Recording) -> int:
    """Return Gemini's count of cached audio, which only the raw usage has."""
    details = recording.expected["raw"][-1]["usage"].get("cacheTokensDetails", [])
    return sum(part["tokenCount"] for part in details if part["modality"] == "AUDIO")
