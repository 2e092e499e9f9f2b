"""Which calls are meant, and the FROM and WHERE of every read of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tallyspan_clickhouse.moments import microseconds, sql_moment
from tallyspan_clickhouse.query.access import EVERYTHING, Access
from tallyspan_clickhouse.query.errors import RequestError
from tallyspan_clickhouse.schema import SCHEMA

Parameters = dict[str, Any]
FILTERS: Mapping[str, str] = {
    dimension.filter: column.name for dimension, column in SCHEMA.dimensions.items()
}
"""Name of a filter -> column of `calls`."""


@dataclass(slots=True, frozen=True, init=False)
class Filters:
    """Which calls are meant: `Filters(user_id="ada", start=...)`, a name for each of FILTERS.

    A name that is not there or None: any value; the empty string: calls where it is unknown.
    `start` is included, `end` is not; both are aware UTC. `tags` all have to be there; `access` is
    what the reader may see. Raises RequestError for an unknown name, and if start >= end.
    """

    values: Mapping[str, str]
    tags: tuple[tuple[str, str], ...]
    access: Access
    start: datetime | None
    end: datetime | None

    def __init__(
        self,
        values: Mapping[str, str] | None = None,
        *,
        tags: tuple[tuple[str, str], ...] = (),
        access: Access = EVERYTHING,
        start: datetime | None = None,
        end: datetime | None = None,
        **named: str | None,
    ) -> None:
        unknown = [name for name in (*(values or {}), *named) if name not in FILTERS]
        if unknown:
            raise RequestError(f"unknown filter {unknown[0]!r}: there are {', '.join(FILTERS)}")
        if start is not None and end is not None and start >= end:
            raise RequestError(
                "start_date must be before end_date:"
                f" {start.isoformat()} is not before {end.isoformat()}"
            )
        both = {**(values or {}), **named}
        # In the order of the schema: what asks for the same has one text, and one cursor.
        wanted = {name: both[name] for name in FILTERS if both.get(name) is not None}
        for field, value in (
            ("values", wanted), ("tags", tags), ("access", access), ("start", start), ("end", end)
        ):  # fmt: skip
            object.__setattr__(self, field, value)

    def get(self, name: str) -> str | None:
        """Return the value of a filter, None if it lets everything through."""
        return self.values.get(name)

    def columns(self) -> set[str]:
        """Return the columns of `calls` that the filters look at, but for the time."""
        limits = {"department": self.access.departments, "tenant": self.access.tenants}
        return (
            {FILTERS[name] for name in self.values}
            | {column for column, names in limits.items() if names}
            | ({"tags"} if self.tags else set())
        )

    def only(self, columns: frozenset[str]) -> "Filters":
        """Return those of the filters that look at these columns, and no time."""
        values = {name: value for name, value in self.values.items() if FILTERS[name] in columns}
        return Filters(values, tags=self.tags if "tags" in columns else (), access=self.access)

    def between(self, start: datetime | None, end: datetime | None) -> "Filters":
        """Return the same filters with another range."""
        return Filters(self.values, tags=self.tags, access=self.access, start=start, end=end)


def source(
    view: str, filters: Filters, time: str | None = "start_time", *conditions: str
) -> tuple[str, Parameters]:
    """Return `FROM view AS c WHERE ...` and its parameters: the one way views are read.

    The condition has what the reader may see, the filters, their range by the column `time` (None:
    any time), and further `conditions`. Raises KeyError for what is no view of the schema.
    """
    where, parameters = condition(view, filters, time)
    return f"FROM {view} AS c WHERE {' AND '.join((where, *conditions))}", parameters


def condition(
    view: str, filters: Filters, time: str | None = "start_time", alias: str = "c"
) -> tuple[str, Parameters]:
    """Return the condition of `source` alone, on rows `alias`, and its parameters."""
    parts = [filters.access.condition(view, alias)]
    parameters: Parameters = dict(filters.access.parameters())
    for name, value in filters.values.items():
        parts.append(f"{alias}.{FILTERS[name]} = {{{name}:String}}")
        parameters[name] = value
    for number, (key, value) in enumerate(filters.tags):
        # A call without the key has an empty value: `tag=project:` asks for those too.
        parts.append(f"{alias}.tags[{{tag_key_{number}:String}}] = {{tag_{number}:String}}")
        parameters |= {f"tag_key_{number}": key, f"tag_{number}": value}
    if time is not None:
        for name, operator, moment in (("start", ">=", filters.start), ("end", "<", filters.end)):
            if moment is not None:
                parts.append(f"{alias}.{time} {operator} {sql_moment(f'{name}_us')}")
                parameters[f"{name}_us"] = microseconds(moment)
    return " AND ".join(parts), parameters


def names_in(text: str, allowed: Sequence[str], parameter: str) -> tuple[str, ...]:
    """Return the names of a list with commas. Raises RequestError for unknown or repeated ones."""
    names = tuple(text.split(","))
    if not set(names) <= set(allowed) or len(set(names)) != len(names):
        raise RequestError(
            f"{parameter} must be one or several different ones of {', '.join(allowed)}, not"
            f" {text[:60]!r}"
        )
    return names
