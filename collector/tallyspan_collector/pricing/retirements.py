"""When models end: our own list, `prices/upkeep/retirements.yaml`, before the second source's."""

from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path

from tallyspan_collector.files import strict_yaml
from tallyspan_collector.pricing import fields
from tallyspan_collector.pricing.match import Kind, names
from tallyspan_collector.pricing.second.source import Retirement
from tallyspan_collector.pricing.sellers import priced_as
from tallyspan_collector.pricing.shipped import UPKEEP

FILE = UPKEEP / "retirements.yaml"
_KEYS = ("provider", "model", "ends", "successor", "source", "checked")
_NEEDED = ("provider", "model", "ends", "source", "checked")
Endings = Mapping[tuple[str, str], Retirement]
"""Retirements by provider and the name of the model in lower case."""


def load(path: Path = FILE) -> list[Retirement]:
    """Return the retirements of our own file. Raises `ConfigError` by file, line and key."""
    content, lines = strict_yaml.load(path)
    lines.check_keys((), content, ("retirements",))
    endings = []
    for at, entry in fields.items(content, "retirements", lines):
        for each in fields.models(entry, at, lines):
            fields.check(each, at, lines, _KEYS, *_NEEDED)
            provider, model, ends, successor, source = (
                fields.text(each, name, at, lines)
                for name in ("provider", "model", "ends", "successor", "source")
            )
            try:
                day = date.fromisoformat(ends)
            except ValueError:
                message = f"must be a day like 2026-01-31; got {ends}"
                raise lines.error((*at, "ends"), message) from None
            endings.append(Retirement(provider, model, day, successor, source))
    return endings


def by_model(own: Iterable[Retirement], others: Iterable[Retirement]) -> Endings:
    """Return the retirement of each model: our own, else the earliest of the others."""
    endings: dict[tuple[str, str], Retirement] = {}
    for each in sorted(others, key=lambda each: each.day):
        endings.setdefault((each.provider, each.model.lower()), each)
    return endings | {(each.provider, each.model.lower()): each for each in own}


def of_model(provider: str, model: str, endings: Endings) -> Retirement | None:
    """Return when a call's model ends; None: nobody says so."""
    kind = priced_as(Kind(provider, "", model))
    return next(
        (
            endings[kind.provider, name]
            for name in names(kind.model)
            if (kind.provider, name) in endings
        ),
        None,
    )
