"""What there is to say of groups beside their sums: since when, who, with which models."""

from collections.abc import Mapping, Sequence
from datetime import UTC

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.moments import MICROSECOND
from tallyspan_clickhouse.query.filters import Filters, Parameters, source
from tallyspan_clickhouse.query.sums import GROUP_COLUMNS
from tallyspan_collector.summary.rows import Row, rows

MAX_NAMES = 100
_NAMES = f"arraySort(groupUniqArrayIf({MAX_NAMES})(toString(c.{{0}}), c.{{0}} != ''))"


def of_groups(
    client: Client, group: str, names: Sequence[str], filters: Filters
) -> Mapping[str, Row]:
    """Return name -> first_day, last_day, departments, models, users, mean_duration_us.

    From the days (UTC) that the range touches; `filters` only of what the rollups know. No rollup
    has agents and users both, so users of agents are None.
    """
    is_hourly = group == "agent"
    view, day = ("usage_hourly", "toDate(c.hour)") if is_hourly else ("usage_daily", "c.day")
    users = "NULL" if is_hourly else "toInt64(uniqExactIf(c.user_id, c.user_id != ''))"
    days: list[str] = []
    bounds: Parameters = {"names": list(names)}
    if filters.start is not None:
        days.append(f"{day} >= {{first_day:Date}}")
        bounds["first_day"] = filters.start.date()
    if filters.end is not None:
        days.append(f"{day} <= {{last_day:Date}}")
        bounds["last_day"] = (filters.end - MICROSECOND).date()
    column = GROUP_COLUMNS[group]
    is_named = f"c.{column} IN {{names:Array(String)}}"
    text, parameters = source(view, filters, None, *days, is_named)
    return _by_name(
        client,
        f"SELECT toString(c.{column}) AS name, min({day}) AS first_day,"
        f" max({day}) AS last_day, {_NAMES.format('department')} AS departments,"
        f" toInt64(uniqExact(c.model_name)) AS models, {users} AS users,"
        " toInt64(intDivOrZero(sum(c.duration_us), sum(c.calls))) AS mean_duration_us"
        f" {text} GROUP BY name",
        parameters | bounds,
    )


def of_conversations(client: Client, names: Sequence[str], filters: Filters) -> Mapping[str, Row]:
    """Return id -> first_call, last_call, users, departments, agents, models."""
    is_named = "c.conversation_id IN {names:Array(String)}"
    text, parameters = source("calls", filters, "start_time", is_named)
    lists = {"users": "user_id", "departments": "department", "agents": "agent_id"}
    lists["models"] = "model_name"
    by_name = _by_name(
        client,
        "SELECT c.conversation_id AS name, min(c.start_time) AS first_call,"
        " max(c.start_time) AS last_call, "
        + ", ".join(f"{_NAMES.format(column)} AS {name}" for name, column in lists.items())
        + f" {text} GROUP BY name",
        parameters | {"names": list(names)},
    )
    for row in by_name.values():
        row |= {name: row[name].replace(tzinfo=UTC) for name in ("first_call", "last_call")}
    return by_name


def _by_name(client: Client, text: str, parameters: Parameters) -> dict[str, Row]:
    return {row.pop("name"): row for row in rows(client, text, parameters)}
