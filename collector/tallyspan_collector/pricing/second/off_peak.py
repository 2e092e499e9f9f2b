"""Prices of LiteLLM's map that hold in hours of the week, such as DeepSeek's off-peak ones."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tallyspan_collector.pricing.second import classes
from tallyspan_collector.pricing.second.source import SecondPrice

_HOUR = re.compile(r"(\d\d):00")
_WEEK, _DAY = 168, 24


def split(price: SecondPrice, entry: Mapping[str, Any]) -> Iterator[SecondPrice]:
    """Yield the price as it is, or once inside and once outside the entry's off-peak hours.

    Raises `ValueError` for hours that are none.
    """
    cheaper = entry.get("off_peak_pricing")
    if not isinstance(cheaper, dict):
        yield price
        return
    hours = _hours(cheaper.get("windows"))
    inside = min(hours)
    outside = min(set(range(_WEEK)) - hours, default=inside)
    prices = dict(price.prices)
    for key, value in cheaper.items():
        slot = classes.slot(key)
        if slot is not None and isinstance(value, Decimal):
            prices[slot.meter] = ((-1, Fraction(value)),)
    yield replace(price, place=replace(price.place, hour=outside))
    yield replace(price, place=replace(price.place, hour=inside), prices=prices)


def _hours(windows: Any) -> set[int]:
    """Return the hours of the week, from Monday (UTC), that the windows cover."""
    hours: set[int] = set()
    try:
        for window in windows:
            spans = window["hours_utc"]
            for span in [spans] if isinstance(spans, str) else spans:
                start, end = (
                    int(each[1]) for each in map(_HOUR.fullmatch, span.split("-")) if each
                )
                for day in window["weekdays"]:
                    hours |= {(int(day) - 1) * _DAY + hour for hour in range(start, end or _DAY)}
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"windows: hours that this version cannot read: {error}") from None
    if not hours:
        raise ValueError("windows: there are none")
    return hours
