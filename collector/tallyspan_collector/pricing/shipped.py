"""Our own price files, `prices/<provider>.yaml`: what the package lacks or has wrong.

They are written like the administrator's, one a provider, each price with its day, source, and when
it was checked. A file is read when a call of its provider is first priced.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

from tallyspan_collector.pricing import rates
from tallyspan_collector.pricing.match import Ranked
from tallyspan_collector.pricing.rates import PriceFile

FOLDER = Path(__file__).parents[1] / "prices"
UPKEEP = FOLDER / "upkeep"
"""What keeps them right: reviewed differences from a second source, its prices, retirements."""
SOURCE = "tallyspan prices"
Files = Callable[[str], PriceFile]
"""Returns the file of a provider; an empty one if there is none."""


_PATHS = {path.stem: path for path in FOLDER.glob("*.yaml")}
_EMPTY = PriceFile(name="")


def file_of(provider: str) -> PriceFile:
    """Return the file of a provider, empty if there is none. Raises `ConfigError`."""
    path = _PATHS.get(provider)
    return _EMPTY if path is None else _load(path)


def disputed() -> PriceFile:
    """Return the second source's prices where a difference from ours has no explanation."""
    return _load(UPKEEP / "disputed.yaml")


@cache
def _load(path: Path) -> PriceFile:
    return as_own(rates.load(path))


def as_own(file: PriceFile) -> PriceFile:
    """Return the file as one of ours: a price without a tier is the standard one, not any."""
    own = (replace(rate, source=SOURCE, is_any_tier=False) for rate in file.rates)
    return replace(file, rates=Ranked(own))
