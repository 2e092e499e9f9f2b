"""Every recorded call of the whole corpus, where it is at hand, costs what the oracle says."""

import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from genai_prices import Usage as PricedUsage
from genai_prices import calc_price

from recorded_corpus import CORPUS, needs_corpus
from tallyspan.usage import Usage
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.bundled import PROVIDER_IDS, context
from tallyspan_collector.pricing.cost import Priced, Unpriced, UnpricedReason
from tallyspan_collector.pricing.rates import PriceFile

pytestmark = needs_corpus
AT = datetime(2026, 11, 24, tzinfo=UTC)
FIELDS = {
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
    "cache_write_1h": "cache_write_1h_tokens",
    "input_image": "input_image_tokens",
    "output_image": "output_image_tokens",
    "output_audio": "output_audio_tokens",
}


def by_oracle(said: dict[str, Any], counts: dict[str, int]) -> int | None:
    provider = PROVIDER_IDS.get(said["provider"], said["provider"])
    try:
        found = calc_price(
            PricedUsage(**counts),
            model_ref=said.get("model") or said["request_model"],
            provider_id=provider,
            genai_request_timestamp=AT,
            price_context=context(provider, str(said.get("service_tier") or "")),
        )
    except (LookupError, ValueError):
        return None
    return int((found.total_price * 10**12).to_integral_value())


def test_every_call_of_the_corpus_costs_what_calc_price_says() -> None:
    book = PriceBook(own=lambda _: PriceFile())
    wrong: list[object] = []
    priced = 0
    with gzip.open(CORPUS, "rt") as lines:
        for line in lines:
            said = json.loads(line)["expected"]
            if not said.get("call") or "input_tokens" not in said:
                continue
            counts = {ours: said[key] for key, ours in FIELDS.items() if key in said}
            counts["input_tokens"] = said["input_tokens"]
            if said["provider"] == "cohere":  # its cached tokens are no part of what it bills
                counts.pop("cache_read_tokens", None)
            if "output_tokens" in said:
                counts["output_tokens"] = said["output_tokens"]
            found = book.price(
                provider=said["provider"],
                endpoint_id="",
                model=said.get("model") or said["request_model"],
                at_ns=int(AT.timestamp()) * 10**9,
                usage=Usage(**counts),
                service_tier=str(said.get("service_tier") or ""),
            )
            expected = by_oracle(said, counts)
            match found:
                case Priced() if expected is None:  # the package does not take off the path
                    assert said["model"].startswith("models/")
                case Priced():
                    priced += 1
                    if found.cost_picousd != expected:
                        wrong.append((said["model"], counts, found, Decimal(expected or 0)))
                case Unpriced(UnpricedReason.UNKNOWN_TIER):
                    assert said["service_tier"].lower() in {"flex", "on_demand_flex", "provisioned"}
                case Unpriced(UnpricedReason.FREE_TIER_PRICE):
                    assert expected == 0  # the model is gone, and so is its price
                case Unpriced():
                    if expected is not None:
                        wrong.append((said.get("model"), counts, found, expected))

    assert not wrong
    assert priced > 1500
