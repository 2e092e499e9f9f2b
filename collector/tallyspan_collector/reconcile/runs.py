"""Runs of reconcile as they are kept: what was compared when, by whom, and what failed."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from clickhouse_connect.driver.client import Client

from tallyspan_collector.access.account import account


@dataclass(frozen=True, slots=True)
class Run:
    """A comparison of the days of a bill; `error` says why it failed, empty: it did not.

    `is_scheduled`: the collector's own, and none by hand. `notes` are sentences on what was read.
    """

    provider: str
    source: str
    first: date
    last: date
    is_scheduled: bool = False
    error: str = ""
    lines: int = 0
    lines_off: int = 0
    notes: Sequence[str] = ()
    run_id: str = field(default_factory=lambda: secrets.token_hex(8))
    run_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def store(self, client: Client) -> None:
        """Write it to `reconciliation_runs`. Raises what the store raises."""
        row = {
            "run_id": self.run_id,
            "run_at": self.run_at,
            "run_by": account(),
            "is_scheduled": self.is_scheduled,
            "provider": self.provider,
            "source": self.source,
            "first_day": self.first,
            "last_day": self.last,
            "lines": self.lines,
            "lines_off": self.lines_off,
            "notes": list(self.notes),
            "error": self.error,
        }
        client.insert(
            "reconciliation_runs",
            [list(row.values())],
            column_names=list(row),
            settings={"async_insert": 0},
        )
