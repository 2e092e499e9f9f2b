"""Sums of calls by groups: whole days or hours from a rollup, the rest from entries or calls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tallyspan_clickhouse.moments import EPOCH, microseconds, sql_moment
from tallyspan_clickhouse.query.errors import RequestError
from tallyspan_clickhouse.query.filters import Filters, Parameters, source
from tallyspan_clickhouse.query.zones import MAX_ROLLUP_MOMENT, has_whole_hours
from tallyspan_clickhouse.schema import SCHEMA
from tallyspan_clickhouse.schema_types import DAY, Rollup

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
    if not rollup.has_few_rows or not columns <= rollup.columns or columns & _WORKED_OUT:
        return False
    if not sums.buckets:
        return True
    if rollup.unit == DAY:
        return sums.zone == "UTC" and "hour" not in sums.buckets
    return has_whole_hours(sums.zone, sums.filters.start, sums.filters.end)


def parts(sums: Sums) -> tuple[str, Parameters]:
    """Return the query of the sums to add up (groups g0, g1, ..., measures), and its parameters."""
    for rollup in SCHEMA.rollups:
        if can_answer(rollup, sums):
            first, stop = _whole(sums.filters, rollup.unit)
            if first is None or stop is None or first < stop:
                return _with_rollup(rollup, sums, first, stop)
    measures = {each.name: each.call for each in MEASURES}
    text, parameters = _select(sums, measures, "calls", "start_time", sums.filters)
    # Commitments are of no call, and are read beside them.
    more, others = _select(
        sums, _ADDED, "usage_entries", "start_time", sums.filters, "c.entry_kind = 'commitment'"
    )
    return f"{text} UNION ALL {more}", parameters | others


def _whole(filters: Filters, unit: timedelta) -> tuple[datetime | None, datetime | None]:
    """Return the first and the end of the whole units inside the range; None: it has no bound."""
    first = filters.start and filters.start + (EPOCH - filters.start) % unit
    stop = filters.end and min(filters.end - (filters.end - EPOCH) % unit, MAX_ROLLUP_MOMENT)
    return first, stop


def _with_rollup(
    rollup: Rollup, sums: Sums, first: datetime | None, stop: datetime | None
) -> tuple[str, Parameters]:
    filters, untimed = sums.filters, sums.filters.between(None, None)
    whole: list[str] = []
    ends: list[str] = []
    bounds: Parameters = {}
    for name, bound, limit, inside, outside in (
        ("first", first, filters.start, ">=", "c.start_time >= {at} AND c.start_time < {bound}"),
        ("stop", stop, filters.end, "<", "c.start_time < {at} AND c.start_time >= {bound}"),
    ):
        if bound is None or limit is None:
            continue
        bounds[f"{name}_us"] = microseconds(bound)
        moment = sql_moment(f"{name}_us")
        as_unit = f"toDate({moment})" if rollup.time == "day" else moment
        whole.append(f"c.{rollup.time} {inside} {as_unit}")
        if bound != limit:
            bounds[f"{name}_end_us"] = microseconds(limit)
            ends.append(f"({outside.format(at=sql_moment(f'{name}_end_us'), bound=moment)})")
    text, parameters = _select(
        sums, _ADDED, rollup.view, rollup.time, untimed, *whole, is_timed=False
    )
    if ends:
        # Entries are in the columns of the rollups, and need no netting to be added up.
        more, others = _select(
            sums, _ADDED, "usage_entries", "start_time", untimed, f"({' OR '.join(ends)})"
        )
        text, parameters = f"{text} UNION ALL {more}", parameters | others
    return text, parameters | bounds


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
