"""A cost, or the reason there is none."""

from collections.abc import Collection
from enum import StrEnum
from typing import NamedTuple

from tallyspan_collector.read.call import Flag

MAX_COST_PICOUSD = 10**18
"""A million USD, excluded: no call costs so much, and the ledger could not hold much more."""


class UnpricedReason(StrEnum):
    """Why a call has no cost."""

    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_TIER = "unknown_tier"
    UNKNOWN_USAGE = "unknown_usage"
    UNPRICED_UNIT = "unpriced_unit"
    INCONSISTENT_USAGE = "inconsistent_usage"
    TOTAL_MISMATCH = "total_mismatch"
    NO_EXCHANGE_RATE = "no_exchange_rate"
    UNKNOWN_CONDITION = "unknown_condition"
    FREE_TIER_PRICE = "free_tier_price"


class Priced(NamedTuple):
    """A cost in pico-dollars, and the price that was applied.

    `price_id` names the price and, after an @, the day since when it holds. `flags`: what is
    doubtful about it; `other_cost_picousd`: the cost if the doubt is decided the other way.
    `cache_saved_picousd`: what the call would cost without the cache, less its cost; below 0 if
    writes cost more than reads saved; None: nothing was read or written.
    """

    cost_picousd: int
    input_cost_picousd: int
    output_cost_picousd: int
    price_id: str
    price_source: str
    flags: tuple[str, ...] = ()
    other_cost_picousd: int | None = None
    cache_saved_picousd: int | None = None


class Unpriced(NamedTuple):
    """No cost, and why."""

    reason: UnpricedReason


UNKNOWN_MODEL = Unpriced(UnpricedReason.UNKNOWN_MODEL)
UNKNOWN_TIER = Unpriced(UnpricedReason.UNKNOWN_TIER)
UNKNOWN_USAGE = Unpriced(UnpricedReason.UNKNOWN_USAGE)
UNPRICED_UNIT = Unpriced(UnpricedReason.UNPRICED_UNIT)
INCONSISTENT_USAGE = Unpriced(UnpricedReason.INCONSISTENT_USAGE)
UNKNOWN_CONDITION = Unpriced(UnpricedReason.UNKNOWN_CONDITION)
FREE_TIER_PRICE = Unpriced(UnpricedReason.FREE_TIER_PRICE)
TOTAL_MISMATCH = Unpriced(UnpricedReason.TOTAL_MISMATCH)
NO_EXCHANGE_RATE = Unpriced(UnpricedReason.NO_EXCHANGE_RATE)


def refusal(quality_flags: Collection[str]) -> Unpriced | None:
    """Return why a call with these flags has no cost whatever its price is; None: it may have."""
    return TOTAL_MISMATCH if Flag.TOTAL_MISMATCH in quality_flags else None
