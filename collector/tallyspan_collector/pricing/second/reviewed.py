"""Differences from the second source that somebody has looked into.

A line of `prices/upkeep/reviewed.yaml` is for one cause. It explains what it names and nothing
else: models, meters, and how many percent ours is above or below theirs, so that the next change is
new again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path
from typing import Any

from tallyspan.conditions import BY_NAME as CONDITIONS
from tallyspan.meters import BY_PRICE_KEY
from tallyspan_collector.files import strict_yaml
from tallyspan_collector.files.strict_yaml import KeyPath, Lines
from tallyspan_collector.pricing import fields
from tallyspan_collector.pricing.match import SERVICE_TIER, Conditions, is_glob
from tallyspan_collector.pricing.second.comparison import Finding
from tallyspan_collector.pricing.shipped import UPKEEP

FILE = UPKEEP / "reviewed.yaml"
_KEYS = (
    "provider", "model", SERVICE_TIER, *CONDITIONS, "meters", "percent", "cause", "right",
    "source", "checked", "evidence",
)  # fmt: skip
_NEEDED = (
    "provider", "model", "meters", "percent", "cause", "right", "source", "checked", "evidence",
)  # fmt: skip
_GRADES = ("H", "M", "L")
_SLACK = Fraction(1, 10)
"""Points of a percentage that a line may be off: people write -9.1 for a tenth less."""


class Right(StrEnum):
    """Whose price is the provider's."""

    OURS = "ours"
    THEIRS = "theirs"
    MOOT = "moot"
    """Neither is wrong: they are of different things, or nobody can be charged it."""


@dataclass(frozen=True, slots=True)
class Review:
    """A line of the file. `percent`: from and to, ours above theirs; below is negative."""

    provider: str
    model: str
    tier: str
    conditions: Conditions
    meters: frozenset[str]
    percent: tuple[Fraction, Fraction]
    cause: str
    right: Right
    source: str
    checked: date
    evidence: str
    line: int

    def explains(self, finding: Finding) -> bool:
        """Whether the difference is the one of this line."""
        place = finding.place
        low, high = self.percent
        conditions = dict(place.conditions)
        return (
            self.provider == place.provider
            and fnmatchcase(place.model.lower(), self.model.lower())
            and (not self.tier or self.tier == (place.tier or "standard"))
            and all(fnmatchcase(conditions.get(name, ""), glob) for name, glob in self.conditions)
            and finding.meter in self.meters
            and low - _SLACK <= finding.percent <= high + _SLACK
        )


def load(today: date, path: Path = FILE) -> list[Review]:
    """Return the lines of the file. Raises `ConfigError` by file, line and key."""
    content, lines = strict_yaml.load(path)
    lines.check_keys((), content, ("reviewed",))
    return [
        _review(each, at, lines, today)
        for at, entry in fields.items(content, "reviewed", lines)
        for each in fields.models(entry, at, lines)
    ]


def review_of(finding: Finding, reviews: Iterable[Review]) -> Review | None:
    """Return the line that explains the difference; None: nobody has looked into it."""
    return next((each for each in reviews if each.explains(finding)), None)


def unused(findings: Sequence[Finding], reviews: Sequence[Review]) -> list[Review]:
    """Return the lines that explain nothing any more."""
    return [line for line in reviews if not any(line.explains(each) for each in findings)]


def _review(entry: Any, at: KeyPath, lines: Lines, today: date) -> Review:
    fields.check(entry, at, lines, _KEYS, *_NEEDED)
    texts = {
        name: fields.text(entry, name, at, lines)
        for name in ("provider", "model", SERVICE_TIER, "cause", "right", "source")
    }
    for name in ("provider", "model", "cause", "source"):
        if not texts[name].strip():
            raise lines.error((*at, name), "must be a text that is not empty")
    if is_glob(texts["model"].rstrip("*")):
        raise lines.error((*at, "model"), "may end with *, and has no other pattern")
    if entry["evidence"] not in _GRADES:
        raise lines.error((*at, "evidence"), f"must be one of {', '.join(_GRADES)}")
    if texts["right"] not in set(Right):
        raise lines.error((*at, "right"), f"must be one of {', '.join(Right)}")
    return Review(
        texts["provider"],
        texts["model"],
        texts[SERVICE_TIER].lower(),
        tuple((n, fields.text(entry, n, at, lines).lower()) for n in CONDITIONS if n in entry),
        _meters(entry, at, lines),
        _percent(entry, at, lines),
        texts["cause"],
        Right(texts["right"]),
        texts["source"],
        _checked(entry, at, lines, today),
        entry["evidence"],
        lines.line(at),
    )


def _meters(entry: dict[str, Any], at: KeyPath, lines: Lines) -> frozenset[str]:
    names = entry["meters"]
    if not isinstance(names, list) or not names:
        raise lines.error((*at, "meters"), "must be a list of meters: [input, output]")
    for name in names:
        if name not in BY_PRICE_KEY:
            raise lines.error((*at, "meters"), f"{name!r} is no meter: {', '.join(BY_PRICE_KEY)}")
    return frozenset(names)


def _percent(entry: dict[str, Any], at: KeyPath, lines: Lines) -> tuple[Fraction, Fraction]:
    value = entry["percent"]
    ends = value if isinstance(value, list) else [value, value]
    try:
        low, high = (Fraction(each) for each in ends)
    except (TypeError, ValueError):
        raise lines.error(
            (*at, "percent"), f"must be a number, or two like [-10, -8.3]; got {value!r}"
        ) from None
    if low > high:
        raise lines.error((*at, "percent"), "the first must be the lower one")
    return low, high


def _checked(entry: dict[str, Any], at: KeyPath, lines: Lines, today: date) -> date:
    try:
        day = date.fromisoformat(str(entry["checked"]))
    except ValueError:
        raise lines.error(
            (*at, "checked"), f"must be a day like 2026-01-31; got {entry['checked']}"
        ) from None
    if day > today:
        raise lines.error((*at, "checked"), f"{day} is in the future")
    return day
