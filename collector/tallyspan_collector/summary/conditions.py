"""Filters -> the text of a WHERE, with everything a person typed as a bound parameter."""

from typing import Any

from tallyspan_collector.summary.question import DIMENSIONS, Filters
from tallyspan_collector.summary.times import microseconds

Parameters = dict[str, Any]


def conditions(filters: Filters, time_column: str | None = "start_time") -> tuple[str, Parameters]:
    """Return the condition on the table or view `c`, and its parameters; no time column: any time.

    A start is included, an end is not.
    """
    parts = ["true"]
    parameters: Parameters = {}
    for each in DIMENSIONS:
        value = getattr(filters, each.filter)
        if value is not None:
            parts.append(f"c.{each.column} = {{{each.filter}:String}}")
            parameters[each.filter] = value
    for number, (key, value) in enumerate(filters.tags):
        # A call without the key has an empty value: `tag=project:` asks for those too.
        parts.append(f"c.tags[{{tag_key_{number}:String}}] = {{tag_{number}:String}}")
        parameters |= {f"tag_key_{number}": key, f"tag_{number}": value}
    if filters.departments:
        parts.append("c.department IN {departments:Array(String)}")
        parameters["departments"] = list(filters.departments)
    if time_column is not None:
        for name, operator, moment in (("start", ">=", filters.start), ("end", "<", filters.end)):
            if moment is not None:
                parts.append(f"c.{time_column} {operator} {at(f'{name}_us')}")
                parameters[f"{name}_us"] = microseconds(moment)
    return " AND ".join(parts), parameters


def at(parameter: str) -> str:
    """Return the moment that a parameter holds in microseconds since 1970."""
    # An integer, because a bound DateTime64 is read in the server's own time zone.
    return f"fromUnixTimestamp64Micro({{{parameter}:Int64}}, 'UTC')"
