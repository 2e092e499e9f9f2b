"""A file of people, CSV or YAML -> periods; what is wrong is refused by file and line."""

import csv
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from tallyspan_collector.directory.period import ALWAYS, FURTHER_NOTICE, Period
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files import strict_yaml
from tallyspan_collector.files.nearest import hint

COLUMNS = (
    "user", "department", "cost_centre", "display_name", "valid_from", "valid_to", "tenant",
)  # fmt: skip
MAX_CHARACTERS = 1_000
"""Of a name or an id."""
_Line = tuple[str, Mapping[str, Any]]


def read(path: Path) -> list[Period]:
    """Return the periods of a .csv, .yaml or .yml file, ordered by person and day.

    Raises `ConfigError` for a row with a missing or impossible value, and for two rows that hold
    for one person on one day.
    """
    match path.suffix.lower():
        case ".csv":
            rows = _csv(path)
        case ".yaml" | ".yml":
            rows = _yaml(path)
        case _:
            raise ConfigError(f"{path}: must be a .csv, .yaml or .yml file")
    return periods(rows)


def periods(rows: Iterator[_Line]) -> list[Period]:
    """Return the periods of rows, each with the place to name when it is refused."""
    by_person: dict[tuple[str, str], list[tuple[str, Period]]] = {}
    for place, row in rows:
        period = _period(place, row)
        for other_place, other in by_person.setdefault(period.person, []):
            if period.overlaps(other):
                raise ConfigError(
                    f"{place}: {period.user_id!r} already has a department on"
                    f" {max(period.valid_from, other.valid_from)}, by {other_place}: end one"
                    " before the other begins (valid_to is the last day)"
                )
        by_person[period.person].append((place, period))
    return sorted(period for each in by_person.values() for _, period in each)


def _csv(path: Path) -> Iterator[_Line]:
    try:
        # Spreadsheets write a mark in front, and semicolons where the comma is for decimals.
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            separator = ";" if head.count(";") > head.count(",") else ","
            reader = csv.reader(file, delimiter=separator, strict=True)
            names = [name.strip().lower() for name in next(reader, [])]
            _check_names(f"{path}:1", names)
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                place = f"{path}:{reader.line_num}"
                if len(cells) != len(names):
                    raise ConfigError(
                        f"{place}: {len(cells)} cells, the first line has {len(names)} names"
                    )
                yield place, dict(zip(names, cells, strict=True))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except csv.Error as error:
        raise ConfigError(f"{path}: not CSV: {error}") from None


def _yaml(path: Path) -> Iterator[_Line]:
    content, lines = strict_yaml.load(path)
    lines.check_keys((), content, ("people",))
    people = content.get("people")
    if not isinstance(people, list):
        raise ConfigError(f"{path}:1: must have a list under 'people'")
    for number, row in enumerate(people):
        key_path: strict_yaml.KeyPath = ("people", number)
        if not isinstance(row, dict):
            raise lines.error(key_path, "must have keys and values: user, department, ...")
        lines.check_keys(key_path, row, COLUMNS)
        for name, value in row.items():
            if not isinstance(value, str):
                # 0042 is read as a number, and its zeros are gone
                raise lines.error((*key_path, name), f"must be text: put it in quotes ({value})")
        yield f"{path}:{lines.line(key_path)}", row


def _check_names(place: str, names: list[str]) -> None:
    for name in names:
        if name not in COLUMNS:
            raise ConfigError(f"{place}: unknown column {name!r}; {hint(name, COLUMNS)}")
        if names.count(name) > 1:
            raise ConfigError(f"{place}: column {name!r} stands here twice")
    for name in ("user", "department"):
        if name not in names:
            raise ConfigError(f"{place}: there is no column {name!r}; it begins with the names")


def _period(place: str, row: Mapping[str, Any]) -> Period:
    values = {name: str(row.get(name) or "").strip() for name in COLUMNS}
    for name, value in values.items():
        if len(value) > MAX_CHARACTERS:
            raise ConfigError(f"{place}: {name}: {len(value)} characters, {MAX_CHARACTERS} at most")
        if any(ord(character) < 32 for character in value):  # noqa: PLR2004  control characters
            raise ConfigError(f"{place}: {name}: has a control character in it: {value!r}")
    for name in ("user", "department"):
        if not values[name]:
            raise ConfigError(f"{place}: {name}: is empty")
    first = _day(place, "valid_from", values["valid_from"]) or ALWAYS
    last = _day(place, "valid_to", values["valid_to"]) or FURTHER_NOTICE
    if last < first:
        raise ConfigError(f"{place}: valid_to {last} is before valid_from {first}")
    return Period(
        values["tenant"],
        values["user"],
        first,
        last,
        values["department"],
        values["cost_centre"],
        values["display_name"],
    )


def _day(place: str, name: str, text: str) -> date | None:
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{place}: {name}: must be a day like 2026-01-31, not {text!r}") from None
    if not ALWAYS <= day <= FURTHER_NOTICE:
        raise ConfigError(f"{place}: {name}: must be from {ALWAYS} to {FURTHER_NOTICE}, not {text}")
    return day
