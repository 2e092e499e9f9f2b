"""The expected cost of a recording, computed without our readers, spans, collector or store.

Counts are those of the recording's own simple reader; prices those of the price book, which the
tests of prices hold against the package and against the providers' pages.
"""

from datetime import UTC, datetime
from decimal import Decimal

from tallyspan.usage import Usage
from tallyspan_collector.demo.recordings import Recording
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import Priced

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
    "reasoning": "reasoning_tokens",
}
_SEARCHES = ("web_search", "google_search_queries")
_PICO = Decimal(1).scaleb(-12)
_BOOK = PriceBook()


def cost(recording: Recording, at: datetime | None = None) -> Decimal:
    """Return USD: the provider's own figure, else the price of the recorded counts, else 0."""
    expected = recording.expected
    if "provider_cost_usd" in expected and not expected.get("byok"):
        return Decimal(str(expected["provider_cost_usd"])).quantize(_PICO)
    if "input_tokens" not in expected and "output_tokens" not in expected:
        return Decimal(0)
    counts = {name: expected[key] for key, name in _FIELDS.items() if key in expected}
    if counts.get("cache_read_tokens") and counts.get("input_audio_tokens"):
        counts["cache_read_audio_tokens"] = _cached_audio(recording)
    meters = dict(expected.get("meters", {}))
    if searches := sum(expected.get("server_tools", {}).get(name, 0) for name in _SEARCHES):
        meters.setdefault("web_search", searches)
    if "search_units" in expected:
        meters["search_units"] = expected["search_units"]
    moment = at or datetime.now(UTC)
    priced = _BOOK.price(
        provider=expected["provider"],
        endpoint_id="",
        model=expected.get("model") or expected["request_model"],
        at_ns=int(moment.timestamp()) * 10**9,
        usage=Usage(**counts),
        service_tier=str(expected.get("service_tier", "")),
        conditions=expected.get("conditions"),
        meters=meters,
    )
    return Decimal(priced.cost_picousd) * _PICO if isinstance(priced, Priced) else Decimal(0)


def _cached_audio(recording: Recording) -> int:
    """Return Gemini's count of cached audio, which only the raw usage has."""
    details = recording.expected["raw"][-1]["usage"].get("cacheTokensDetails", [])
    return sum(part["tokenCount"] for part in details if part["modality"] == "AUDIO")
