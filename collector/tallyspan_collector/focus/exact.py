"""Exact decimal numbers: what would have to be rounded is refused, never rounded."""

from collections.abc import Iterable
from decimal import Context, Decimal, Inexact
from fractions import Fraction
from functools import reduce

EXACT = Context(prec=100, traps=[Inexact])
"""Arithmetic that raises `Inexact` instead of rounding."""
PICO = Decimal(1).scaleb(-12)
"""USD of one pico-dollar."""


def decimal_of(number: Fraction) -> Decimal | None:
    """Return the number as a decimal; None: it has no end, as a third."""
    try:
        return EXACT.divide(Decimal(number.numerator), Decimal(number.denominator))
    except Inexact:
        return None


def text(number: Decimal) -> str:
    """Return the number as FOCUS writes it: no exponent, no sign of plus, no zeros at its end."""
    if not number:
        return "0"
    plain = f"{number:f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def total(numbers: Iterable[Decimal]) -> Decimal:
    """Return the sum, exact."""
    return reduce(EXACT.add, numbers, Decimal(0))
