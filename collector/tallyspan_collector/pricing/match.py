"""Which calls a line of the price file is for."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Protocol, TypeVar, overload

from tallyspan_collector.pricing.tier import tier_name
from tallyspan_collector.pricing.timeline import DAY_SECONDS, DAYS, every_day, second_of_week

ALWAYS = (-(1 << 80), 1 << 80)
NO_VALUE, STANDARD, SERVICE_TIER = "none", "standard", "service_tier"
Conditions = tuple[tuple[str, str], ...]
_DATED = re.compile(r"[-@](?:20\d{2}-\d{2}-\d{2}|20\d{6})$")


@dataclass(frozen=True, slots=True)
class Kind:
    """What calls that share a price have in common; texts as the call has them."""

    provider: str
    endpoint: str
    model: str
    tier: str = ""
    conditions: Conditions = ()

    @classmethod
    def of(
        cls, provider: str, endpoint: str, model: str, tier: str, conditions: Mapping[str, str]
    ) -> "Kind":
        """Return the kind of calls with these conditions, in whatever order they stand."""
        return cls(provider, endpoint, model, tier, tuple(sorted(conditions.items())))

    @property
    def tier_name(self) -> str:
        """The tier as price files name it."""
        return tier_name(self.tier) or STANDARD

    def value(self, condition: str) -> str:
        """Return the value of a condition; `none` if the calls do not have it."""
        return next((value for name, value in self.conditions if name == condition), NO_VALUE)


@dataclass(frozen=True, slots=True)
class Match:
    """Where a line applies; empty: anywhere. Times: UTC, nanoseconds since 1970, `to` excluded.

    `conditions` are names and patterns of values, by name. `hours` are seconds of the day (UTC),
    the first included, the second not; they may go over midnight, and then belong to the day they
    begin on. `days` are those of the week, Monday is 0; empty: all.
    """

    model: str = "*"
    provider: str = ""
    endpoint: str = ""
    tier: str = ""
    conditions: Conditions = ()
    days: tuple[int, ...] = ()
    hours: tuple[int, int] | None = None
    from_ns: int = ALWAYS[0]
    to_ns: int = ALWAYS[1]

    def is_for(self, kind: Kind) -> bool:
        """Whether the line is for such calls at some time."""
        return (
            self.provider in {"", kind.provider}
            and (not self.endpoint or _fits(self.endpoint, kind.endpoint))
            and (not self.tier or self.tier == kind.tier_name)
            and all(_is_value(pattern, kind.value(name)) for name, pattern in self.conditions)
            and any(_fits(self.model, name) for name in names(kind.model))
        )

    def holds(self, at_ns: int) -> bool:
        """Whether the line holds at the moment."""
        if not self.from_ns <= at_ns < self.to_ns:
            return False
        if self.hours is None and not self.days:
            return True
        day, second = divmod(second_of_week(at_ns), DAY_SECONDS)
        if self.hours is not None:
            start, end = self.hours
            if start > end and second < end:
                day = (day - 1) % DAYS
            elif not (start <= second < end if start < end else second >= start):
                return False
        return not self.days or day in self.days

    @property
    def seconds(self) -> list[int]:
        """Seconds of the week at which the line may begin or end to hold."""
        return every_day(self.hours or (0,)) if self.hours or self.days else []

    @property
    def conditions_named(self) -> frozenset[str]:
        """The names of the conditions, and of the tier, that the line is about."""
        named = {name for name, _ in self.conditions}
        return frozenset(named | {SERVICE_TIER} if self.tier else named)

    @property
    def rank(self) -> tuple[int, bool, int, bool, int, bool, bool, bool, int]:
        """How specific the line is; of several lines the one with the greatest rank applies."""
        return (
            2 * bool(self.endpoint) - is_glob(self.endpoint),
            bool(self.provider),
            len(self.conditions),
            not is_glob(self.model),
            len(self.model),
            bool(self.tier),
            bool(self.days),
            self.hours is not None,
            self.from_ns,
        )


class Line(Protocol):
    """A line of a price file."""

    @property
    def match(self) -> Match:
        """Where it applies."""


AnyLine = TypeVar("AnyLine", bound=Line)


class Ranked(Sequence[AnyLine]):
    """Lines of a price file, the most specific first; found by the model that they name."""

    __slots__ = ("_by_name", "_globs", "_lines")

    def __init__(self, lines: Iterable[AnyLine] = ()) -> None:
        self._lines = sorted(lines, key=lambda line: line.match.rank, reverse=True)
        self._globs: list[int] = []
        self._by_name: dict[str, list[int]] = {}
        for place, line in enumerate(self._lines):
            model = line.match.model.lower()
            if is_glob(model):
                self._globs.append(place)
            else:
                self._by_name.setdefault(model, []).append(place)

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, place: int) -> AnyLine: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[AnyLine]: ...
    def __getitem__(self, place: int | slice) -> AnyLine | Sequence[AnyLine]:
        return self._lines[place]

    def for_kinds(self, kinds: Iterable[Kind]) -> list[AnyLine]:
        """Return the lines that are for one of the kinds at some time."""
        kinds = set(kinds)
        places = set(self._globs)
        for kind in kinds:
            for name in names(kind.model):
                places.update(self._by_name.get(name, ()))
        lines = (self._lines[place] for place in sorted(places))
        return [line for line in lines if any(line.match.is_for(kind) for kind in kinds)]


@lru_cache(maxsize=4096)
def names(model: str) -> tuple[str, ...]:
    """Return what a model goes by: its name, and the name without the date of a snapshot."""
    low = model.lower()
    undated = _DATED.sub("", low)
    return (low,) if undated == low else (low, undated)


def is_glob(pattern: str) -> bool:
    """Whether the text is a pattern and not a name."""
    return any(sign in pattern for sign in "*?[")


def _is_value(pattern: str, value: str) -> bool:
    return pattern == value if value == NO_VALUE else _fits(pattern, value)


def _fits(pattern: str, name: str) -> bool:
    low, pattern = name.lower(), pattern.lower()
    return low == pattern or (is_glob(pattern) and fnmatchcase(low, pattern))
