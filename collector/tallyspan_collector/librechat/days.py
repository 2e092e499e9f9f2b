"""Which days of LibreChat's ledger were read, and up to which document."""

import secrets
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of
from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_clickhouse.moments import utc
from tallyspan_collector.access.account import account
from tallyspan_collector.booked.imports import gone_until
from tallyspan_collector.dialects.providers import provider
from tallyspan_collector.librechat.booking import Line

_COLUMNS = (
    "source", "day", "last_id", "calls", "recorded", "imported", "left_out", "read_at", "read_by",
)  # fmt: skip
_LINE_COLUMNS = (
    "run_id", "run_at", "source", "day", "provider", "model_name", "reported_requests",
    "recorded_calls", "reported_tokens", "recorded_tokens", "imported_tokens", "less_tokens",
    "reported_cost_usd", "recorded_cost_usd", "imported_cost_usd", "less_cost_usd",
    "unpriced_tokens", "ledger_entries",
)  # fmt: skip


class Day(NamedTuple):
    """What a run found of a day: calls of LibreChat's ledger, and what became of them.

    `last_id` is the newest document (hex `_id`) that is settled; empty: there is none.
    """

    day: date
    last_id: str
    calls: int
    recorded: int
    imported: int
    left_out: int


def note(client: Client, source: str, day: Day, lines: Mapping[str, Line]) -> None:
    """Keep what a run found of a day, `lines` by model; to be called when all of it is booked."""
    now, run_id = STORE_CLOCK.now(), secrets.token_hex(8)
    settings = {"async_insert": 0}
    if lines:
        client.insert(
            "import_lines",
            [[run_id, now, source, day.day, *_line(model, line)] for model, line in lines.items()],
            column_names=_LINE_COLUMNS,
            settings=settings,
        )
    row = [source, *day, now, account()]
    client.insert("librechat_days", [row], column_names=_COLUMNS, settings=settings)


def _line(model: str, line: Line) -> list[object]:
    """Return what the view `imports` shows of a model beside the reports of providers."""
    return [
        provider("", "", model)[0], model or "(none)", line.calls, line.recorded, line.tokens,
        line.recorded_tokens, line.imported_tokens, max(line.recorded_tokens - line.tokens, 0),
        line.claimed_cost_usd, line.recorded_cost_usd, line.imported_cost_usd, 0,
        line.unpriced_tokens, 0,
    ]  # fmt: skip


def first_day(client: Client, source: str, today: date, look_back_days: int) -> date:
    """Return the day a run begins with: spans may be late, and the last run may be long ago.

    Days whose calls have expired or are archived are left out.
    """
    first = today - timedelta(days=look_back_days - 1)
    rows = tuples_of(
        client,
        "SELECT max(day) FROM librechat_days WHERE source = {source:String} HAVING count() > 0",
        {"source": source},
    )
    for (day,) in rows:
        first = min(first, day)
    until = gone_until(client)
    return first if until is None else max(first, until + timedelta(days=1))


def last_read(client: Client) -> dict[str, datetime]:
    """Return when each source was last read (UTC)."""
    rows = tuples_of(client, "SELECT source, max(read_at) FROM librechat_days GROUP BY source")
    return {str(source): utc(at) for source, at in rows}
