"""Why a call costs what it costs: the steps of its price, and the cost as a sum."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.pricing.arithmetic import terms
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import Unpriced
from tallyspan_collector.pricing.match import Kind
from tallyspan_collector.pricing.price import PICO, rounded
from tallyspan_collector.pricing.steps import number

_A_MILLION = 10**6
_TENTH_OF_A_CENT = Fraction(1, 1000)


def explanation(
    book: PriceBook,
    kind: Kind,
    at_ns: int,
    measured: tuple[Usage, Mapping[str, float]],
    charge: tuple[str, str, Decimal | None],
) -> dict[str, Any]:
    """Return how the price of a call is made (`steps`), and its cost as a sum (`arithmetic`).

    `measured` are its counts and rarer meters; `charge` is status, price id and cost in USD as
    booked. Both are empty where the price book of today has another price for the call, or the
    cost is none of ours: neither would be the reason for it.
    """
    status, price_id, amount = charge
    usage, meters = measured
    if status == "unpriced":
        return {"steps": _steps(book, kind, at_ns, measured), "arithmetic": []}
    price = book.quote(
        kind.provider, kind.endpoint, kind.model, kind.tier, at_ns, dict(kind.conditions)
    )
    if amount is None or not price_id or isinstance(price, Unpriced):
        return {"steps": [], "arithmetic": []}
    cost = price.cost(usage, meters)
    if isinstance(cost, Unpriced) or _usd(Fraction(cost.cost_picousd, PICO)) != amount:
        return {"steps": [], "arithmetic": []}
    return {
        "steps": _steps(book, kind, at_ns, measured) if price.price_id == price_id else [],
        "arithmetic": [
            f"{number(each.amount)} {each.name} x {_rate(each.usd)}"
            f" = {_usd(each.amount * each.usd):f} USD"
            for each in terms(price, usage, meters)
        ],
    }


def _steps(
    book: PriceBook, kind: Kind, at_ns: int, measured: tuple[Usage, Mapping[str, float]]
) -> list[dict[str, Any]]:
    usage, meters = measured
    counts = {name: count for name in TOKEN_FIELDS if (count := getattr(usage, name))}
    return [each.values() for each in book.steps(kind, at_ns, {**counts, **meters})]


def _rate(usd: Fraction) -> str:
    if usd < _TENTH_OF_A_CENT:
        return f"{number(usd * _A_MILLION)} USD a million"
    return f"{number(usd)} USD each"


def _usd(amount: Fraction) -> Decimal:
    return Decimal(rounded(amount * PICO, 1)).scaleb(-12)
