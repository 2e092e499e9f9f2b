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


def faults(folder: Path = FOLDER) -> list[str]:
    """Return one sentence for each price that is not where calls look for it, by file and line.

    A file prices the calls of the provider that it is named after, and of no other.
    """
    sentences = []
    for path in sorted(folder.glob("*.yaml")):
        file = rates.load(path)
        for line in sorted(file.rates, key=lambda rate: rate.origin.line):
            provider = line.match.provider
            if provider == path.stem:
                continue
            other = folder / f"{provider}.yaml"
            is_double = other.is_file() and any(
                each.match.model.lower() == line.match.model.lower()
                for each in rates.load(other).rates
            )
            where = f"and stands in {other.name} too" if is_double else f"not of {path.stem!r}"
            sentences.append(
                f"{path}:{line.origin.line}: provider: {line.match.model!r} is of"
                f" {provider or 'nobody'!r} {where}"
            )
    return sentences


@cache
def _load(path: Path) -> PriceFile:
    return as_own(rates.load(path))


def as_own(file: PriceFile) -> PriceFile:
    """Return the file as one of ours: a price without a tier is the standard one, not any."""
    own = (replace(rate, source=SOURCE, is_any_tier=False) for rate in file.rates)
    return replace(file, rates=Ranked(own))
