"""What is known of groups beside their sums: since when, who, with which models."""

from collections.abc import Mapping, Sequence
from datetime import UTC

from clickhouse_connect.driver.client import Client

from tallyspan_collector.summary.asking import rows
from tallyspan_collector.summary.conditions import Parameters, conditions
from tallyspan_collector.summary.plain import Row
from tallyspan_collector.summary.question import COLUMNS, Filters
from tallyspan_collector.summary.times import MICROSECOND

MOST_NAMES = 100
_NAMES = f"arraySort(groupUniqArrayIf({MOST_NAMES})(toString(c.{{0}}), c.{{0}} != ''))"


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
    where, parameters = conditions(filters, None)
    if filters.start is not None:
        where += f" AND {day} >= {{first_day:Date}}"
        parameters["first_day"] = filters.start.date()
    if filters.end is not None:
        where += f" AND {day} <= {{last_day:Date}}"
        parameters["last_day"] = (filters.end - MICROSECOND).date()
    return _by_name(
        client,
        f"SELECT toString(c.{COLUMNS[group]}) AS name, min({day}) AS first_day,"  # noqa: S608  closed tables only
        f" max({day}) AS last_day, {_NAMES.format('department')} AS departments,"
        f" toInt64(uniqExact(c.model_name)) AS models, {users} AS users,"
        " toInt64(intDivOrZero(sum(c.duration_us), sum(c.calls))) AS mean_duration_us"
        f" FROM {view} AS c WHERE {where} AND c.{COLUMNS[group]} IN {{names:Array(String)}}"
        " GROUP BY name",
        parameters | {"names": list(names)},
    )


def of_conversations(client: Client, names: Sequence[str], filters: Filters) -> Mapping[str, Row]:
    """Return id -> first_call, last_call, users, departments, agents, models."""
    where, parameters = conditions(filters)
    lists = {"users": "user_id", "departments": "department", "agents": "agent_id"}
    lists["models"] = "model_name"
    found = _by_name(
        client,
        "SELECT c.conversation_id AS name, min(c.start_time) AS first_call,"  # noqa: S608  closed tables only
        " max(c.start_time) AS last_call, "
        + ", ".join(f"{_NAMES.format(column)} AS {name}" for name, column in lists.items())
        + f" FROM calls AS c WHERE {where} AND c.conversation_id IN {{names:Array(String)}}"
        " GROUP BY name",
        parameters | {"names": list(names)},
    )
    for row in found.values():
        row |= {name: row[name].replace(tzinfo=UTC) for name in ("first_call", "last_call")}
    return found


def _by_name(client: Client, text: str, parameters: Parameters) -> dict[str, Row]:
    return {row.pop("name"): row for row in rows(client, text, parameters)}
