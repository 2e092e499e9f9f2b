"""A price as people read it: USD for a million tokens, or for one."""

from collections.abc import Iterator
from fractions import Fraction

from tallyspan.meters import BY_NAME, TOKEN_METERS, UNIT_METERS
from tallyspan.usage import Usage
from tallyspan_collector.pricing.cost import Priced
from tallyspan_collector.pricing.marginal import MarginalPrice
from tallyspan_collector.pricing.price import Band, Price
from tallyspan_collector.pricing.timeline import Compiled


def rows(price: Compiled) -> list[dict[str, str]]:
    """Return class, context and USD of all that has a price."""
    if isinstance(price, MarginalPrice):
        return [
            {"class": name, "context": f"tokens above {start:,}", "USD": _usd(usd * 10**6) + "/M"}
            for start, prices in price.steps
            for name, usd in zip(
                ("cache_read", "cache_write", "input", "output"), prices, strict=True
            )
        ]
    if not isinstance(price, Price):
        return []
    return [row for band in price.bands for row in _band(price, band)]


def _band(price: Price, band: Band) -> Iterator[dict[str, str]]:
    context = f"above {band.above:,} input tokens" if band.above > 0 else ""
    factors = {**dict(band.input_factors), **dict(band.output_factors)}
    for meter in TOKEN_METERS:
        if meter.name not in factors:
            continue  # no price of its own: it costs what the class above it costs
        wider = [each.name for each in TOKEN_METERS if meter.is_part_of(each)]
        pico = sum(factors.get(name, 0) for name in (meter.name, *wider))
        usd = Fraction(pico) / price.scale / 10**6
        yield {"class": meter.price_key, "context": context, "USD": _usd(usd) + "/M"}
    tokens = {meter.name for meter in TOKEN_METERS}
    for name, factor in (*band.input_factors, *band.output_factors, *band.other_factors):
        if name not in tokens:
            # a factor is how much more a meter costs than the wider ones
            wider = [each.name for each in UNIT_METERS if BY_NAME[name].is_part_of(each)]
            pico = factor + sum(dict(band.other_factors).get(each, 0) for each in wider)
            usd = Fraction(pico) / price.scale / 10**12
            yield {"class": name, "context": context, "USD": _usd(usd) + " each"}


def example(price: Compiled) -> Priced | None:
    """Return what 1,000 input and 100 output tokens cost; None if the price is not for tokens."""
    result = price.cost(Usage(1000, 100))
    return result if isinstance(result, Priced) else None


def _usd(amount: Fraction) -> str:
    return f"{float(amount):.12f}".rstrip("0").rstrip(".")
