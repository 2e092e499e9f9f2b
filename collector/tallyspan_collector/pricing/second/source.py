"""What a second source says: prices by place, and when models end."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction

from tallyspan_collector.pricing.match import Conditions

Bands = tuple[tuple[int, Fraction], ...]
"""(above how many input tokens, USD for one); -1: of all."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which calls a price is for: as our price files name provider, model, tier and conditions.

    `hour` is one of the week (from Monday, UTC) at which the price holds; None: it always does.
    """

    provider: str
    model: str
    tier: str = ""
    conditions: Conditions = ()
    hour: int | None = None

    @property
    def name(self) -> str:
        """Return the place as one text."""
        conditions = [*self.conditions, *((("service_tier", self.tier),) if self.tier else ())]
        if self.hour is not None:
            conditions.append(("hour_of_week", str(self.hour)))
        about = ",".join(f"{name}={value}" for name, value in conditions)
        return f"{self.provider}/{self.model}" + (f" [{about}]" if about else "")


@dataclass(frozen=True, slots=True)
class SecondPrice:
    """What the source charges at a place; `prices` by what our price files call the meters.

    `keys`: the names in the source that have it.
    """

    place: Place
    prices: Mapping[str, Bands]
    keys: tuple[str, ...]

    def scaled(self, place: Place, times: Fraction) -> "SecondPrice":
        """Return the price of another place, every class times so much."""
        prices = {
            meter: tuple((above, usd * times) for above, usd in bands)
            for meter, bands in self.prices.items()
        }
        return replace(self, place=place, prices=prices)


@dataclass(frozen=True, slots=True)
class Retirement:
    """When a model ends, what its provider names instead of it, and where that is to be read."""

    provider: str
    model: str
    day: date
    successor: str
    source: str


@dataclass(frozen=True, slots=True)
class SecondSource:
    """A source as read. `name` has its version; `others` are providers that are not compared.

    `faults` name entries that are no prices, or have keys that this version does not know: such an
    entry is left out whole. `retired` counts models that have ended, by provider.
    """

    name: str
    prices: tuple[SecondPrice, ...]
    retirements: tuple[Retirement, ...] = ()
    others: Mapping[str, int] | None = None
    faults: tuple[str, ...] = ()
    retired: Mapping[str, int] | None = None
