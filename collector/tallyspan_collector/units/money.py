"""Amounts of USD as text."""

from decimal import Decimal


def dollars(amount: Decimal) -> str:
    """Return USD to be read: cents from a dollar up, at most six decimals below."""
    sign, size = ("-" if amount < 0 else ""), abs(amount)
    if size >= 1 or size == 0:
        return f"{sign}${size:,.2f}"
    if size < Decimal("0.000001"):
        return f"{sign}<$0.000001"
    text = f"{size:.6f}".rstrip("0")
    return f"{sign}${text.ljust(4, '0')}"


def cents(amount: Decimal) -> str:
    """Return USD rounded to cents, as in `$1,234.50`."""
    return f"${amount:,.2f}"
