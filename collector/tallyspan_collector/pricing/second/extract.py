"""The second source's prices as they come with Tallyspan: `prices/upkeep/second_prices.json`.

It has figures only, of the models that are compared, as they were on a day. With it the comparison
needs neither a network nor another package. A line has the models that share all their prices.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from tallyspan_collector.errors import ConfigError
from tallyspan_collector.pricing.second.source import (
    Bands,
    Place,
    Retirement,
    SecondPrice,
    SecondSource,
)
from tallyspan_collector.pricing.shipped import UPKEEP

FILE = UPKEEP / "second_prices.json"
_DIGITS = 24


def read(today: date, path: Path = FILE) -> tuple[SecondSource, date]:
    """Return the prices, and the day they are of. Raises `ConfigError`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        prices = tuple(price for row in content["prices"] for price in _prices(row))
        retirements = tuple(each for row in content["retirements"] for each in _retirements(row))
        day = date.fromisoformat(content["day"])
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise ConfigError(f"{path}: is no extract of a price map: {error}") from None
    ended = {(each.provider, each.model.lower()) for each in retirements if each.day <= today}
    live = tuple(p for p in prices if (p.place.provider, p.place.model) not in ended)
    return SecondSource(content["source"], live, retirements), day


def text(source: SecondSource, day: date) -> str:
    """Return the file's content for a source as it is on a day."""
    groups: dict[str, list[str]] = defaultdict(list)
    for price in source.prices:
        place = price.place
        where = [place.provider, place.tier, dict(place.conditions), place.hour]
        bands = {name: _written(price.prices[name]) for name in price.prices}
        groups[json.dumps([*where, bands])].append(place.model)
    endings: dict[str, list[str]] = defaultdict(list)
    for each in source.retirements:
        if each.day > day:
            ending = [each.provider, each.day.isoformat(), each.successor, each.source]
            endings[json.dumps(ending)].append(each.model)
    head = json.dumps({"source": source.name, "day": day.isoformat()})[:-1]
    return f'{head},\n"prices": [\n{_lines(groups)}\n],\n"retirements": [\n{_lines(endings)}\n]}}\n'


def _lines(groups: dict[str, list[str]]) -> str:
    rows = (f"{key[:-1]}, {json.dumps(sorted(set(models)))}]" for key, models in groups.items())
    return ",\n".join(sorted(rows))


def _written(bands: Bands) -> list[Any]:
    return [value for above, usd in bands for value in (above, decimal(usd * 10**6))]


def decimal(amount: Fraction) -> str:
    """Return the amount written out, exact up to 24 digits behind the point."""
    number = Decimal(amount.numerator) / Decimal(amount.denominator)
    if Fraction(number) != amount:
        number = round(number, _DIGITS)
    return f"{number.normalize():f}"


def _prices(row: list[Any]) -> Iterator[SecondPrice]:
    provider, tier, conditions, hour, prices, models = row
    bands = {name: tuple(_pairs(values)) for name, values in prices.items()}
    for model in models:
        place = Place(provider, model, tier, tuple(sorted(conditions.items())), hour)
        yield SecondPrice(place, bands, (model,))


def _pairs(values: list[Any]) -> Iterable[tuple[int, Fraction]]:
    return (
        (int(above), Fraction(usd) / 10**6)
        for above, usd in zip(values[::2], values[1::2], strict=True)
    )


def _retirements(row: list[Any]) -> Iterator[Retirement]:
    provider, day, successor, source, models = row
    for model in models:
        yield Retirement(provider, model, date.fromisoformat(day), successor, source)
