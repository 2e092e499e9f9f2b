"""What the ledger has of a provider's use on a day, by what reports know too."""

from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan.usage import TOKEN_FIELDS
from tallyspan_clickhouse.answers import tuples_of
from tallyspan_clickhouse.moments import microseconds, sql_moment
from tallyspan_clickhouse.schema import IMPORTED, OF_NO_CALL
from tallyspan_collector.imports.gaps import Recorded
from tallyspan_collector.imports.matching import Matching, column_of
from tallyspan_collector.imports.report import PICO, REQUESTS, whole
from tallyspan_collector.pricing.tier import tier_name
from tallyspan_collector.reconcile.recorded import like

_QUERY = """
SELECT l.model_name AS model, l.service_tier AS tier, l.service_name AS service,
    {project} AS project, {user} AS user,
    sum(if(mapContains(l.meters, 'requests'), l.meters['requests'], toFloat64(l.sign))) AS requests,
    {tokens}, sumMap(l.meters) AS units, sum(ifNull(l.cost_usd, 0)) AS cost
FROM llm_calls AS l WHERE {where} GROUP BY model, tier, service, project, user
"""
_NAMES = (
    "model", "tier", "service", "project", "user", REQUESTS, *TOKEN_FIELDS, "units", "cost",
)  # fmt: skip
_IS_IMPORTED = f"l.entry_kind = '{IMPORTED}'"
_EARLIER = f"({_IS_IMPORTED} AND l.source IN {{earlier:Array(String)}})"


def read(
    client: Client, matching: Matching, day: date, earlier: Collection[str], *, by_user: bool
) -> list[Recorded]:
    """Return what was recorded on the day, and booked by imports that are named in `earlier`.

    Calls that are not billed one by one are left out: a report of what is billed has none of them.
    Raises what the store raises.
    """
    start, stop = matching.bounds(day)
    parameters: dict[str, object] = {
        "start": microseconds(start),
        "stop": microseconds(stop),
        "providers": list(matching.providers),
        "earlier": list(earlier),
    }
    conditions = [
        f"l.start_time >= {sql_moment('start')}",
        f"l.start_time < {sql_moment('stop')}",
        "l.provider_name IN {providers:Array(String)}",
        f"(l.entry_kind NOT IN {OF_NO_CALL} OR {_EARLIER})",
        "NOT l.is_notional",
        "l.cost_status != 'not_billed'",
    ]
    if matching.of.services:
        conditions.append("l.service_name IN {services:Array(String)}")
        parameters["services"] = list(matching.of.services)
    if matching.tenant is not None:
        conditions.append("l.tenant = {tenant:String}")
        parameters["tenant"] = matching.tenant
    if matching.endpoint:
        conditions.append(f"(l.endpoint_id LIKE {{endpoint:String}} OR {_IS_IMPORTED})")
        parameters["endpoint"] = like(matching.endpoint)
    project, of_project = column_of(matching.recorded_as, "project")
    parameters |= of_project
    for number, (label, value) in enumerate(matching.only.items()):
        column, of_label = column_of(label, f"label_{number}")
        conditions.append(f"({column} = {{only_{number}:String}} OR {_IS_IMPORTED})")
        parameters |= of_label | {f"only_{number}": value}
    query = _QUERY.format(
        project=project,
        user="l.user_id" if by_user else "''",
        tokens=", ".join(f"sum(ifNull(l.{name}, 0)) AS {name}" for name in TOKEN_FIELDS),
        where=" AND ".join(conditions),
    )
    return [
        _recorded(dict(zip(_NAMES, row, strict=True)))
        for row in tuples_of(client, query, parameters)
    ]


def entries_by_day(client: Client, first: date, last: date) -> dict[date, int]:
    """Return how many entries of calls the ledger has of each day (UTC); none where there are 0."""
    start, stop = (datetime.combine(day, time(), UTC) for day in (first, last + timedelta(days=1)))
    rows = tuples_of(
        client,
        "SELECT toDate32(l.start_time, 'UTC') AS day, count() FROM llm_calls AS l"  # noqa: S608  own names
        f" WHERE l.entry_kind NOT IN {OF_NO_CALL} AND l.start_time >= {sql_moment('start')}"
        f" AND l.start_time < {sql_moment('stop')} GROUP BY day",
        {"start": microseconds(start), "stop": microseconds(stop)},
    )
    return {day: int(entries) for day, entries in rows}


def entries_of(matching: Matching, day: date, by_day: Mapping[date, int]) -> int:
    """Return how many entries the days (UTC) have that a day of the report is in."""
    start, stop = matching.bounds(day)
    last = (stop - timedelta(microseconds=1)).date()
    return sum(by_day.get(each, 0) for each in {start.date(), last})


def _recorded(row: dict[str, Any]) -> Recorded:
    counts = {name: row[name] for name in TOKEN_FIELDS} | row["units"]
    counts[REQUESTS] = row["requests"]
    return Recorded(
        model=str(row["model"]),
        tier=tier_name(str(row["tier"])),
        service=str(row["service"]),
        project=str(row["project"]),
        user=str(row["user"]),
        usage={meter: whole(meter, count) for meter, count in counts.items() if count},
        cost_picousd=int(row["cost"] * PICO),
    )
