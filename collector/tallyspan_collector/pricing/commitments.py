"""What is paid whether it is used or not: provisioned throughput, plans with seats, minimums."""

import calendar
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from tallyspan.conditions import BY_NAME as CONDITIONS
from tallyspan.conditions import COMMITMENT
from tallyspan_collector.files.strict_yaml import KeyPath, Lines
from tallyspan_collector.pricing import fields
from tallyspan_collector.pricing.match import SERVICE_TIER, Kind, Match, is_glob
from tallyspan_collector.pricing.origin import NOTES

DAY_SECONDS = 86_400
PICOUSD = 10**12
PERIODS = ("hour", "day", "month")
CAPACITY_KEYS = ("input", "output")
USD = "USD"
KEYS = (
    "name", "kind", "model", "provider", "endpoint", SERVICE_TIER,
    *(name for name in CONDITIONS if name != COMMITMENT.name), "from", "to",
    "price", "currency", "per", "units", "spread", "capacity", "department", *NOTES,
)  # fmt: skip
Name = TypeVar("Name", bound=str)
NEEDED = ("name", "kind", "price", "per", "from")


class Commits(StrEnum):
    """What kind of commitment it is."""

    PROVISIONED = "provisioned"
    """Capacity that is paid by time: the calls it is for are not billed by token."""
    PLAN = "plan"
    """Seats, or a flat subscription: the calls it is for are reported as on a subscription."""
    MINIMUM = "minimum"
    """What a month costs at least: calls are billed, and what is missing at its end as well."""


class Spread(StrEnum):
    """By what the cost of a day is spread over the calls that used the commitment."""

    TOKENS = "tokens"
    LIST_COST = "list cost"
    SEATS = "seats"
    """Each user who made a call in the 30 days up to that day has a seat."""
    NONE = "none"
    """Not spread: it stands under the department of the commitment."""


SPREADS: Mapping[Commits, tuple[Spread, ...]] = MappingProxyType(
    {
        Commits.PROVISIONED: (Spread.TOKENS, Spread.LIST_COST, Spread.NONE),
        Commits.PLAN: (Spread.SEATS, Spread.TOKENS, Spread.LIST_COST, Spread.NONE),
        Commits.MINIMUM: (Spread.NONE,),
    }
)
"""What each kind can be spread by; the first is the default."""


class Rates(Protocol):
    """Exchange rates of a price file."""

    def usd(self, currency: str, at_ns: int) -> Fraction | None:
        """Return USD for one of the currency at the moment; None if there is no rate."""


@dataclass(frozen=True, slots=True)
class Commitment:
    """A commitment of the price file; the places in `matches` share it.

    `price` is of one unit or seat for a `per`, in `currency`. `capacity`: input and output tokens a
    minute of one unit; without it whatever is used is all of it. `department`: whose the unused
    part is. Lines of one `name` follow each other in time.
    """

    name: str
    kind: Commits
    matches: tuple[Match, ...]
    price: Fraction
    per: str
    units: int
    currency: str
    spread: Spread
    capacity: Mapping[str, int]
    department: str
    line: int

    @property
    def match(self) -> Match:
        """The first of the places it is for; all have the same times."""
        return self.matches[0]

    def is_for(self, kind: Kind) -> bool:
        """Whether it is for such calls at some time."""
        return any(each.is_for(kind) for each in self.matches)

    def holds(self, at_ns: int) -> bool:
        """Whether it holds at the moment."""
        return self.match.holds(at_ns)

    @property
    def place(self) -> dict[str, str]:
        """Return what the ledger can say of the place of a part that nobody used."""
        exact = {
            "provider_name": {each.provider for each in self.matches},
            "endpoint_id": {each.endpoint for each in self.matches},
            "model_name": {each.model for each in self.matches},
        }
        return {
            column: next(iter(names)) if len(names) == 1 and not is_glob(min(names)) else ""
            for column, names in exact.items()
        }

    def seconds_of(self, day: date) -> int:
        """Return how many seconds of a day (UTC) it holds."""
        start = _start(day)
        first = max(self.match.from_ns // 10**9, start)
        last = min(self.match.to_ns // 10**9, start + DAY_SECONDS)
        return max(last - first, 0)

    def cost_picousd(self, day: date, rates: Rates) -> int:
        """Return what a day (UTC) costs; the days of a month add up to it, rounded once.

        A minimum has no cost of a day: see `least_picousd`.
        """
        if self.kind is Commits.MINIMUM:
            return 0
        days = [day.replace(day=number) for number in range(1, day.day + 1)]
        *before, today = (self._exact_picousd(each, rates) for each in days)
        until = sum(before, Fraction(0))
        return int((until + today) // 1 - until // 1)

    def _exact_picousd(self, day: date, rates: Rates) -> Fraction:
        seconds = self.seconds_of(day)
        if not seconds:
            return Fraction(0)
        of_period = {"hour": 3600, "day": DAY_SECONDS, "month": DAY_SECONDS * _days_in_month(day)}
        return self._rate(day, rates) * seconds / of_period[self.per]

    def least_picousd(self, day: date, rates: Rates) -> int:
        """Return what the month that ends with the day costs at least; 0 on any other day."""
        is_last = day.day == _days_in_month(day)
        end_ns = (_start(day) + DAY_SECONDS) * 10**9 - 1
        is_due = self.kind is Commits.MINIMUM and is_last and self.holds(end_ns)
        return round(self._rate(day, rates)) if is_due else 0

    def _rate(self, day: date, rates: Rates) -> Fraction:
        """Return the price of all units for a period, in pico-dollars, at the day's rate."""
        at_ns = max(_start(day) * 10**9, self.match.from_ns)
        usd = rates.usd(self.currency, at_ns) or Fraction(0)  # `parse` has checked that it is there
        return self.price * self.units * usd * PICOUSD


def parse(entry: Any, at: KeyPath, lines: Lines, rates: Rates) -> Commitment:
    """Return the commitment of an entry. Raises `ConfigError`."""
    fields.check(entry, at, lines, KEYS, *NEEDED)
    kind = _choice(entry, "kind", tuple(Commits), at, lines)
    matches = tuple(fields.match(each, at, lines) for each in fields.models(entry, at, lines))
    if kind is not Commits.MINIMUM and not _names_calls(matches[0]):
        raise lines.error(at, "is for all calls there are: give a provider, endpoint or model")
    per = _choice(entry, "per", PERIODS, at, lines)
    if kind is Commits.MINIMUM and per != "month":
        raise lines.error((*at, "per"), "a minimum is of a month")
    spreads = SPREADS[kind]
    spread = _choice(entry, "spread", spreads, at, lines) if "spread" in entry else spreads[0]
    capacity = _capacity(entry, at, lines)
    if capacity and (kind is not Commits.PROVISIONED or spread is Spread.NONE):
        raise lines.error((*at, "capacity"), "is of provisioned throughput that is spread")
    currency = fields.text(entry, "currency", at, lines) or USD
    if rates.usd(currency, matches[0].from_ns) is None:
        raise lines.error(
            (*at, "currency"),
            f"{currency!r} has no rate on {entry['from']}: add it to 'currencies'",
        )
    return Commitment(
        name=fields.text(entry, "name", at, lines).lower(),
        kind=kind,
        matches=matches,
        price=fields.number(entry, "price", at, lines),
        per=per,
        units=fields.whole(entry, "units", at, lines, "units") if "units" in entry else 1,
        currency=currency,
        spread=spread,
        capacity=capacity,
        department=fields.text(entry, "department", at, lines),
        line=lines.line(at),
    )


def _names_calls(match: Match) -> bool:
    return bool(match.provider or match.endpoint or match.conditions or match.model != "*")


def _choice(
    entry: dict[str, Any], key: str, names: Sequence[Name], at: KeyPath, lines: Lines
) -> Name:
    value = entry[key]
    if value not in names:
        raise lines.error((*at, key), f"must be one of {', '.join(names)}; got {value!r}")
    return next(name for name in names if name == value)


def _capacity(entry: dict[str, Any], at: KeyPath, lines: Lines) -> Mapping[str, int]:
    if "capacity" not in entry:
        return {}
    where, capacity = (*at, "capacity"), entry["capacity"]
    if not isinstance(capacity, dict) or not capacity:
        raise lines.error(where, "must map input and output to tokens a minute of one unit")
    lines.check_keys(where, capacity, CAPACITY_KEYS)
    return {key: fields.whole(capacity, key, where, lines) for key in capacity}


def refuse_overlaps(commitments: Sequence[Commitment], lines: Lines) -> None:
    """Raise `ConfigError` for two lines of one name that overlap in time, or differ in kind."""
    by_name: dict[str, list[Commitment]] = {}
    for each in commitments:
        for other in by_name.setdefault(each.name, []):
            if other.kind is not each.kind:
                raise lines.error(
                    ("commitments",),
                    f"line {each.line} and line {other.line} are both named {each.name!r} and are"
                    f" of different kinds, {each.kind} and {other.kind}",
                )
            if each.match.from_ns < other.match.to_ns and other.match.from_ns < each.match.to_ns:
                raise lines.error(
                    ("commitments",),
                    f"line {each.line} and line {other.line} are both named {each.name!r} and hold"
                    " at the same time: end one of them with 'to', or give it another name",
                )
        by_name[each.name].append(each)


def covering(commitments: Sequence[Commitment], kind: Kind, at_ns: int) -> str:
    """Return the name of the provisioned commitment that pays for such calls; empty: none does."""
    lines = [
        (match.rank, each.name)
        for each in commitments
        if each.kind is Commits.PROVISIONED and each.holds(at_ns)
        for match in each.matches
        if match.is_for(kind)
    ]
    return max(lines)[1] if lines else ""


def days_between(first: date, last: date) -> Iterator[date]:
    """Yield the days from the first to the last, both included."""
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)


def _start(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp())


def _days_in_month(day: date) -> int:
    return calendar.monthrange(day.year, day.month)[1]
