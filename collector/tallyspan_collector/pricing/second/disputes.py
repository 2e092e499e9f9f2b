"""Prices in dispute: the text of `prices/upkeep/disputed.yaml`, which the comparison writes.

It is a price file of the second source's prices where a difference has no explanation. Prices that
hold in some hours only are left out: the comparison looks at one hour of them.
"""

import json
from datetime import date
from fractions import Fraction

from tallyspan.meters import BY_PRICE_KEY
from tallyspan_collector.pricing.second.extract import decimal
from tallyspan_collector.pricing.second.report import Report
from tallyspan_collector.pricing.second.source import Bands, Place, SecondPrice

_MILLION = 10**6


def text(report: Report, day: date) -> str:
    """Return the file's content; without a difference that nobody explains it has no prices."""
    since: dict[Place, str] = {}
    for each in report.unexplained:
        if each.finding.place.hour is None:
            since.setdefault(each.finding.place, each.behind.since)
    prices = {price.place: price for price in reversed(report.source.prices)}
    head = (
        f"# Made by `tallyspan prices check --against ... --write`: {report.source.name}, {day}.\n"
    )
    lines = [entry(prices[place], since[place]) for place in sorted(since, key=lambda p: p.name)]
    return head + ("prices:\n" + "".join(lines) if lines else "prices: []\n")


def entry(price: SecondPrice, since: str) -> str:
    """Return the price as a line of a price file, from the day `since` on if that is not empty."""
    place = price.place
    where = {"provider": place.provider, "model": place.model} | dict(place.conditions)
    if place.tier:
        where["service_tier"] = place.tier
    fields = [f"{name}: {json.dumps(value)}" for name, value in where.items()]
    if since:
        fields.append(f"from: {since}")
    tokens = {name: bands for name, bands in price.prices.items() if BY_PRICE_KEY[name].is_tokens}
    if tokens:
        tokens.setdefault("input", ((-1, Fraction(0)),))
        fields += ["unit: 1M tokens", *_at(tokens, -1)]
        starts = sorted({above for bands in tokens.values() for above, _ in bands if above > 0})
        steps = [f"{{above_input_tokens: {n}, {', '.join(_at(tokens, n))}}}" for n in starts]
        if steps:
            fields.append(f"context_tiers: [{', '.join(steps)}]")
    fees = {name: bands for name, bands in price.prices.items() if name not in tokens}
    if fees:
        listed = ", ".join(f"{name}: {decimal(bands[0][1])}" for name, bands in fees.items())
        fields.append(f"tools: {{{listed}}}")
    return f"  - {{{', '.join(fields)}}}\n"


def _at(tokens: dict[str, Bands], above: int) -> list[str]:
    return [
        f"{name}: {decimal(usd * _MILLION)}"
        for name, bands in tokens.items()
        for start, usd in bands
        if start == above
    ]
