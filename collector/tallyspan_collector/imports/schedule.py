"""Imports that the collector does by itself: when they are due, and days that got calls since."""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta

import structlog
from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of
from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.moments import utc
from tallyspan_collector.bills.entry_values import MAX_LOOK_BACK_DAYS
from tallyspan_collector.booked.imports import Booking, gone_until
from tallyspan_collector.booked.run import BRIEF_PATIENCE_SECONDS
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.errors import BillError, ConfigError
from tallyspan_collector.imports import fetch, recorded, reports
from tallyspan_collector.imports.booking import book
from tallyspan_collector.imports.lines import entries_then
from tallyspan_collector.imports.settings import Import
from tallyspan_collector.librechat import people
from tallyspan_collector.librechat.days import first_day, last_read
from tallyspan_collector.librechat.late import late_days
from tallyspan_collector.librechat.mongo import Mongo
from tallyspan_collector.librechat.run import run as run_ledger
from tallyspan_collector.librechat.settings import LedgerImport, uri_of
from tallyspan_collector.metrics.counters import Metrics
from tallyspan_collector.pricing.book import PriceBook

AGAIN_SECONDS = 900
"""After a failure that may pass."""
_LAST = """
SELECT source, max(fetched_at) FROM usage_report_days GROUP BY source
"""
_log = structlog.get_logger()


class Schedule:
    """Imports when they are due; `warnings` say what failed and what it takes."""

    def __init__(
        self,
        imports: Sequence[Import | LedgerImport],
        prices: Callable[[], PriceBook],
        directory: Directory,
        metrics: Metrics,
    ) -> None:
        self._imports = imports
        self._prices = prices
        self._directory = directory
        self._metrics = metrics
        self._failures: dict[str, str] = {}
        self._next: dict[str, datetime] = {}
        self._tried: dict[str, datetime] = {}
        self._late: dict[str, datetime] = {}
        self._priced_with: tuple[object, object] | None = None

    @property
    def warnings(self) -> list[str]:
        """Return a sentence for each import that failed the last time."""
        return [f"import {name}: {why}" for name, why in self._failures.items()]

    def look(self, client: Client, now: datetime | None = None) -> None:
        """Import what is due, then book days again that got calls since; raises as the store.

        One import at a time over all machines: what another collector does is not done again.
        """
        now = now or STORE_CLOCK.now()
        if self._imports:
            last = {str(name): utc(at) for name, at in tuples_of(client, _LAST)}
            last |= last_read(client)
            for each in self._imports:
                done = last.get(each.name)
                self._metrics.import_age(each.name, _age(now, done))
                if done is not None and done > self._tried.get(each.name, done):
                    self._failures.pop(each.name, None)  # another collector did it
                if self._is_due(each, done, now):
                    self._import(client, each, now)
                elif isinstance(each, LedgerImport) and each.name not in self._failures:
                    self._take_back(client, each, now)
        self._again(client, now)

    def _is_due(self, what: Import | LedgerImport, last: datetime | None, now: datetime) -> bool:
        if what.name in self._failures:  # what was read before it failed is no whole import
            return now >= self._next[what.name]
        is_old = last is None or now >= last + timedelta(seconds=what.every_seconds)
        return is_old and now >= self._next.get(what.name, now)

    def _import(self, client: Client, what: Import | LedgerImport, now: datetime) -> None:
        wait = what.every_seconds
        self._tried[what.name] = now
        try:
            if isinstance(what, LedgerImport):
                changes = self._of_ledger(client, what, now)
            else:
                changes = self._of_report(client, what, now)
        except (ConfigError, BillError, StoreError) as error:
            self._failures[what.name] = str(error)
            self._metrics.imported(what.name, "failed")
            _log.warning("import.failed", name=what.name, error=str(error))
            if not isinstance(error, ConfigError):
                wait = min(AGAIN_SECONDS, what.every_seconds)
        else:
            self._failures.pop(what.name, None)
            self._metrics.imported(what.name, "done")
            self._metrics.import_age(what.name, 0)
            _log.info("import.done", name=what.name, changes=changes)
        self._next[what.name] = now + timedelta(seconds=wait)

    def _of_report(self, client: Client, what: Import, now: datetime) -> int:
        """Import the report of a provider; return how much changes."""
        yesterday = now.date() - timedelta(days=1)
        first = yesterday - timedelta(days=what.look_back_days - 1)
        if (until := gone_until(client)) is not None:
            first = max(first, until + timedelta(days=1))
        booking = self._booking("by schedule")
        outcome = fetch.run(client, what, first, yesterday, booking, is_patient=False, now=now)
        return outcome.result.changes

    def _of_ledger(
        self, client: Client, what: LedgerImport, now: datetime, days: Sequence[date] = ()
    ) -> int:
        """Import LibreChat's ledger, by default since its last import; return how much changes."""
        today = now.date()
        spans = [(day, day) for day in days] or [
            (first_day(client, what.name, today, what.look_back_days), today)
        ]
        booking = self._booking("spans came late" if days else "by schedule")
        changes = 0
        with Mongo(uri_of(what), what.database) as mongo:
            people.update(client, mongo, what, "tallyspan")
            for first, last in spans:
                outcome = run_ledger(
                    client, mongo, what, first, last, booking, is_patient=False, now=now
                )
                changes += outcome.result.changes
                if days:
                    continue
                for reason, count in outcome.left_out.items():
                    self._metrics.import_left_out(what.name, reason, count)
                for note in outcome.notes:
                    _log.info("import.left_out", name=what.name, note=note)
        return changes

    def _take_back(self, client: Client, what: LedgerImport, now: datetime) -> None:
        """Import days of LibreChat's ledger again whose calls got a span since."""
        since = now - timedelta(days=MAX_LOOK_BACK_DAYS)
        late = late_days(client, what, since)
        newest = max((each.seen for each in late), default=None)
        if newest is None or newest <= self._late.get(what.name, since):
            return
        days = sorted({each.day for each in late})
        if (until := gone_until(client)) is not None:
            days = [day for day in days if day > until]
        try:
            changes = self._of_ledger(client, what, now, days) if days else 0
        except (ConfigError, BillError, StoreError) as error:
            _log.warning("import.failed", name=what.name, error=str(error))
            return
        self._late[what.name] = newest
        _log.info("import.again", name=what.name, days=len(days), changes=changes)

    def _booking(self, reason: str) -> Booking:
        return Booking(self._prices(), self._directory, reason=reason)

    def _again(self, client: Client, now: datetime) -> None:
        first = now.date() - timedelta(days=MAX_LOOK_BACK_DAYS)
        if (until := gone_until(client)) is not None:
            first = max(first, until + timedelta(days=1))
        there = reports.latest(client, first)
        book_now = self._prices()
        priced_with = (book_now.file, book_now.data)
        if there:
            is_new = priced_with != self._priced_with
            days = self._changed(client, there, first, now.date(), are_prices_new=is_new)
            if days:
                result = book(
                    client,
                    days,
                    book_now,
                    self._directory,
                    reason="calls came after the import",
                    patience_seconds=BRIEF_PATIENCE_SECONDS,
                )
                _log.info("import.again", days=len(days), changes=result.changes)
        self._priced_with = priced_with

    def _changed(
        self,
        client: Client,
        there: Sequence[reports.DayReport],
        first: date,
        today: date,
        *,
        are_prices_new: bool,
    ) -> list[reports.DayReport]:
        """Return the days of which the ledger has other calls now, or that may have a price now."""
        then = entries_then(client, first)
        by_day = recorded.entries_by_day(client, first - timedelta(days=1), today)
        changed = []
        for each in there:
            entries, unpriced = then.get((each.matching.name, each.day), (-1, 0))
            is_other = entries != recorded.entries_of(each.matching, each.day, by_day)
            if is_other or (unpriced and are_prices_new):
                changed.append(each)
        return changed


def _age(now: datetime, last: datetime | None) -> float:
    """Return seconds; -1: it was never done."""
    return (now - last).total_seconds() if last else -1.0
