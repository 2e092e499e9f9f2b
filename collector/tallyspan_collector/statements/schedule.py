"""Statements of closed months, written once when a month is closed, whoever closes it."""

from collections.abc import Callable
from datetime import date

import structlog
from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of
from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_clickhouse.engine import one_line
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.ledger_lock import statements_lock
from tallyspan_clickhouse.table_lock import Held
from tallyspan_collector.access.account import account
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.statements.files import write
from tallyspan_collector.statements.rate_card import RateCard
from tallyspan_collector.statements.read import Terms, owners, read
from tallyspan_collector.statements.settings import Written
from tallyspan_collector.summary.currency import currency_of

PATIENCE_SECONDS = 0.0
"""Another collector that writes them is not waited for."""
_DUE = """
SELECT month, version FROM months WHERE state = 'closed'
    AND (month, version) NOT IN (SELECT month, version FROM statement_runs)
ORDER BY month
"""
_COLUMNS = ("month", "version", "written_at", "written_by", "folder", "files")
_log = structlog.get_logger()


class Schedule:
    """Writes statements of each close of a month; `warnings` say which could not be written."""

    def __init__(
        self, written: Written | None, rate_card: RateCard | None, book: Callable[[], PriceBook]
    ) -> None:
        self._written = written
        self._rate_card = rate_card
        self._book = book
        self._failures: dict[tuple[date, int], str] = {}

    @property
    def warnings(self) -> list[str]:
        """Return a sentence for each close whose statements could not be written."""
        return [
            f"statements of {month:%Y-%m}, version {version}: {why}"
            for (month, version), why in self._failures.items()
        ]

    def look(self, client: Client) -> None:
        """Write what is due; raises as the store.

        One collector over all machines: what another one has written or writes is not due here.
        """
        if self._written is None:
            return
        due = [(month, version) for month, version in tuples_of(client, _DUE)]
        self._failures = {each: why for each, why in self._failures.items() if each in due}
        if not due:
            return
        try:
            with statements_lock(client, "statements", PATIENCE_SECONDS) as held:
                for month, version in tuples_of(client, _DUE):
                    self._write(client, self._written, month, version, held)
        except StoreError as error:
            _log.info("statements.waiting", error=str(error))

    def _write(self, client: Client, what: Written, month: date, version: int, held: Held) -> None:
        folder = what.folder / f"{month:%Y-%m}" / f"version-{version}"
        files = 0
        try:
            currency = currency_of(self._book().file, what.currency) if what.currency else None
            terms = Terms(currency, self._rate_card)
            for owner in owners(client, month, what.by):
                files += len(write(client, read(client, month, owner, terms), folder, what.formats))
                held.keep()
        except Exception as error:  # noqa: BLE001  shown as a warning, and tried again
            self._failures[month, version] = one_line(error)
            _log.warning("statements.failed", month=f"{month:%Y-%m}", error=one_line(error))
            return
        self._failures.pop((month, version), None)
        client.insert(
            "statement_runs",
            [[month, version, STORE_CLOCK.now(), account(), str(folder), files]],
            column_names=_COLUMNS,
            settings={"async_insert": 0},
        )
        _log.info("statements.written", month=f"{month:%Y-%m}", version=version, files=files)
