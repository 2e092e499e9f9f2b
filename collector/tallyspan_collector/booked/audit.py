"""Who changed booked calls, when, why, and by how much: two rows for each run."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.clock import STORE_CLOCK


@dataclass(slots=True)
class Changed:
    """How many calls, or bookings of calls, a run changed, and their cost before and after, in USD.

    The fields are columns of `price_changes`.
    """

    calls: int = 0
    old_cost_usd: Decimal = Decimal(0)
    new_cost_usd: Decimal = Decimal(0)


class Audit:
    """Writes before the first entry of a run that it began, and at its end what it did.

    A run with a row `begun` and no row `finished` was broken off; the next run completes it.
    `columns` are those that both rows have.
    """

    def __init__(self, client: Client, table: str, columns: Mapping[str, Any]) -> None:
        self._client = client
        self._table = table
        self._row = {
            "run_id": secrets.token_hex(8),
            "started_at": STORE_CLOCK.now(),
            **columns,
        }

    def begin(self) -> None:
        """Write that entries come."""
        self._write("begun", {})

    def finish(self, totals: Mapping[str, Any]) -> None:
        """Write what was done, by the names of the table's columns."""
        self._write("finished", totals)

    def _write(self, state: str, totals: Mapping[str, Any]) -> None:
        row = {**self._row, "written_at": STORE_CLOCK.now(), "state": state, **totals}
        self._client.insert(
            self._table, [[*row.values()]], column_names=[*row], settings={"async_insert": 0}
        )
