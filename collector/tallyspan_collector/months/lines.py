"""A month (UTC) of the ledger by all that a statement is split by; of a closed one what is kept."""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import row_of, tuples_of
from tallyspan_clickhouse.query.access import EVERYTHING, Access
from tallyspan_clickhouse.query.filters import Filters, Parameters, source
from tallyspan_clickhouse.schema import NOT_OF_CALLS
from tallyspan_collector.booked.prior_period import PLACE
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.units.months import next_month

SUMMED = (
    "calls", "unpriced_calls", "input_tokens", "output_tokens", "cost_usd", *NOT_OF_CALLS,
)  # fmt: skip
COLUMNS = (*PLACE, "cost_centre", *SUMMED)
RATE = "rate"
"""Column of the lines as they are now, if there are bounds: number of the rate of each day."""

# Of the table, not the view `months`: whoever may see a line of a month may know that it is closed.
_STATE = """
SELECT argMax(
    (c.state, c.version, formatDateTime(c.written_at, '%Y-%m-%d %H:%i UTC'), c.written_by),
    (c.written_at, c.version))
FROM month_closes AS c WHERE c.month = {month:Date} HAVING count() > 0
"""


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
    rows = tuples_of(client, _STATE, {"month": month})
    return State(*rows[0][0]) if rows else State()


def as_closed(month: date, access: Access = EVERYTHING) -> tuple[str, Parameters]:
    """Return the query of the lines that a closed month is kept by, and its parameters."""
    rows, parameters = source(
        "closed_months", Filters(access=access), None, "c.month = {month:Date}"
    )
    return f"SELECT {', '.join(f'c.{name}' for name in COLUMNS)} {rows}", parameters | {
        "month": month
    }


def as_now(
    month: date,
    access: Access = EVERYTHING,
    stop: date | None = None,
    rate_bounds: Sequence[int] = (),
) -> tuple[str, Parameters]:
    """Return the query of the lines of a month as the ledger has them now, and its parameters.

    `stop`: only days before it. `rate_bounds`: when rates of a currency begin, in microseconds
    since 1970; the lines are then split by the rate of their days too, in the column `RATE`.
    """
    filters = Filters(access=access)
    used, parameters = source(
        "usage_by_conversation", filters, None, "c.day >= {month:Date}", "c.day < {stop:Date}"
    )
    people, _ = source("people", filters, None, "c.cost_centre != ''")
    parameters |= {"month": month, "stop": stop or next_month(month)}
    rate = ""
    if rate_bounds:
        parameters["rate_bounds"] = list(rate_bounds)
        rate = (
            ", toUInt32(arrayCount(b -> b <= toUnixTimestamp64Micro(toDateTime64(u.day, 6, 'UTC')),"
            f" {{rate_bounds:Array(Int64)}})) AS {RATE}"
        )
    by = f", {RATE}" if rate else ""
    # A cost centre is that of the user on the day, in the department that pays; else that of the
    # department, where all its people of the month have one.
    text = f"""
SELECT {", ".join(f"toString(u.{name}) AS {name}" for name in PLACE)},
    if((arrayFirst(s -> s.1 <= u.day AND u.day <= s.2 AND s.3 = u.department, p.spans).4 AS of_user)
        != '', of_user, toString(d.centre)) AS cost_centre,
    {", ".join(f"sum(ifNull(u.{name}, 0)) AS {name}" for name in SUMMED)}{rate}
FROM (SELECT {", ".join(f"c.{name} AS {name}" for name in ("day", *PLACE, *SUMMED))} {used}) AS u
GLOBAL ANY LEFT JOIN (
    SELECT c.tenant AS tenant, c.user_id AS user_id,
        groupArray((c.valid_from, c.valid_to, c.department, c.cost_centre)) AS spans
    {people} GROUP BY tenant, user_id
) AS p ON p.tenant = u.tenant AND p.user_id = u.user_id
GLOBAL ANY LEFT JOIN (
    SELECT c.tenant AS tenant, c.department AS department, any(c.cost_centre) AS centre
    {people} AND c.valid_from < {{stop:Date}} AND c.valid_to >= {{month:Date}}
    GROUP BY tenant, department HAVING uniqExact(c.cost_centre) = 1
) AS d ON d.tenant = u.tenant AND d.department = u.department
GROUP BY {", ".join(PLACE)}, cost_centre{by}
HAVING {" OR ".join(f"{name} != 0" for name in SUMMED)}
"""  # noqa: S608  own names, values are bound
    return text, parameters


def keep(client: Client, month: date) -> int:
    """Keep the lines as the ledger has them now under a version of their own; return that."""
    [version] = row_of(
        client,
        "SELECT toUInt32(max(version) + 1) FROM closed_month_lines WHERE month = {month:Date}",
        {"month": month},
    )
    query, parameters = as_now(month)
    names = ", ".join(COLUMNS)
    client.command(
        f"INSERT INTO closed_month_lines (month, version, {names})"  # noqa: S608  own names
        f" SELECT {{month:Date}}, {{version:UInt32}}, {names} FROM ({query})",
        parameters=parameters | {"version": version},
    )
    return int(version)
