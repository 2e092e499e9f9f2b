"""Sums of calls by groups: whole days and hours from rollups, the rest from entries or calls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tallyspan_clickhouse.moments import EPOCH, microseconds, sql_moment
from tallyspan_clickhouse.query.errors import RequestError
from tallyspan_clickhouse.query.filters import Filters, Parameters, source
from tallyspan_clickhouse.query.zones import MAX_ROLLUP_MOMENT, has_whole_hours
from tallyspan_clickhouse.schema import OF_NO_CALL, SCHEMA
from tallyspan_clickhouse.schema_types import DAY, HOUR, Rollup, time_of

GROUP_COLUMNS: Mapping[str, str] = {
    dimension.group: column.name for dimension, column in SCHEMA.dimensions.items()
}
"""Name of a group -> column of `calls`."""
BUCKETS = ("hour", "day", "week", "month")
GROUPS: tuple[str, ...] = (*GROUP_COLUMNS, *BUCKETS)
TAG = "tag:"
MAX_GROUPS = 6
BY_RATE = "cost_by_rate"
# Text of a bucket from a column of time; hours as seconds since 1970, for a day may have two of
# the same name. They begin where the minutes of the zone's clock do: `toStartOfHour` is wrong
# where a clock is changed by half an hour.
_BUCKET_TEXT: Mapping[str, str] = {
    "hour": "toUnixTimestamp64Second(toDateTime64({time}, 0, 'UTC'))"
    " - toMinute({time}{zone}) * 60 - toSecond({time}{zone})",
    "day": "toString(toDate({time}{zone}))",
    "week": "toString(toMonday({time}{zone}))",
    "month": "substring(toString(toStartOfMonth({time}{zone})), 1, 7)",
}
# Calls keep what is asked of them in columns that a rollup may have booked otherwise.
_WORKED_OUT = {each.name for each in SCHEMA.call_columns}
MEASURES = tuple(each for each in SCHEMA.measures if each.call)
_ADDED = {each.name: f"sum(c.{each.name})" for each in MEASURES}


@dataclass(slots=True, frozen=True)
class Sums:
    """Which calls are added up, by what.

    `contains`: a part of the name of the first group, in any case; `is_named`: not where the first
    group is unknown. `rate_bounds` are when rates of a second currency begin, in microseconds since
    1970: the cost is then added up by rate too, as `cost_by_rate`.
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
        grouped = {GROUP_COLUMNS.get(name, "tags") for name in self.groups if name not in BUCKETS}
        return grouped | self.filters.columns()

    def key(self, number: int, time: str, alias: str = "c") -> str:
        """Return the SQL of one group over rows `alias`; `time` is the column of its buckets."""
        name = self.groups[number]
        if name in BUCKETS:
            # A day of UTC is a Date already, and is shifted to no zone.
            zone = "" if time == "day" else ", {zone:String}"
            return _BUCKET_TEXT[name].format(time=f"{alias}.{time}", zone=zone)
        if name.startswith(TAG):
            return f"{alias}.tags[{{group_{number}:String}}]"
        return f"toString({alias}.{GROUP_COLUMNS[name]})"

    def key_parameters(self) -> Parameters:
        """Return the parameters of all groups."""
        parameters: Parameters = {"zone": self.zone} if self.buckets else {}
        for number, name in enumerate(self.groups):
            if name.startswith(TAG):
                parameters[f"group_{number}"] = name.removeprefix(TAG)
        return parameters

    def read(
        self, view: str, time: str, filters: Filters, *conditions: str, is_timed: bool = True
    ) -> tuple[str, Parameters]:
        """Return the FROM and WHERE of a view and every parameter the query can need."""
        more = self.key_parameters()
        if self.rate_bounds:
            more["rate_bounds"] = list(self.rate_bounds)
        narrowed = list(conditions)
        if self.contains:
            column = GROUP_COLUMNS[self.groups[0]]
            narrowed.append(f"positionCaseInsensitiveUTF8(c.{column}, {{contains:String}}) > 0")
            more["contains"] = self.contains
        if self.is_named:
            narrowed.append(f"c.{GROUP_COLUMNS[self.groups[0]]} != ''")
        text, parameters = source(view, filters, time if is_timed else None, *narrowed)
        return text, parameters | more


def check_groups(group_by: Sequence[str]) -> tuple[str, ...]:
    """Return the names as they are. Raises RequestError for none, unknown ones and repetitions."""
    groups = tuple(group_by)
    unknown = [name for name in groups if name not in GROUPS and not is_tag(name)]
    if unknown or not groups or len(set(groups)) != len(groups) or len(groups) > MAX_GROUPS:
        shown = repr(",".join(groups)[:80])
        raise RequestError(
            f"group_by must be one or several different ones of {', '.join(GROUPS)}, or"
            f" {TAG}<key>, {MAX_GROUPS} at most, not {shown}"
        )
    return groups


def is_tag(group: str) -> bool:
    """Return whether the group is that of a free tag: `tag:<key>`."""
    return group.startswith(TAG) and len(group) > len(TAG)


def can_answer(rollup: Rollup, sums: Sums) -> bool:
    """Return whether the rollup has everything that is wanted."""
    columns = sums.columns()
    if not rollup.has_few_rows and "conversation_id" in columns:
        return False
    return columns <= rollup.columns and not columns & _WORKED_OUT


def _can_split(sums: Sums, unit: timedelta) -> bool:
    """Return whether pieces of time of this length lie in one bucket each."""
    if not sums.buckets:
        return True
    if unit == DAY:
        return sums.zone == "UTC" and "hour" not in sums.buckets
    return has_whole_hours(sums.zone, sums.filters.start, sums.filters.end)


def parts(sums: Sums) -> tuple[str, Parameters]:
    """Return the query of the sums to add up (groups g0, g1, ..., measures), and its parameters."""
    by_day, by_hour = (_rollup(sums, unit) for unit in (DAY, HOUR))
    for rollup, unit in ((by_day, DAY), (by_hour, HOUR)):
        if rollup is not None:
            first, stop = _whole(sums.filters, unit)
            if first is None or stop is None or first < stop:
                return _with_rollups(sums, rollup, unit, by_hour)
    measures = {each.name: each.call for each in MEASURES}
    text, parameters = _select(sums, measures, "calls", "start_time", sums.filters)
    # What is of no call is read beside them.
    more, others = _select(
        sums, _ADDED, "usage_entries", "start_time", sums.filters, f"c.entry_kind IN {OF_NO_CALL}"
    )
    return f"{text} UNION ALL {more}", parameters | others


def _whole(filters: Filters, unit: timedelta) -> tuple[datetime | None, datetime | None]:
    """Return the first and the end of the whole units inside the range; None: it has no bound."""
    first = filters.start and filters.start + (EPOCH - filters.start) % unit
    stop = filters.end and min(filters.end - (filters.end - EPOCH) % unit, MAX_ROLLUP_MOMENT)
    return first, stop


def _rollup(sums: Sums, unit: timedelta) -> Rollup | None:
    """Return the rollup of the fewest rows that has the sums in pieces of this length."""
    if not _can_split(sums, unit):
        return None
    fitting = (each for each in SCHEMA.rollups if each.has(unit) and can_answer(each, sums))
    return next(fitting, None)


def _with_rollups(
    sums: Sums, rollup: Rollup, unit: timedelta, by_hour: Rollup | None
) -> tuple[str, Parameters]:
    """Return the sums from whole pieces of a rollup, whole hours at their ends, and entries."""
    untimed = sums.filters.between(None, None)
    first, stop = _whole(sums.filters, unit)
    texts: list[str] = []
    parameters: Parameters = {}

    def read(view: str, time: str, *conditions: str) -> None:
        text, others = _select(sums, _ADDED, view, time, untimed, *conditions, is_timed=False)
        texts.append(text)
        parameters.update(others)

    def bound(name: str, moment: datetime, *, is_day: bool = False) -> str:
        parameters[f"{name}_us"] = microseconds(moment)
        text = sql_moment(f"{name}_us")
        return f"toDate({text})" if is_day else text

    time = time_of(unit)
    whole = [
        f"c.{time} {operator} {bound(name, moment, is_day=unit == DAY)}"
        for name, operator, moment in (("first", ">=", first), ("stop", "<", stop))
        if moment is not None
    ]
    read(rollup.view, time, *whole)
    hours: list[str] = []
    entries: list[str] = []
    for name, start, end in (
        ("first", sums.filters.start, first),
        ("stop", stop, sums.filters.end),
    ):
        if start is None or end is None or start == end:
            continue
        pieces = [(start, end)]
        if by_hour is not None and unit == DAY:
            begin, until = _whole(sums.filters.between(start, end), HOUR)
            if begin is not None and until is not None and begin < until:
                since = bound(f"{name}_hours", begin)
                hours.append(
                    f"(c.hour >= {since} AND c.hour < {bound(f'{name}_hours_end', until)})"
                )
                pieces = [(start, begin), (until, end)]
        for number, (begin, until) in enumerate(pieces):
            if begin < until:
                since = bound(f"{name}_{number}", begin)
                until_sql = bound(f"{name}_{number}_end", until)
                entries.append(f"(c.start_time >= {since} AND c.start_time < {until_sql})")
    if by_hour is not None and hours:
        read(by_hour.view, "hour", f"({' OR '.join(hours)})")
    if entries:
        # Entries are in the columns of the rollups, and need no netting to be added up.
        read("usage_entries", "start_time", f"({' OR '.join(entries)})")
    return " UNION ALL ".join(texts), parameters


def _select(
    sums: Sums,
    measures: Mapping[str, str],
    view: str,
    time: str,
    filters: Filters,
    *conditions: str,
    is_timed: bool = True,
) -> tuple[str, Parameters]:
    # Nothing known adds nothing; the outer query knows how many calls state it. One type for both
    # halves: a union of signed and unsigned has no sum.
    columns = [
        f"ifNull({text}, 0) AS {name}" if name.endswith("_usd")
        else f"toInt64(ifNull({text}, 0)) AS {name}"
        for name, text in measures.items()
    ]  # fmt: skip
    if sums.rate_bounds:
        columns.append(f"sumMap([{_rate_number(time)}], [ifNull(c.cost_usd, 0)]) AS {BY_RATE}")
    keys = [f"{sums.key(number, time)} AS g{number}" for number in range(len(sums.groups))]
    by = f" GROUP BY {', '.join(f'g{n}' for n in range(len(keys)))}" if keys else ""
    rows, parameters = sums.read(view, time, filters, *conditions, is_timed=is_timed)
    return f"SELECT {', '.join((*keys, *columns))} {rows}{by}", parameters


def _rate_number(time: str) -> str:
    """Return SQL of the number of a currency's rate at a column of time; 0: before the first."""
    moment = f"toUnixTimestamp64Micro(toDateTime64(c.{time}, 6, 'UTC'))"
    return f"toUInt32(arrayCount(b -> b <= {moment}, {{rate_bounds:Array(Int64)}}))"
