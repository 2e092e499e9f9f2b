"""A question -> the query of its parts: whole days or hours from a rollup, the rest from calls."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tallyspan_collector.summary.conditions import Parameters, at, conditions
from tallyspan_collector.summary.currency import BY_RATE, rate_number
from tallyspan_collector.summary.measures import PARTS
from tallyspan_collector.summary.question import BUCKETS, COLUMNS, TAG, Filters
from tallyspan_collector.summary.times import EPOCH, has_whole_hours, microseconds

# The rollups' DateTime ends in 2106; what claims to be later is asked of `calls` alone.
ROLLUPS_END = EPOCH.replace(year=2100)
# Text of a bucket from a column of time; hours as seconds since 1970, for a day may have two of
# the same name. They begin where the minutes of the zone's clock do: `toStartOfHour` is wrong
# where a clock is changed by half an hour.
_BUCKET_TEXT: Mapping[str, str] = {
    "hour": "toUnixTimestamp64Second(toDateTime64({time}, 0, 'UTC'))"
    " - toMinute({time}, {{zone:String}}) * 60 - toSecond({time}, {{zone:String}})",
    "day": "toString(toDate({time}, {{zone:String}}))",
    "week": "toString(toMonday({time}, {{zone:String}}))",
    "month": "substring(toString(toStartOfMonth({time}, {{zone:String}})), 1, 7)",
}


@dataclass(slots=True, frozen=True)
class Rollup:
    """A view that is already added up by `column`: its unit, and the columns it can tell."""

    view: str
    column: str
    unit: timedelta
    columns: frozenset[str]

    def can_answer(self, asked: "Asked") -> bool:
        """Return whether everything that is asked for is in the view."""
        if not asked.columns() <= self.columns:
            return False
        if not asked.buckets:
            return True
        if self.unit == timedelta(days=1):
            return asked.zone == "UTC" and "hour" not in asked.buckets
        return has_whole_hours(asked.zone, asked.filters.start, asked.filters.end)


_DAY = timedelta(days=1)
_BOTH = {"tenant", "department", "model_name", "endpoint_id", "provider_name", "service_name"}
# Those of fewer rows first.
ROLLUPS = (
    Rollup(
        "usage_by_service",
        "day",
        _DAY,
        frozenset({"tenant", "department", "service_name", "source"}),
    ),
    Rollup("usage_by_agent", "day", _DAY, frozenset({"tenant", "department", "agent_id"})),
    Rollup(
        "usage_totals",
        "day",
        _DAY,
        frozenset({"tenant", "department", "model_name", "endpoint_id", "provider_name"}),
    ),
    Rollup("usage_by_user", "day", _DAY, frozenset({"tenant", "department", "user_id"})),
    Rollup("usage_daily", "day", _DAY, frozenset(_BOTH | {"user_id"})),
    Rollup(
        "usage_hourly",
        "hour",
        timedelta(hours=1),
        frozenset(_BOTH | {"agent_id", "operation_name", "service_tier", "error_type", "source"}),
    ),
)


@dataclass(slots=True, frozen=True)
class Asked:
    """What sums are asked for: which calls, by what; `contains` is part of the first group.

    `rate_bounds` are when rates of a second currency begin: the cost is then added up by rate too.
    `is_named`: not those where nobody said the first group.
    """

    filters: Filters
    groups: tuple[str, ...] = ()
    zone: str = "UTC"
    contains: str = ""
    rate_bounds: tuple[int, ...] = ()
    is_named: bool = False

    @property
    def buckets(self) -> tuple[str, ...]:
        """Return the groups that are pieces of time."""
        return tuple(name for name in self.groups if name in BUCKETS)

    def columns(self) -> set[str]:
        """Return the columns of calls that have to be there."""
        grouped = {COLUMNS.get(name, "tags") for name in self.groups if name not in BUCKETS}
        return grouped | self.filters.columns()

    def conditions(self, time_column: str | None) -> tuple[str, Parameters]:
        """Return the condition and every parameter the query can need."""
        where, parameters = conditions(self.filters, time_column)
        if self.buckets:
            parameters["zone"] = self.zone
        for number, name in enumerate(self.groups):
            if name.startswith(TAG):
                parameters[f"group_{number}"] = name.removeprefix(TAG)
        if self.rate_bounds:
            parameters["rate_bounds"] = list(self.rate_bounds)
        if self.contains:
            column = COLUMNS[self.groups[0]]
            where += f" AND positionCaseInsensitiveUTF8(c.{column}, {{contains:String}}) > 0"
            parameters["contains"] = self.contains
        if self.is_named:
            where += f" AND c.{COLUMNS[self.groups[0]]} != ''"
        return where, parameters

    def keys(self, time: str) -> str:
        """Return the groups as columns g0, g1, ...; `time` is the column their buckets are of."""
        return "".join(f"{self.key(n, time)} AS g{n}, " for n in range(len(self.groups)))

    def key(self, number: int, time: str) -> str:
        """Return the text of one group."""
        name = self.groups[number]
        if name in BUCKETS:
            return _BUCKET_TEXT[name].format(time=f"c.{time}")
        if name.startswith(TAG):
            return f"c.tags[{{group_{number}:String}}]"
        return f"toString(c.{COLUMNS[name]})"


def parts(asked: Asked) -> tuple[str, Parameters]:
    """Return the query of the sums to add up, and its parameters."""
    for rollup in ROLLUPS:
        if rollup.can_answer(asked):
            first, stop = _whole(asked.filters, rollup.unit)
            if first is None or stop is None or first < stop:
                return _with_rollup(rollup, asked, first, stop)
    where, parameters = asked.conditions("start_time")
    return _of_calls(asked, where), parameters


def _whole(filters: Filters, unit: timedelta) -> tuple[datetime | None, datetime | None]:
    """Return the first and the end of the whole units inside the range; None: it has no bound."""
    first = filters.start and filters.start + (EPOCH - filters.start) % unit
    stop = filters.end and min(filters.end - (filters.end - EPOCH) % unit, ROLLUPS_END)
    return first, stop


def _with_rollup(
    rollup: Rollup, asked: Asked, first: datetime | None, stop: datetime | None
) -> tuple[str, Parameters]:
    filters = asked.filters
    where, parameters = replace(asked, filters=replace(filters, start=None, end=None)).conditions(
        None
    )
    whole, ends = where, []
    for name, bound, limit, inside, outside in (
        ("first", first, filters.start, ">=", "c.start_time >= {at} AND c.start_time < {bound}"),
        ("stop", stop, filters.end, "<", "c.start_time < {at} AND c.start_time >= {bound}"),
    ):
        if bound is None or limit is None:
            continue
        parameters[f"{name}_us"] = microseconds(bound)
        moment = at(f"{name}_us")
        as_unit = f"toDate({moment})" if rollup.column == "day" else moment
        whole += f" AND c.{rollup.column} {inside} {as_unit}"
        if bound != limit:
            parameters[f"{name}_end_us"] = microseconds(limit)
            ends.append(f"({outside.format(at=at(f'{name}_end_us'), bound=moment)})")
    found = [_of_rollup(rollup, asked, whole)]
    if ends:
        # Entries are in the columns of the rollups, and need no netting to be added up.
        at_ends = replace(rollup, view="usage_entries", column="start_time")
        found.append(_of_rollup(at_ends, asked, f"{where} AND ({' OR '.join(ends)})"))
    return " UNION ALL ".join(found), parameters


def _of_rollup(rollup: Rollup, asked: Asked, where: str) -> str:
    sums = {name: f"sum(c.{name})" for name in PARTS}
    # A day of UTC is a Date already, and is shifted to no zone.
    time = rollup.column
    keys = asked.keys(time)
    if time == "day":
        keys = keys.replace(", {zone:String}", "")
    return _select(asked, keys, sums, rollup.view, where, time)


def _of_calls(asked: Asked, where: str) -> str:
    return _select(asked, asked.keys("start_time"), PARTS, "calls", where, "start_time")


def _select(
    asked: Asked, keys: str, sums: Mapping[str, str], view: str, where: str, time: str
) -> str:
    # Nothing known adds nothing; the outer query knows how many calls said so. One type for both
    # halves: a union of signed and unsigned has no sum.
    columns = ", ".join(
        f"{known if name.endswith('cost_usd') else f'toInt64({known})'} AS {name}"
        for name, known in ((name, f"ifNull({text}, 0)") for name, text in sums.items())
    )
    if asked.rate_bounds:
        columns += f", sumMap([{rate_number(time)}], [ifNull(c.cost_usd, 0)]) AS {BY_RATE}"
    groups = len(asked.groups)
    by = f" GROUP BY {', '.join(f'g{n}' for n in range(groups))}" if groups else ""
    return f"SELECT {keys}{columns} FROM {view} AS c WHERE {where}{by}"  # noqa: S608  closed tables only
