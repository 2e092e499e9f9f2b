"""The price book: entries of `models_pricing.yaml` first, the bundled data behind them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Self

from tallyspan.usage import Usage
from tallyspan_collector.pricing import bundled, rates
from tallyspan_collector.pricing.cost import Priced, Unpriced, UnpricedReason
from tallyspan_collector.pricing.rates import Rate


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Answers what a call costs; `own` are the administrator's entries, most specific first."""

    own: Sequence[Rate] = field(default_factory=tuple)

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Return the book with the file's entries over the bundled data. Raises `ConfigError`."""
        return cls(rates.load(path) if path else ())

    def price(
        self,
        *,
        provider: str,
        endpoint_id: str,
        model: str,
        at_ns: int,
        usage: Usage,
        service_tier: str = "",
    ) -> Priced | Unpriced:
        """Return the cost at the call's own time, or why there is none; never a default rate."""
        if usage.input_tokens is None:  # without output: embeddings, or an answer that was blocked
            return Unpriced(UnpricedReason.UNKNOWN_USAGE)
        if _is_contradictory(usage):
            return Unpriced(UnpricedReason.INCONSISTENT_USAGE)
        for rate in self.own:
            if rate.applies(provider, endpoint_id, model, at_ns):
                given, made = rate.cost(usage)
                return Priced(given + made, given, made, rate.price_id, "models_pricing.yaml")
        try:
            found = bundled.price(provider, model, at_ns, usage, service_tier)
        except ValueError:
            return Unpriced(UnpricedReason.INCONSISTENT_USAGE)
        if found is None:
            return Unpriced(UnpricedReason.UNKNOWN_MODEL)
        total, given_usd, made_usd, price_id = found
        return Priced(_pico(total), _pico(given_usd), _pico(made_usd), price_id, bundled.SOURCE)


def _pico(usd: Decimal) -> int:
    return int((usd * 10**12).to_integral_value(ROUND_HALF_EVEN))


def _is_contradictory(usage: Usage) -> bool:
    cache = (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
    given = max(cache, usage.input_audio_tokens or 0, usage.input_image_tokens or 0)
    made = max(usage.output_audio_tokens or 0, usage.output_image_tokens or 0)
    return given > (usage.input_tokens or 0) or made > (usage.output_tokens or 0)
