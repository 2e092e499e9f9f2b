"""A cost as a sum of terms, amount times price, so that people can check it."""

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from tallyspan.usage import Usage
from tallyspan_collector.pricing.cost import Unpriced
from tallyspan_collector.pricing.price import PICO, Price, rounded
from tallyspan_collector.pricing.timeline import Compiled
from tallyspan_collector.pricing.unit import REQUESTS, TOKEN_VARIABLES


class Term(NamedTuple):
    """`amount` of the class `name` (`input`, `cache_read`, `web_search`) at `usd` for one of it."""

    name: str
    amount: Fraction
    usd: Fraction


def terms(price: Compiled, usage: Usage, units: Mapping[str, float]) -> list[Term]:
    """Return the terms whose sum is the cost; none where a cost is no such sum.

    Two prices are no such sum: one that depends on the position of a token in the context, and one
    with a minimum or maximum of what is billed. Each token is in one term: that of the narrowest
    class with a price.
    """
    if not isinstance(price, Price):
        return []
    cost = price.cost(usage, units)
    if isinstance(cost, Unpriced):
        return []
    counts = {name: Fraction(getattr(usage, name) or 0) for name in TOKEN_VARIABLES}
    counts |= {name: Fraction(repr(units[name])) for name in units if name in price.units}
    counts[REQUESTS] = Fraction(1)
    band = price.band(counts["input_tokens"])
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
    unit = TOKEN_VARIABLES.get(name)
    return (
        []
        if unit is None
        else [other for other, wide in TOKEN_VARIABLES.items() if unit.is_part_of(wide)]
    )


def _usd(name: str, factors: Mapping[str, int], scale: int) -> Fraction:
    """Return the price of one; a factor is how much more a class costs than the wider ones."""
    whole = sum(factors.get(each, 0) for each in (name, *_wider(name)))
    return Fraction(whole, scale * PICO)


def _named(name: str) -> str:
    return TOKEN_VARIABLES[name].name if name in TOKEN_VARIABLES else name
