"""A cost, or the reason there is none."""

from dataclasses import dataclass
from enum import StrEnum


class UnpricedReason(StrEnum):
    """Why a call has no cost."""

    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_USAGE = "unknown_usage"
    INCONSISTENT_USAGE = "inconsistent_usage"


@dataclass(frozen=True, slots=True)
class Priced:
    """A cost in pico-dollars, and the price it was made with."""

    cost_picousd: int
    input_cost_picousd: int
    output_cost_picousd: int
    price_id: str
    price_source: str


@dataclass(frozen=True, slots=True)
class Unpriced:
    """No cost, and why."""

    reason: UnpricedReason
