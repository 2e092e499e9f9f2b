"""Amounts of a bill in USD, by the dated rates of the price file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction

from tallyspan_collector.pricing.rates import USD, ExchangeRate

_PLACES = Decimal("0.000000000001")
_DIGITS = 50


class CurrencyError(ValueError):
    """An amount in a currency that cannot be turned into USD; its text is a sentence."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Turns amounts into USD. `rates` are those of the price file; None: only USD is taken."""

    rates: Mapping[str, Sequence[ExchangeRate]] | None = None

    def usd(self, amount: Decimal, currency: str, day: date) -> Decimal:
        """Return USD, to 12 decimals, at the rate that held when the day (UTC) began.

        Raises `CurrencyError` where there is none.
        """
        name = currency_name(currency)
        if not name:
            return amount
        if self.rates is None:
            raise CurrencyError(f"the bill is in {currency}: only USD is taken")
        begin_ns = int(datetime.combine(day, datetime.min.time(), UTC).timestamp()) * 10**9
        held = [rate.usd for rate in self.rates.get(name, ()) if rate.from_ns <= begin_ns]
        if not held:
            raise CurrencyError(
                f"the bill is in {currency}: the price file (--prices) has no rate of {name} for"
                f" {day}; add one under 'currencies'"
            )
        exact = Fraction(amount) * held[-1]
        with localcontext(prec=_DIGITS):
            usd = Decimal(exact.numerator) / exact.denominator
            return usd.quantize(_PLACES, ROUND_HALF_EVEN)


ONLY_USD = Exchange()


def currency_name(text: str) -> str:
    """Return the currency as price files name it; empty for USD and for none."""
    name = text.strip().upper()
    return "" if name == USD else name
