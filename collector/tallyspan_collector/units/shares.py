"""Amounts rounded to the cent so that they add up to their rounded total."""

from collections.abc import Sequence
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

_CENT = Decimal("0.01")


def to_cents(amount: Decimal) -> Decimal:
    """Return the amount rounded to the cent, half to even."""
    return amount.quantize(_CENT, ROUND_HALF_EVEN)


def shares(parts: Sequence[Decimal], total: Decimal) -> list[Decimal]:
    """Return the parts in cents, each less than a cent off, so that they add up to `total`.

    `total` is the sum of the parts, rounded up or down to the cent. The parts that lose most by
    rounding down are rounded up; of equal ones the first.
    """
    down = [each.quantize(_CENT, ROUND_FLOOR) for each in parts]
    left = int((total - sum(down, Decimal(0))) / _CENT)
    order = sorted(range(len(parts)), key=lambda place: down[place] - parts[place])
    ups = set(order[:left])
    return [each + _CENT if place in ups else each for place, each in enumerate(down)]
