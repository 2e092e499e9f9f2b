"""What the ledger adds up to: all query text of the admin API and of `tallyspan report`.

The client's database is the one that holds the views `calls` and `token_usage`. Whatever a person
typed reaches ClickHouse as a bound parameter; what is formatted into the text comes from the
closed tables below.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

Row = dict[str, Any]

_HOUR = "concat(replaceOne(toString({}), ' ', 'T'), 'Z')"
GROUPS: dict[str, str] = {
    "user": "c.user_id",
    "department": "c.department",
    "agent": "c.agent_id",
    "conversation": "c.conversation_id",
    "model": "c.model_name",
    "endpoint": "c.endpoint_id",
    "provider": "c.provider_name",
    "service": "c.service_name",
    "day": "toString(toDate(c.start_time, 'UTC'))",
    "hour": _HOUR.format("toStartOfHour(c.start_time)"),
}
ORDERS: Mapping[str, str] = {
    "cost": "cost_usd DESC NULLS LAST",
    "tokens": "total_tokens DESC NULLS LAST",
    "calls": "calls DESC",
    "group": "",
}
# It is counted how many calls state a thing: where nobody did, or nothing is priced, is not 0.
_PARTS: Mapping[str, str] = {
    "calls": "count()",
    "errors": "countIf(c.status = 'error')",
    "unpriced_calls": "countIf(c.cost_status = 'unpriced')",
    "unpriced_tokens": "sumIf(c.total_tokens, c.cost_status = 'unpriced')",
    "estimated_calls": "countIf(c.usage_source = 'estimated')",
    "unknown_usage_calls": "countIf(c.usage_source = 'unknown')",
    "cost_usd": "sum(c.cost_usd)",
    "notional_calls": "countIf(c.cost_status = 'notional')",
    "notional_cost_usd": "sum(c.notional_cost_usd)",
} | {
    name: text
    for count in ("input", "output", "cache_read", "reasoning")
    for name, text in (
        (f"{count}_tokens", f"sum(c.{count}_tokens)"),
        (f"{count}_stated", f"countIf(c.{count}_tokens IS NOT NULL)"),
    )
}
_PRICED = "sum(p.calls) - sum(p.unpriced_calls)"
_MEASURE_TEXT: Mapping[str, str] = {
    "calls": "sum(p.calls)",
    "errors": "sum(p.errors)",
    "input_tokens": "if(sum(p.input_stated) = 0, NULL, sum(p.input_tokens))",
    "output_tokens": "if(sum(p.output_stated) = 0, NULL, sum(p.output_tokens))",
    "total_tokens": "if(sum(p.input_stated) = 0 AND sum(p.output_stated) = 0, NULL,"
    " sum(p.input_tokens) + sum(p.output_tokens))",
    "cache_read_tokens": "if(sum(p.cache_read_stated) = 0, NULL, sum(p.cache_read_tokens))",
    "reasoning_tokens": "if(sum(p.reasoning_stated) = 0, NULL, sum(p.reasoning_tokens))",
    "cost_usd": f"if({_PRICED} = 0, NULL, sum(p.cost_usd))",
    "priced_calls": _PRICED,
    "unpriced_calls": "sum(p.unpriced_calls)",
    "unpriced_tokens": "sum(p.unpriced_tokens)",
    "estimated_calls": "sum(p.estimated_calls)",
    "unknown_usage_calls": "sum(p.unknown_usage_calls)",
    "notional_calls": "sum(p.notional_calls)",
    "notional_cost_usd": "if(sum(p.notional_calls) = 0, NULL, sum(p.notional_cost_usd))",
}
MEASURES: tuple[str, ...] = tuple(_MEASURE_TEXT)
MAX_ROWS = 10_000
MAX_SECONDS = 30
_COLUMNS: Mapping[str, str] = {
    "user_id": "user_id",
    "department": "department",
    "agent_id": "agent_id",
    "conversation_id": "conversation_id",
    "model": "model_name",
    "endpoint_id": "endpoint_id",
    "provider": "provider_name",
    "service": "service_name",
}
ENTRY_FILTERS: tuple[str, ...] = tuple(_COLUMNS)[:6]
SUMMARY_FILTERS: tuple[str, ...] = tuple(_COLUMNS)
_ENTRY_COLUMNS = (
    "log_id, user_id, department, agent_id, conversation_id, model_name, endpoint_id,"
    " prompt_tokens, completion_tokens, total_tokens, estimated_cost_usd, timestamp"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)
# The rollups' DateTime ends in 2106; what claims to be later is asked of `calls` alone.
_ROLLUPS_END = datetime(2100, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class RequestError(ValueError):
    """The question cannot be answered as asked; says which parameter and what is allowed."""


@dataclass(slots=True, frozen=True)
class Filters:
    """Which calls are meant. None: any; the empty string: those where nobody said.

    `start` is included, `end` is not; both are aware UTC. Raises RequestError if start >= end.
    """

    user_id: str | None = None
    department: str | None = None
    agent_id: str | None = None
    conversation_id: str | None = None
    model: str | None = None
    endpoint_id: str | None = None
    provider: str | None = None
    service: str | None = None
    start: datetime | None = None
    end: datetime | None = None

    def __post_init__(self) -> None:
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise RequestError(
                "start_date must be before end_date:"
                f" {self.start.isoformat()} is not before {self.end.isoformat()}"
            )


def summarise(
    client: Client,
    filters: Filters,
    group_by: Sequence[str],
    order: str = "cost",
    limit: int = MAX_ROWS,
) -> list[Row]:
    """Return one row a group: its keys, then MEASURES; costs Decimal, unknown or unpriced None.

    `order` is one of ORDERS, most first; `group` sorts by the keys. Raises RequestError.
    """
    groups = check_groups(group_by)
    if order not in ORDERS:
        raise RequestError(f"order must be one of {', '.join(ORDERS)}, not {order!r}")
    names = ", ".join(f"p.`{name}`" for name in groups)
    ordering = ", ".join(part for part in (ORDERS[order], names) if part)
    parts, parameters = _parts(filters, groups)
    return _rows(
        client,
        f"SELECT {names}, {_measures()} FROM ({parts}) AS p"  # noqa: S608  closed tables only
        f" GROUP BY {names} HAVING sum(p.calls) != 0"
        f" ORDER BY {ordering} LIMIT {{row_limit:UInt32}}",
        {**parameters, "row_limit": limit},
    )


def totals(client: Client, filters: Filters) -> Row:
    """Return MEASURES over everything the filters let through; zero calls if that is nothing."""
    parts, parameters = _parts(filters, ())
    text = f"SELECT {_measures()} FROM ({parts}) AS p"  # noqa: S608  closed tables only
    return _rows(client, text, parameters)[0]


def entries(
    client: Client, filters: Filters, limit: int, cursor: str | None = None
) -> tuple[list[Row], str | None]:
    """Return calls, newest first, and the cursor of the next page; None: that was the last.

    Calls that arrive between two pages shift nothing: a page begins after the last call of the
    page before it, not at a number. Raises RequestError for a cursor that is not ours, and for
    filters `token_usage` has no column for.
    """
    for name in set(SUMMARY_FILTERS) - set(ENTRY_FILTERS):
        if getattr(filters, name) is not None:
            raise RequestError(
                f"entries cannot be filtered by {name}; allowed are {', '.join(ENTRY_FILTERS)}"
            )
    where, parameters = _conditions(filters, "timestamp", ENTRY_FILTERS)
    if cursor is not None:
        parameters["after_us"], parameters["after_log_id"] = _read_cursor(cursor)
        # The first comparison is implied by the second; it alone can skip whole granules.
        where += (
            f" AND c.timestamp <= {_at('after_us')} AND (c.timestamp, c.log_id)"
            f" < ({_at('after_us')}, {{after_log_id:String}})"
        )
    rows = _rows(
        client,
        f"SELECT {_ENTRY_COLUMNS} FROM token_usage AS c WHERE {where}"  # noqa: S608  closed tables only
        " ORDER BY c.timestamp DESC, c.log_id DESC LIMIT {row_limit:UInt32}",
        {**parameters, "row_limit": limit + 1},
    )
    for row in rows:
        row["timestamp"] = row["timestamp"].replace(tzinfo=UTC)
    return rows[:limit], _write_cursor(rows[limit - 1]) if len(rows) > limit else None


def check_groups(group_by: Sequence[str]) -> tuple[str, ...]:
    """Return the names as they are. Raises RequestError for none, unknown ones and repetitions."""
    groups = tuple(group_by)
    unknown = [name for name in groups if name not in GROUPS]
    if unknown or not groups or len(set(groups)) != len(groups):
        given = repr(",".join(groups))
        raise RequestError(
            f"group_by must be one or several different ones of {', '.join(GROUPS)}, not {given}"
        )
    return groups


def parse_time(value: str, parameter: str, *, is_end: bool = False) -> datetime:
    """Return the moment in UTC an ISO date or datetime means; without an offset it is UTC.

    A date is the start of its day; with `is_end` the end of it, so that a range includes it.
    Raises RequestError.
    """
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        if is_end and _is_date(value):
            moment += timedelta(days=1)
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        moment = _LATEST
    if not _EPOCH <= moment < _LATEST:
        raise RequestError(
            f"{parameter} must be a date (2026-01-31) or a time (2026-01-31T12:00:00Z)"
            f" between 1970 and 2199, not {value!r}"
        )
    return moment


def parse_since(value: str, now: datetime, parameter: str = "since") -> datetime:
    """Return the moment `30d`, `12h` or `4w` before `now`. Raises RequestError."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})([hdw])", value, re.ASCII)
    if match:
        ago = int(match[1]) * _UNITS[match[2]]
        if ago <= now - _EPOCH:
            return now - ago
    raise RequestError(
        f"{parameter} must be a number of hours, days or weeks back to 1970 at most,"
        f" such as 12h, 30d or 4w, not {value!r}"
    )


def decimal_text(amount: Decimal) -> str:
    """Return the amount exactly, without exponent and without zeros at the end."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def plain(row: Mapping[str, Any]) -> Row:
    """Return the row as JSON can carry it: amounts as exact text, times as ISO 8601 with Z."""
    return {name: _plain_value(value) for name, value in row.items()}


def _plain_value(value: Any) -> Any:
    match value:
        case Decimal():
            return decimal_text(value)
        case datetime():
            return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
        case _:
            return value


def _is_date(value: str) -> bool:
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


@dataclass(slots=True, frozen=True)
class _Rollup:
    """A view that is already added up by `column`: what it can be asked for, and its unit."""

    view: str
    column: str
    unit: timedelta
    names: frozenset[str]


_BOTH = {"department", "model", "endpoint", "provider", "service", "day"}
_ROLLUPS = (
    _Rollup("usage_daily", "day", timedelta(days=1), frozenset(_BOTH | {"user"})),
    _Rollup("usage_hourly", "hour", timedelta(hours=1), frozenset(_BOTH | {"agent", "hour"})),
)


def _parts(filters: Filters, groups: Sequence[str]) -> tuple[str, dict[str, str | int]]:
    """Return the query of the sums to add up, and its parameters.

    Whole days or hours come from a rollup, what is left at the two ends of the range from `calls`.
    """
    where, parameters = _conditions(filters, "start_time", SUMMARY_FILTERS)
    asked = set(groups) | {
        name.removesuffix("_id") for name in SUMMARY_FILTERS if getattr(filters, name) is not None
    }
    for rollup in _ROLLUPS:
        if asked <= rollup.names:
            first, stop = _whole(filters, rollup.unit)
            if first is None or stop is None or first < stop:
                return _with_rollup(rollup, filters, groups, first, stop)
    return _of_calls(groups, where), parameters


def _whole(filters: Filters, unit: timedelta) -> tuple[datetime | None, datetime | None]:
    """Return the first and the end of the whole units inside the range; None: it has no bound."""
    first = filters.start and filters.start + (_EPOCH - filters.start) % unit
    stop = filters.end and min(filters.end - (filters.end - _EPOCH) % unit, _ROLLUPS_END)
    return first, stop


def _with_rollup(
    rollup: _Rollup,
    filters: Filters,
    groups: Sequence[str],
    first: datetime | None,
    stop: datetime | None,
) -> tuple[str, dict[str, str | int]]:
    where, parameters = _conditions(replace(filters, start=None, end=None), "", SUMMARY_FILTERS)
    whole, ends = where, []
    for name, bound, inside, outside in (
        ("first", first, ">=", "c.start_time >= {at} AND c.start_time < {bound}"),
        ("stop", stop, "<", "c.start_time < {at} AND c.start_time >= {bound}"),
    ):
        limit = filters.start if name == "first" else filters.end
        if bound is None or limit is None:
            continue
        parameters[f"{name}_us"] = (bound - _EPOCH) // _MICROSECOND
        parameters[f"{name}_end_us"] = (limit - _EPOCH) // _MICROSECOND
        moment = _at(f"{name}_us")
        as_unit = f"toDate({moment})" if rollup.column == "day" else moment
        whole += f" AND c.{rollup.column} {inside} {as_unit}"
        if bound != limit:
            ends.append(f"({outside.format(at=_at(f'{name}_end_us'), bound=moment)})")
    parts = [_of_rollup(rollup, groups, whole)]
    if ends:
        parts.append(_of_calls(groups, f"{where} AND ({' OR '.join(ends)})"))
    return " UNION ALL ".join(parts), parameters


def _of_rollup(rollup: _Rollup, groups: Sequence[str], where: str) -> str:
    times = {"day": f"toString(toDate(c.{rollup.column}))", "hour": _HOUR.format("c.hour")}
    sums = {name: f"sum(c.{name})" for name in _PARTS}
    return _select(GROUPS | times, groups, sums, rollup.view, where)


def _of_calls(groups: Sequence[str], where: str) -> str:
    return _select(GROUPS, groups, _PARTS, "calls", where)


def _select(
    keys: Mapping[str, str],
    groups: Sequence[str],
    sums: Mapping[str, str],
    view: str,
    where: str,
) -> str:
    columns = [f"{keys[name]} AS `{name}`" for name in groups]
    for name, text in sums.items():
        # Nothing known adds nothing; the outer query knows how many calls said so. One type for
        # both halves: a union of signed and unsigned has no sum.
        known = f"ifNull({text}, 0)"
        columns.append(f"{known if name.endswith('cost_usd') else f'toInt64({known})'} AS {name}")
    by = f" GROUP BY {', '.join(f'`{name}`' for name in groups)}" if groups else ""
    return f"SELECT {', '.join(columns)} FROM {view} AS c WHERE {where}{by}"  # noqa: S608  closed tables only


def _measures() -> str:
    return ", ".join(f"{text} AS {name}" for name, text in _MEASURE_TEXT.items())


def _at(parameter: str) -> str:
    # An integer, because a bound DateTime64 is read in the server's own time zone.
    return f"fromUnixTimestamp64Micro({{{parameter}:Int64}}, 'UTC')"


def _conditions(
    filters: Filters, time_column: str, names: Sequence[str]
) -> tuple[str, dict[str, str | int]]:
    parts = ["true"]
    parameters: dict[str, str | int] = {}
    for name in names:
        value = getattr(filters, name)
        if value is not None:
            parts.append(f"c.{_COLUMNS[name]} = {{{name}:String}}")
            parameters[name] = value
    for name, operator in (("start", ">="), ("end", "<")):
        moment = getattr(filters, name)
        if moment is not None:
            parts.append(f"c.{time_column} {operator} {_at(name + '_us')}")
            parameters[f"{name}_us"] = (moment - _EPOCH) // _MICROSECOND
    return " AND ".join(parts), parameters


def _rows(client: Client, text: str, parameters: dict[str, str | int]) -> list[Row]:
    result = client.query(text, parameters=parameters, settings={"max_execution_time": MAX_SECONDS})
    return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]


def _write_cursor(row: Row) -> str:
    moment = (row["timestamp"] - _EPOCH) // _MICROSECOND
    text = json.dumps([moment, row["log_id"]], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[int, str]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        match json.loads(base64.b64decode(padded, altchars=b"-_", validate=True)):
            case [int(moment), str(log_id)] if 0 <= moment < (_LATEST - _EPOCH) // _MICROSECOND:
                return moment, log_id
    except (ValueError, binascii.Error, RecursionError):
        pass
    raise RequestError(
        "cursor must be the next_cursor of an earlier answer, unchanged; leave it out to begin"
    )
