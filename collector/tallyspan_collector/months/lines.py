"""A month (UTC) of the ledger by all that a statement is split by; of a closed one what is kept."""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import row_of, tuples_of
from tallyspan_clickhouse.schema import NOT_OF_CALLS
from tallyspan_collector.booked.prior_period import PLACE, next_month
from tallyspan_collector.errors import ConfigError

SUMMED = ("calls", "input_tokens", "output_tokens", "cost_usd", *NOT_OF_CALLS)
# A cost centre is that of the user on the day, in the department that pays; else that of the
# department, where all its people of the month have one.
_LEDGER = f"""
SELECT {", ".join(f"toString(u.{name}) AS {name}" for name in PLACE)},
    if(of_user != '', of_user, toString(d.centre)) AS cost_centre,
    {", ".join(f"sum(ifNull(u.{name}, 0)) AS {name}" for name in SUMMED)}
FROM usage_by_conversation AS u
GLOBAL ANY LEFT JOIN (
    SELECT tenant, user_id, groupArray((valid_from, valid_to, department, cost_centre)) AS spans
    FROM people WHERE cost_centre != '' GROUP BY tenant, user_id
) AS p ON p.tenant = u.tenant AND p.user_id = u.user_id
GLOBAL ANY LEFT JOIN (
    SELECT tenant, department, any(cost_centre) AS centre FROM people
    WHERE cost_centre != '' AND valid_from < {{stop:Date}} AND valid_to >= {{month:Date}}
    GROUP BY tenant, department HAVING uniqExact(cost_centre) = 1
) AS d ON d.tenant = u.tenant AND d.department = u.department
WHERE u.day >= {{month:Date}} AND u.day < {{stop:Date}}
GROUP BY {", ".join(PLACE)}, arrayFirst(s -> s.1 <= u.day AND u.day <= s.2 AND s.3 = u.department,
    p.spans).4 AS of_user, d.centre
HAVING calls != 0 OR input_tokens != 0 OR output_tokens != 0 OR cost_usd != 0
    OR {" OR ".join(f"{name} != 0" for name in NOT_OF_CALLS)}
"""  # noqa: S608  own names, values are bound
COLUMNS = (*PLACE, "cost_centre", *SUMMED)


class State(NamedTuple):
    """What a month is: `open`, `closed` or `reopened` (open again), and which close it had last."""

    state: str = "open"
    version: int = 0
    at: str = ""
    by: str = ""

    @property
    def is_closed(self) -> bool:
        """Whether its figures stand."""
        return self.state == "closed"


def month_of(text: str) -> date:
    """Return the first day of a month like `2026-10`. Raises `ConfigError`."""
    try:
        if len(text) == len("2026-10"):
            return date.fromisoformat(f"{text}-01")
    except ValueError:
        pass
    raise ConfigError(f"{text}: must be a month like 2026-10")


def state_of(client: Client, month: date) -> State:
    """Return what the month is. Raises what the store raises."""
    rows = tuples_of(
        client,
        "SELECT state, version, formatDateTime(written_at, '%Y-%m-%d %H:%i UTC'), written_by"
        " FROM months WHERE month = {month:Date}",
        {"month": month},
    )
    return State(*rows[0]) if rows else State()


def read(client: Client, month: date) -> list[dict[str, object]]:
    """Return the lines of a month, by the names in `COLUMNS`: as it was closed, else as it is now.

    Amounts are Decimal USD. Raises what the store raises.
    """
    if state_of(client, month).is_closed:
        query = f"SELECT {', '.join(COLUMNS)} FROM closed_months WHERE month = {{month:Date}}"  # noqa: S608
    else:
        query = _named(_LEDGER)
    rows = tuples_of(client, query, {"month": month, "stop": next_month(month)})
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def keep(client: Client, month: date) -> int:
    """Keep the lines as the ledger has them now under a version of their own; return that."""
    [version] = row_of(
        client,
        "SELECT toUInt32(max(version) + 1) FROM closed_month_lines WHERE month = {month:Date}",
        {"month": month},
    )
    names = ("month", "version", *COLUMNS)
    client.command(
        f"INSERT INTO closed_month_lines ({', '.join(names)})"  # noqa: S608  own names
        f" SELECT {{month:Date}}, {{version:UInt32}}, * FROM ({_named(_LEDGER)})",
        parameters={"month": month, "stop": next_month(month), "version": version},
    )
    return int(version)


def _named(query: str, names: Sequence[str] = COLUMNS) -> str:
    return f"SELECT {', '.join(names)} FROM ({query})"  # noqa: S608  own names
