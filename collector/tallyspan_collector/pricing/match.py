"""Which calls a line of the price file is for."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tallyspan_collector.pricing.tier import tier_name

ALWAYS = (-(1 << 80), 1 << 80)
_DATED = re.compile(r"[-@](?:20\d{2}-\d{2}-\d{2}|20\d{6})$")


@dataclass(frozen=True, slots=True)
class Kind:
    """What calls that share a price have in common; texts as the call has them."""

    provider: str
    endpoint: str
    model: str
    tier: str = ""
    region: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """Where a line applies; empty: anywhere. Times: UTC, nanoseconds since 1970, `to` excluded.

    `hours` are seconds of the day (UTC), the first included, the second not; they may go over
    midnight.
    """

    model: str = "*"
    provider: str = ""
    endpoint: str = ""
    region: str = ""
    tier: str = ""
    hours: tuple[int, int] | None = None
    from_ns: int = ALWAYS[0]
    to_ns: int = ALWAYS[1]

    def is_for(self, kind: Kind) -> bool:
        """Whether the line is for such calls at some time."""
        return (
            self.provider in {"", kind.provider}
            and (not self.endpoint or _fits(self.endpoint, kind.endpoint))
            and (not self.region or _fits(self.region, kind.region))
            and (not self.tier or self.tier == (tier_name(kind.tier) or "standard"))
            and any(_fits(self.model, name) for name in names(kind.model))
        )

    def holds(self, at_ns: int) -> bool:
        """Whether the line holds at the moment."""
        if not self.from_ns <= at_ns < self.to_ns:
            return False
        if self.hours is None:
            return True
        start, end = self.hours
        second = at_ns // 10**9 % 86_400
        return start <= second < end if start < end else second >= start or second < end

    @property
    def rank(self) -> tuple[int, bool, bool, bool, int, bool, bool, int]:
        """How specific the line is; of several lines the one with the greatest rank applies."""
        return (
            2 * bool(self.endpoint) - is_glob(self.endpoint),
            bool(self.provider),
            bool(self.region),
            not is_glob(self.model),
            len(self.model),
            bool(self.tier),
            self.hours is not None,
            self.from_ns,
        )


def names(model: str) -> tuple[str, ...]:
    """Return what a model goes by: its name, and the name without the date of a snapshot."""
    low = model.lower()
    undated = _DATED.sub("", low)
    return (low,) if undated == low else (low, undated)


def is_glob(pattern: str) -> bool:
    """Whether the text is a pattern and not a name."""
    return any(sign in pattern for sign in "*?[")


def _fits(pattern: str, name: str) -> bool:
    return fnmatchcase(name.lower(), pattern.lower())
