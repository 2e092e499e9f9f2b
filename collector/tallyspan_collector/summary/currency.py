"""Costs in a second currency: each day's amount at that day's rate, worked out and never stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

from tallyspan_clickhouse.query.errors import RequestError
from tallyspan_collector.pricing.match import ALWAYS
from tallyspan_collector.pricing.rates import USD, PriceFile
from tallyspan_collector.summary.rows import decimal_text

_DAY_US = 86_400 * 10**6
_PLACES = Decimal("0.000000000001")
_FIRST_US = -(1 << 62)


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency and USD for one of it, from days on (UTC, microseconds since 1970), in order."""

    name: str
    rates: tuple[tuple[int, Fraction], ...]

    @property
    def bounds(self) -> tuple[int, ...]:
        """When the rates begin; a day is of the one that held when it began."""
        return tuple(start for start, _ in self.rates)

    def amount(self, by_rate: tuple[Sequence[int], Sequence[Decimal]]) -> Decimal | None:
        """Return USD by number of the rate as an amount of this currency, to 12 decimals.

        None: a part of it is of days before the first rate.
        """
        total = Fraction(0)
        for number, usd in zip(*by_rate, strict=True):
            if usd and not number:
                return None
            if usd:
                total += Fraction(usd) / self.rates[number - 1][1]
        exact = Decimal(total.numerator * 10**24 // total.denominator).scaleb(-24)
        return exact.quantize(_PLACES, ROUND_HALF_EVEN)

    def rate_rows(self) -> list[dict[str, str | None]]:
        """Return the rates for people: since which day, and USD for one."""
        return [
            {
                "from": None if start == _FIRST_US else _day(start),
                "usd": decimal_text(Decimal(usd.numerator) / Decimal(usd.denominator)),
            }
            for start, usd in self.rates
        ]


def currency_of(file: PriceFile, name: str) -> Currency:
    """Return a currency of the price file. Raises RequestError for one that has no rates there."""
    currencies: Mapping[str, object] = file.currencies or {}
    if name == USD:
        return Currency(USD, ((_FIRST_US, Fraction(1)),))
    if name not in currencies:
        has = (
            f"it has {', '.join((USD, *currencies))}"
            if currencies
            else "it has none: see docs/prices.md"
        )
        raise RequestError(
            f"currency must be one with rates under 'currencies' of the price file"
            f" (--prices), not {name[:20]!r}; {has}"
        )
    by_day: dict[int, Fraction] = {}
    for rate in (file.currencies or {})[name]:
        at_us = rate.from_ns // 1000
        start = _FIRST_US if rate.from_ns == ALWAYS[0] else at_us + -at_us % _DAY_US
        by_day[start] = rate.usd  # of two in a day the later one holds when the next begins
    return Currency(name, tuple(sorted(by_day.items())))


def _day(at_us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)).date().isoformat()
