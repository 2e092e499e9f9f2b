"""How long rows stay: a TTL for each table, changed by ALTER and never by a migration."""

import re
from datetime import UTC, date, datetime, timedelta

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from tallyspan_clickhouse import removals
from tallyspan_clickhouse.engine import one_line
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.schema import CORRECTED, DOUBTFUL, LEDGER, TIMES

ENTRIES = LEDGER
TABLES = {ENTRIES: "start_time", **TIMES}
"""Tables with a retention, and the column of their time."""
SEEN_DAYS = 7
LONGER_DAYS = 62
"""What corrected calls are kept longer: an entry may stay until all of its month has expired, and
until then the view `calls` must know that it was reversed."""
_SLACK = timedelta(days=2)
"""The store's clock may be ahead of ours, and a day expires in the course of another."""
_TTL = re.compile(r"\bTTL (.+?)(?: SETTINGS | COMMENT |$)")
_DAYS = re.compile(r"toIntervalDay\((\d+)\)")


def kept_days(client: Client) -> dict[str, int]:
    """Return for each table how many days a row is kept; 0: for ever."""
    rows = client.query(
        "SELECT name, engine_full FROM system.tables WHERE database = currentDatabase()"
        " AND name IN {tables:Array(String)}",
        parameters={"tables": list(TABLES)},
    ).result_rows
    return {str(name): _days_of(str(engine)) for name, engine in rows}


def expired_until(client: Client) -> date | None:
    """Return the last day (UTC) of which entries may have expired; None: they are kept for ever."""
    days = kept_days(client).get(ENTRIES, 0)
    return datetime.now(UTC).date() - timedelta(days=days) + _SLACK if days else None


def changes(client: Client, entries_days: int, rollup_days: int) -> dict[str, int]:
    """Return the tables whose retention is another, and the days they are to have (0: for ever).

    Raises StoreError if rollups would go before the entries they are asked instead of.
    """
    if rollup_days and not 0 < entries_days <= rollup_days:
        kept = f"{entries_days}d" if entries_days else "forever"
        raise StoreError(
            f"retention_rollups is {rollup_days}d and retention {kept}: what was added up must be"
            " kept as long as the entries, or longer"
        )
    wanted = dict.fromkeys(TABLES, rollup_days) | {
        ENTRIES: entries_days,
        DOUBTFUL: entries_days,
        CORRECTED: entries_days and entries_days + LONGER_DAYS,
    }
    now = kept_days(client)
    return {name: days for name, days in wanted.items() if name in now and now[name] != days}


def keep(client: Client, table: str, days: int, cluster: str = "") -> None:
    """Let rows of the table go after so many days, 0: never. Raises StoreError.

    What has expired already goes with the next merges, by whole parts: a month when all of it has.
    """
    on_cluster = f" ON CLUSTER '{cluster}'" if cluster else ""
    if table == ENTRIES and (last_day := expired_until(client)):
        # The TTL says no more than what it is now: what went by the one before is noted.
        removals.note(client, date(1970, 1, 1), last_day, "retention")
    if days:
        # A time beyond 2106 has no DateTime: it would count as long ago and be gone at once.
        at = TABLES[table]
        if TABLES[table] == "start_time":
            at = f"toDateTime(least({at}, toDateTime64('2100-01-01 00:00:00', 6, 'UTC')))"
        until = f"{at} + toIntervalDay({days})"
        if table == ENTRIES:
            # A batch is looked for after a crash: what was booked just now must still be there.
            until = f"greatest({until}, toDateTime(ingested_at) + toIntervalDay({SEEN_DAYS}))"
        change = f"MODIFY TTL {until}"
    else:
        change = "REMOVE TTL"
    try:
        client.command(f"ALTER TABLE {table}{on_cluster} {change}")
    except ClickHouseError as error:
        raise StoreError(f"retention of {table}: {one_line(error)}") from error


def _days_of(engine: str) -> int:
    ttl = _TTL.search(engine)
    days = _DAYS.search(ttl[1]) if ttl else None
    return int(days[1]) if days else 0
