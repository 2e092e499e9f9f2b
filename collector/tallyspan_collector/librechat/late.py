"""Days whose booked calls got spans since: an import of those days takes the calls back."""

from datetime import date, datetime, timedelta
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of
from tallyspan_clickhouse.moments import microseconds, sql_moment, utc
from tallyspan_clickhouse.schema import OF_NO_CALL
from tallyspan_collector.librechat.join import APART
from tallyspan_collector.librechat.settings import LedgerImport

_KEY = "replaceOne(l.tags['message_id'], 'title-', '') AS message, l.tags['call_kind'] AS kind"
_QUERY = f"""
SELECT toDate32(b.at, 'UTC') AS day, max(s.seen) AS seen
FROM (
    SELECT {_KEY}, min(l.start_time) AS at, max(l.ingested_at) AS booked
    FROM llm_calls AS l
    WHERE l.source = {{label:String}} AND l.start_time >= {sql_moment("first")}
        AND mapContains(l.tags, 'message_id')
    GROUP BY message, kind HAVING sum(l.sign) > 0
) AS b
INNER JOIN (
    SELECT {_KEY}, max(l.ingested_at) AS seen
    FROM llm_calls AS l
    WHERE l.source != {{label:String}}
        AND (empty({{sources:Array(String)}}) OR l.source IN {{sources:Array(String)}})
        AND l.start_time >= {sql_moment("around")}
        AND l.entry_kind NOT IN {OF_NO_CALL} AND l.sign > 0 AND mapContains(l.tags, 'message_id')
    GROUP BY message, kind
) AS s ON b.message = s.message AND b.kind = s.kind
WHERE s.seen > b.booked
GROUP BY day
"""  # noqa: S608  own text


class LateDay(NamedTuple):
    """A day (UTC), and when the newest span of a call that is booked on it was booked."""

    day: date
    seen: datetime


def late_days(client: Client, what: LedgerImport, first: datetime) -> list[LateDay]:
    """Return the days since a moment that an import has to look at again, in order."""
    parameters = {
        "label": what.label,
        "sources": list(what.sources),
        "first": microseconds(first),
        "around": microseconds(first - APART),
    }
    rows = tuples_of(client, _QUERY, parameters)
    # a turn may have begun on the day before
    days = {LateDay(day - timedelta(days=n), utc(seen)) for day, seen in rows for n in (0, 1)}
    return sorted(days)
