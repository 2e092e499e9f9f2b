"""Prices by the position of a token in the context, as an income tax has brackets."""

from dataclasses import dataclass
from fractions import Fraction

from tallyspan.usage import Usage
from tallyspan_collector.pricing.cost import Priced, Unpriced
from tallyspan_collector.pricing.price import (
    PICO,
    AnyPrice,
    Meters,
    Price,
    PriceParts,
    compile_price,
    rounded,
    with_cache_saved,
)

_ORDER = ("cache_read_tokens", "cache_write_tokens", "input_tokens", "output_tokens")


@dataclass(frozen=True, slots=True)
class MarginalPrice:
    """A token costs the price of the band of the context it stands in.

    The context is: what was read from the cache, what was written to it, the rest of the prompt,
    the answer. `steps` are (above how many tokens of context, USD of each of the four). `beside`
    prices what is not counted in tokens, and refuses counts that contradict each other.
    """

    price_id: str
    source: str
    steps: tuple[tuple[int, tuple[Fraction, ...]], ...]
    beside: Price
    flags: tuple[str, ...] = ()
    other: AnyPrice | None = None

    @classmethod
    def of(cls, price: PriceParts) -> "MarginalPrice":
        """Return the parts as one price; a cache without a price costs what input costs."""
        named = {part.meter.name: part for part in price.parts}
        chosen = [named.get(name) or named["input_tokens"] for name in _ORDER]
        starts = sorted({max(above, 0) for part in chosen for above, _ in part.bands})
        steps = tuple((start, tuple(part.at(start) for part in chosen)) for start in starts)
        free = Fraction(0)
        beside = [part.scaled(free) if part.meter.name in _ORDER else part for part in price.parts]
        return cls(price.price_id, price.source, steps, compile_price(price._replace(parts=beside)))

    @property
    def priced_meters(self) -> frozenset[str]:
        """Return all meters that it has a price for."""
        return self.beside.priced_meters

    def cost(self, usage: Usage, meters: Meters | None = None) -> Priced | Unpriced:
        """Return the cost of the call, or why it has none with this price."""
        beside = self.beside.cost(usage, meters)
        if isinstance(beside, Unpriced):
            return beside
        counts = _counts(usage)
        sums = [Fraction(0)] * len(_ORDER)
        place = 0
        for which, count in enumerate(counts):
            for number, (start, usd) in enumerate(self.steps):
                end = self.steps[number + 1][0] if number + 1 < len(self.steps) else None
                upper = place + count if end is None else min(place + count, end)
                sums[which] += max(upper - max(place, start), 0) * usd[which]
            place += count
        prompt = rounded(sum(sums[:3], Fraction(0)) * PICO, 1)
        answer = rounded(sums[3] * PICO, 1)
        cost = Priced(
            rounded(sum(sums, Fraction(0)) * PICO, 1) + beside.cost_picousd,
            prompt + beside.input_cost_picousd,
            answer + beside.output_cost_picousd,
            self.price_id,
            self.source,
            beside.flags,
        )
        if usage.cache_read_tokens or usage.cache_write_tokens:
            return with_cache_saved(self, cost, usage, meters)
        return cost


def _counts(usage: Usage) -> tuple[int, ...]:
    read, write = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0
    return read, write, (usage.input_tokens or 0) - read - write, usage.output_tokens or 0
