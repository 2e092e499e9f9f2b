"""A cost as a sum of terms, amount times price, so that people can check it."""

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from tallyspan.meters import BY_NAME
from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.pricing.cost import Unpriced
from tallyspan_collector.pricing.price import PICO, REQUESTS, Price, requests_of, rounded
from tallyspan_collector.pricing.timeline import Compiled


class Term(NamedTuple):
    """`amount` of the class `name` (`input`, `cache_read`, `web_search`) at `usd` for one of it."""

    name: str
    amount: Fraction
    usd: Fraction


def terms(price: Compiled, usage: Usage, meters: Mapping[str, float]) -> list[Term]:
    """Return the terms whose sum is the cost; none where a cost is no such sum.

    Two prices are no such sum: one that depends on the position of a token in the context, and one
    with a minimum or maximum of what is billed. Each token is in one term: that of the narrowest
    class with a price.
    """
    if not isinstance(price, Price):
        return []
    cost = price.cost(usage, meters)
    if isinstance(cost, Unpriced):
        return []
    counts = {name: Fraction(getattr(usage, name) or 0) for name in TOKEN_FIELDS}
    counts |= {name: Fraction(repr(meters[name])) for name in meters if name in price.meters}
    counts[REQUESTS] = requests = requests_of(meters)
    band = price.band(counts["input_tokens"] / requests)
    factors = dict((*band.input_factors, *band.output_factors, *band.other_factors))
    left = _leaves({name: counts.get(name, Fraction(0)) for name in factors})
    result = [
        Term(_named(name), left[name], _usd(name, factors, price.scale))
        for name in factors
        if left[name]
    ]
    total = sum((each.amount * each.usd for each in result), Fraction(0))
    return result if rounded(total * PICO, 1) == cost.cost_picousd else []


def _leaves(counts: Mapping[str, Fraction]) -> dict[str, Fraction]:
    """Return for each class the amount that no narrower class counts."""
    left: dict[str, Fraction] = {}
    for name in sorted(counts, key=lambda name: -len(_wider(name))):
        narrower = sum((left[other] for other in left if name in _wider(other)), Fraction(0))
        left[name] = counts[name] - narrower
    return left


def _wider(name: str) -> list[str]:
    meter = BY_NAME[name]
    return [other.name for other in BY_NAME.values() if meter.is_part_of(other)]


def _usd(name: str, factors: Mapping[str, int | Fraction], scale: int) -> Fraction:
    """Return the price of one; a factor is how much more a class costs than the wider ones."""
    whole = sum(factors.get(each, 0) for each in (name, *_wider(name)))
    return Fraction(whole) / (scale * PICO)


def _named(name: str) -> str:
    meter = BY_NAME[name]
    return meter.price_key if meter.is_tokens else name
