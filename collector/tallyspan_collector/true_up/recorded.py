"""What the ledger has of the days of a bill, without what bills brought."""

from datetime import date, timedelta
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of
from tallyspan_clickhouse.moments import microseconds, sql_moment
from tallyspan_clickhouse.schema import OF_NO_CALL, PRIOR_PERIOD, TRUE_UP
from tallyspan_collector.booked.commitments import midnight
from tallyspan_collector.reconcile.recorded import like, owner_sql
from tallyspan_collector.true_up.scope import EDGE, Scope

# Months of the ledger are those of UTC: near midnight of the first, a day of another zone can be
# of another month than its entries. It is then taken for the nearest day of their month, so that
# the months of ledger and bill add up to the same.
_DAY = """
multiIf(toStartOfMonth(zone_day) = toStartOfMonth(utc_day), zone_day,
    zone_day > utc_day, toLastDayOfMonth(utc_day), toStartOfMonth(utc_day))
"""
_QUERY = f"""
SELECT day, model, owner, tenant, department, provider, sum(cost) AS cost_usd FROM (
    SELECT toDate(c.start_time, 'UTC') AS utc_day,
        toDate(c.start_time, {{zone:String}}) AS zone_day, {_DAY} AS day,
        toString(c.model_name) AS model, toString({{owner_sql}}) AS owner,
        toString(c.tenant) AS tenant, toString(c.department) AS department,
        toString(c.provider_name) AS provider, ifNull(c.cost_usd, 0) AS cost
    FROM llm_calls AS c WHERE {{where}})
WHERE day >= {{first:Date}} AND day <= {{last:Date}}
GROUP BY day, model, owner, tenant, department, provider HAVING cost_usd != 0
"""  # noqa: S608  own names, values are bound


class Recorded(NamedTuple):
    """What one department used of a model on a day; `owner` is a project or key of the bill."""

    day: date
    model: str
    owner: str
    tenant: str
    department: str
    provider: str
    picousd: int


def read(
    client: Client, scope: Scope, first: date, last: date, *, has_rest: bool = True
) -> list[Recorded]:
    """Return what is recorded of the days; calls that a subscription pays for cost nothing.

    `has_rest`: of a scope with endpoints also what is of no call and names none.

    Raises what the store raises.
    """
    start, stop = midnight(first), midnight(last + timedelta(days=1))
    owner, parameters = owner_sql(scope.recorded_as)
    conditions = [
        f"c.entry_kind NOT IN ('{TRUE_UP}', '{PRIOR_PERIOD}')",
        "NOT c.is_notional",
        f"c.start_time >= {sql_moment('start')}",
        f"c.start_time < {sql_moment('stop')}",
    ]
    parameters |= {
        "first": first,
        "last": last,
        "zone": scope.zone,
        "start": microseconds(start - EDGE),
        "stop": microseconds(stop + EDGE),
    }
    if scope.providers:
        conditions.append("c.provider_name IN {providers:Array(String)}")
        parameters["providers"] = [*scope.providers]
    if scope.endpoint:
        rest = f" OR c.entry_kind IN {OF_NO_CALL} AND c.endpoint_id = ''" if has_rest else ""
        conditions.append(f"(c.endpoint_id LIKE {{endpoint:String}}{rest})")
        parameters["endpoint"] = like(scope.endpoint)
    query = _QUERY.replace("{owner_sql}", owner).replace("{where}", " AND ".join(conditions))
    return [
        Recorded(day, model, owner, tenant, department, provider, int(cost.scaleb(12)))
        for day, model, owner, tenant, department, provider, cost in tuples_of(
            client, query, parameters
        )
    ]
