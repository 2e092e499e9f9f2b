"""Values of a price file, each checked once; every error names file, line and key."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tallyspan.conditions import BY_NAME as CONDITIONS
from tallyspan_collector.files.strict_yaml import KeyPath, Lines
from tallyspan_collector.pricing.match import ALWAYS, Match
from tallyspan_collector.pricing.tier import STANDARD_TIERS, tier_name

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_ALL = Fraction(100)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MAX_FACTOR = 100


def items(
    content: dict[str, Any], key: str, lines: Lines, at: KeyPath = ()
) -> Iterator[tuple[KeyPath, Any]]:
    """Yield the entries of a list, each with where it stands; none if the list is not there."""
    entries = content.get(key, [])
    if not isinstance(entries, list):
        raise lines.error((*at, key), "must be a list of entries, each beginning with '- '")
    for number_, entry in enumerate(entries):
        yield (*at, key, number_), entry


def check(entry: Any, at: KeyPath, lines: Lines, allowed: tuple[str, ...], *needed: str) -> None:
    """Raise `ConfigError` if the entry is no mapping, has an unknown key or lacks one."""
    if not isinstance(entry, dict):
        raise lines.error(at, f"must be a mapping with {', '.join(needed)} ...; got {entry!r}")
    lines.check_keys(at, entry, allowed)
    for key in needed:
        if key not in entry:
            raise lines.error(at, f"{key!r} is missing")


def match(entry: dict[str, Any], at: KeyPath, lines: Lines) -> Match:
    """Return where and when the entry applies."""
    from_ns = _moment(entry, "from", at, lines, ALWAYS[0])
    to_ns = _moment(entry, "to", at, lines, ALWAYS[1])
    if from_ns >= to_ns:
        raise lines.error((*at, "to"), "must be later than 'from' ('to' itself is excluded)")
    tier = text(entry, "service_tier", at, lines).lower()
    return Match(
        model=text(entry, "model", at, lines) or "*",
        provider=text(entry, "provider", at, lines),
        endpoint=text(entry, "endpoint", at, lines),
        tier="standard" if tier in STANDARD_TIERS - {""} else tier_name(tier),
        conditions=tuple(
            (name, text(entry, name, at, lines).lower())
            for name in sorted(CONDITIONS)
            if name in entry
        ),
        days=_days(entry, at, lines),
        hours=_hours(entry, at, lines),
        from_ns=from_ns,
        to_ns=to_ns,
    )


def text(entry: dict[str, Any], key: str, at: KeyPath, lines: Lines) -> str:
    """Return the text, empty if it is not there."""
    value = entry.get(key, "")
    if not isinstance(value, str) or (key in entry and not value):
        raise lines.error((*at, key), f"must be text; got {value!r}")
    return value


def number(entry: dict[str, Any], key: str, at: KeyPath, lines: Lines) -> Fraction:
    """Return a price, exact."""
    value = entry[key]
    if not isinstance(value, Decimal) or not value.is_finite() or value < 0 or value > 10**9:
        raise lines.error(
            (*at, key),
            f"must be a number of USD, 0 or more, written out as in 0.0000001; got {value!s}",
        )
    return Fraction(value)


def whole(entry: dict[str, Any], key: str, at: KeyPath, lines: Lines, of: str = "tokens") -> int:
    """Return a count, 1 or more; `of` is what is counted."""
    value = entry[key]
    if not isinstance(value, Decimal) or value != value.to_integral_value() or value <= 0:
        raise lines.error((*at, key), f"must be a whole number of {of}; got {value!s}")
    return int(value)


def percent(entry: dict[str, Any], key: str, at: KeyPath, lines: Lines) -> Fraction | None:
    """Return percent, 0 to 100; None if it is not there."""
    if key not in entry:
        return None
    value = number(entry, key, at, lines)
    if value > _ALL:
        raise lines.error((*at, key), f"must be 0 to 100; got {entry[key]}")
    return value


def times(entry: dict[str, Any], at: KeyPath, lines: Lines) -> Fraction:
    """Return the factor `times`: 0 to 100."""
    value = number(entry, "times", at, lines)
    if value > _MAX_FACTOR:
        raise lines.error((*at, "times"), f"must be 0 to {_MAX_FACTOR}; got {entry['times']}")
    return value


def models(entry: Any, at: KeyPath, lines: Lines) -> list[Any]:
    """Return the entry once for each model it names: `model` may be a list."""
    names = entry.get("model") if isinstance(entry, dict) else None
    if not isinstance(names, list):
        return [entry]
    if not names:
        raise lines.error((*at, "model"), "must be a model, or a list of models; got an empty list")
    return [entry | {"model": name} for name in names]


def _days(entry: dict[str, Any], at: KeyPath, lines: Lines) -> tuple[int, ...]:
    """Return the days of the week, Monday is 0: `mon-fri`, `sat`, `fri-mon`."""
    if "days" not in entry:
        return ()
    first, dash, last = str(entry["days"]).lower().partition("-")
    if first not in _DAYS or (last or first) not in _DAYS or (dash and not last):
        raise lines.error(
            (*at, "days"),
            f"must be days of the week (UTC) like mon-fri or sun; got {entry['days']}",
        )
    start, end = _DAYS.index(first), _DAYS.index(last or first)
    return tuple(sorted((start + n) % 7 for n in range((end - start) % 7 + 1)))


def _moment(entry: dict[str, Any], key: str, at: KeyPath, lines: Lines, default: int) -> int:
    if key not in entry:
        return default
    value = str(entry[key])
    try:
        if len(value) == len("2026-01-31"):
            return int(datetime.combine(date.fromisoformat(value), time(), UTC).timestamp()) * 10**9
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = datetime.min  # noqa: DTZ901  has no zone, and so is refused below
    if moment.tzinfo is None:
        raise lines.error(
            (*at, key),
            "must be a date like 2026-01-31 (UTC) or a time with its zone like"
            f" 2026-01-31T12:00:00Z; got {value}",
        )
    return int(moment.timestamp()) * 10**9


def _hours(entry: dict[str, Any], at: KeyPath, lines: Lines) -> tuple[int, int] | None:
    if "hours" not in entry:
        return None
    parts = _HOURS.fullmatch(str(entry["hours"]))
    if parts is None or parts[1] + parts[2] == parts[3] + parts[4]:
        raise lines.error(
            (*at, "hours"),
            f"must be hours of the day in UTC like 16:30-00:30; got {entry['hours']}",
        )
    start, start_minute, end, end_minute = map(int, parts.groups())
    return start * 3600 + start_minute * 60, end * 3600 + end_minute * 60
