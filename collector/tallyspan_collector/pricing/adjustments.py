"""What a price file has beside whole prices: fees, factors, allowances, settings, open doubts."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tallyspan.conditions import BY_NAME as CONDITIONS
from tallyspan.meters import BY_PRICE_KEY, Meter
from tallyspan_collector.files.strict_yaml import KeyPath, Lines
from tallyspan_collector.pricing import fields
from tallyspan_collector.pricing.match import SERVICE_TIER, Conditions, Match
from tallyspan_collector.pricing.origin import NOTES, Origin, origin

MILLION = 10**6
WHERE_KEYS = (
    "model", "provider", "endpoint", SERVICE_TIER, *CONDITIONS, "days", "hours", "from", "to",
)  # fmt: skip
_RELATIVE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,9})?) x ([a-z0-9_]+)")


@dataclass(frozen=True, slots=True)
class Fee:
    """The price of a meter beside whatever price applies.

    `usd` for one; None: `times` the price of the meter `of`. It counts where the price has none for
    the meter; if the line is about a condition or a tier, it takes the place of the price's own.
    """

    match: Match
    meter: Meter
    usd: Fraction | None
    times: Fraction
    of: Meter | None
    note: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Factor:
    """What all classes of tokens are multiplied by."""

    match: Match
    times: Fraction
    note: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Setting:
    """Conditions of calls that nobody reports."""

    match: Match
    values: Conditions
    origin: Origin


@dataclass(frozen=True, slots=True)
class Doubt:
    """A flag for calls of which nobody has decided something.

    `instead` are the conditions with which they have their other price.
    """

    match: Match
    flag: str
    instead: Conditions
    origin: Origin


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much of a meter is free in each period (`day` or `month`, UTC).

    Lines of one `group` share their allowance. `at_most`: of one call. `per`: each endpoint,
    service or source (the ingest key) has its own; empty: each tenant.
    """

    match: Match
    meter: Meter
    free: int
    every: str
    group: str
    at_most: int
    origin: Origin
    per: str = ""


PERIODS = ("day", "month")
ALLOWANCE_OWNERS = ("endpoint", "service", "source")


def allowance(entry: Any, at: KeyPath, lines: Lines) -> Allowance:
    """Return the allowance of an entry. Raises `ConfigError`."""
    keys = ("meter", "free", "every", "group")
    fields.check(entry, at, lines, (*WHERE_KEYS, *keys, "at_most", "per", *NOTES), *keys)
    meter = BY_PRICE_KEY.get(fields.text(entry, "meter", at, lines))
    if meter is None or meter.free is None:
        able = ", ".join(each.price_key for each in BY_PRICE_KEY.values() if each.free)
        raise lines.error((*at, "meter"), f"must be one of {able}; got {entry['meter']!r}")
    if entry["every"] not in PERIODS:
        raise lines.error((*at, "every"), f"must be day or month; got {entry['every']!r}")
    if "per" in entry and entry["per"] not in ALLOWANCE_OWNERS:
        names = ", ".join(ALLOWANCE_OWNERS)
        raise lines.error((*at, "per"), f"must be one of {names}; got {entry['per']!r}")
    return Allowance(
        match=fields.match(entry, at, lines),
        meter=meter,
        free=fields.whole(entry, "free", at, lines),
        every=entry["every"],
        group=fields.text(entry, "group", at, lines),
        at_most=fields.whole(entry, "at_most", at, lines) if "at_most" in entry else 1 << 53,
        origin=origin(entry, at, lines),
        per=fields.text(entry, "per", at, lines),
    )


def fees(entry: Any, at: KeyPath, lines: Lines) -> list[Fee]:
    """Return the prices of the entry's meters. Raises `ConfigError`."""
    fields.check(entry, at, lines, (*WHERE_KEYS, *BY_PRICE_KEY, *NOTES))
    match = fields.match(entry, at, lines)
    keys = [key for key in entry if key in BY_PRICE_KEY]
    if not keys:
        raise lines.error(at, f"no meter has a price here: give one of {', '.join(BY_PRICE_KEY)}")
    return [_fee(entry, key, match, at, lines) for key in keys]


def _fee(entry: dict[str, Any], key: str, match: Match, at: KeyPath, lines: Lines) -> Fee:
    meter, value = BY_PRICE_KEY[key], entry[key]
    relative = _RELATIVE.fullmatch(value) if isinstance(value, str) else None
    if relative is not None:
        of = BY_PRICE_KEY.get(relative[2])
        if of is None or of.is_tokens != meter.is_tokens:
            raise lines.error((*at, key), f"{relative[2]!r} is no meter that this can be a part of")
        note = f" {key}={relative[1]}x{of.price_key}"
        return Fee(match, meter, None, Fraction(relative[1]), of, note, origin(entry, at, lines))
    usd = fields.number(entry, key, at, lines)
    if meter.is_tokens:
        usd /= MILLION
    return Fee(match, meter, usd, Fraction(1), None, "", origin(entry, at, lines))


def factor(entry: Any, at: KeyPath, lines: Lines) -> Factor:
    """Return the factor of an entry. Raises `ConfigError`."""
    fields.check(entry, at, lines, (*WHERE_KEYS, "times", *NOTES), "times")
    match = fields.match(entry, at, lines)
    if not match.conditions_named:
        named = ", ".join((SERVICE_TIER, *CONDITIONS))
        raise lines.error(at, f"is about no condition: give one of {named}, or use 'uplifts'")
    names = ",".join(sorted(f"{name}={value}" for name, value in about(match)))
    times = fields.times(entry, at, lines)
    return Factor(
        match, times, f" x{entry['times'].normalize():f} {names}", origin(entry, at, lines)
    )


def about(match: Match) -> Conditions:
    """Return the conditions, and the tier, that a line is about, with their patterns."""
    return (*match.conditions, *(((SERVICE_TIER, match.tier),) if match.tier else ()))


def setting(entry: Any, at: KeyPath, lines: Lines) -> Setting:
    """Return the conditions that an entry sets. Raises `ConfigError`."""
    fields.check(entry, at, lines, (*WHERE_KEYS, "set", *NOTES), "set")
    values = _values(entry, "set", at, lines)
    return Setting(fields.match(entry, at, lines), values, origin(entry, at, lines))


def doubt(entry: Any, at: KeyPath, lines: Lines) -> Doubt:
    """Return the doubt of an entry. Raises `ConfigError`."""
    fields.check(entry, at, lines, (*WHERE_KEYS, "flag", "instead", *NOTES), "flag", "instead")
    return Doubt(
        match=fields.match(entry, at, lines),
        flag=fields.text(entry, "flag", at, lines),
        instead=_values(entry, "instead", at, lines),
        origin=origin(entry, at, lines),
    )


def _values(entry: dict[str, Any], key: str, at: KeyPath, lines: Lines) -> Conditions:
    values = entry[key]
    names = ", ".join(CONDITIONS)
    if not isinstance(values, dict) or not values:
        raise lines.error((*at, key), f"must map conditions to values; conditions are {names}")
    lines.check_keys((*at, key), values, tuple(CONDITIONS))
    return tuple(
        sorted((name, fields.text(values, name, (*at, key), lines).lower()) for name in values)
    )


def refuse_contradictions(factors: list[Factor], lines: Lines) -> None:
    """Raise `ConfigError` for two factors of the same calls, at one time, that differ."""
    by_place: dict[tuple[object, ...], list[Factor]] = {}
    for each in factors:
        where = each.match
        place = (where.model, where.provider, where.endpoint, where.tier, where.conditions)
        for other in by_place.setdefault((*place, where.days, where.hours), []):
            is_apart = where.from_ns >= other.match.to_ns or other.match.from_ns >= where.to_ns
            if not is_apart and other.times != each.times:
                raise lines.error(
                    ("factors",),
                    f"line {each.origin.line} and line {other.origin.line} multiply the same calls"
                    f" by {float(each.times):g} and {float(other.times):g}:"
                    " end one of them with 'to'",
                )
        by_place[(*place, where.days, where.hours)].append(each)
