"""A cost as a sum of terms, amount times price, so that people can check it."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import NamedTuple, TypeVar

from tallyspan.meters import BY_NAME
from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.pricing.cost import Unpriced
from tallyspan_collector.pricing.price import PICO, REQUESTS, Band, Price, requests_of, rounded
from tallyspan_collector.pricing.timeline import Compiled

Amount = TypeVar("Amount", Fraction, Decimal)


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
    left = leaves({name: counts.get(name, Fraction(0)) for name in factors_of(band)})
    result = [
        Term(_named(name), amount, usd_of(name, band, price.scale))
        for name, amount in left.items()
        if amount
    ]
    total = sum((each.amount * each.usd for each in result), Fraction(0))
    return result if rounded(total * PICO, 1) == cost.cost_picousd else []


def factors_of(band: Band) -> dict[str, int | Fraction]:
    """Return meter -> how much more one of it costs than wider ones, in pico-dollars x scale."""
    return dict((*band.input_factors, *band.output_factors, *band.other_factors))


def leaves(counts: Mapping[str, Amount]) -> dict[str, Amount]:
    """Return for each class the amount that no narrower class counts, in the order of `counts`."""
    left = dict(counts)
    for name in sorted(counts, key=lambda name: -len(_wider(name))):
        for wider in _wider(name):
            if wider in left:
                left[wider] -= left[name]
    return left


@cache
def _wider(name: str) -> tuple[str, ...]:
    meter = BY_NAME[name]
    return tuple(other.name for other in BY_NAME.values() if meter.is_part_of(other))


def usd_of(name: str, band: Band, scale: int) -> Fraction:
    """Return the price of one of a class, which may have no price of its own."""
    factors = factors_of(band)
    whole = sum(factors.get(each, 0) for each in (name, *_wider(name)))
    return Fraction(whole) / (scale * PICO)


def _named(name: str) -> str:
    meter = BY_NAME[name]
    return meter.price_key if meter.is_tokens else name
