"""What a line of a bill is for, by the word that the bill has for it."""

from collections.abc import Collection

from tallyspan_collector.bills.billed import Charge

_CREDITS = ("credit", "refund", "adjustment", "goodwill")
_TAXES = ("tax", "vat")
_DISCOUNTS = ("discount", "negation", "rounding")
"""What is taken off or brought in line beside usage, under the SKU of the usage itself."""


def charge_of(word: str, usage: Collection[str] = ("", "usage")) -> Charge:
    """Return the kind of charge; `usage` are the bill's words for usage.

    Any other word is a purchase: fees, seats, reserved capacity.
    """
    low = word.strip().lower()
    if not low or low in usage or any(each in low for each in _DISCOUNTS):
        return Charge.USAGE
    if any(each in low for each in _CREDITS):
        return Charge.CREDIT
    return Charge.TAX if any(each in low for each in _TAXES) else Charge.PURCHASE
