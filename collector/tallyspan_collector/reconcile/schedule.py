"""Bills that the collector compares with by itself, when they are due; what they cover and say."""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta

import structlog
from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import row_of, tuples_of
from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.ledger_lock import reconcile_lock
from tallyspan_clickhouse.moments import utc
from tallyspan_clickhouse.query.bill_figures import COVERAGE, DRIFT, IS_USE
from tallyspan_collector.bills.billed import Billed
from tallyspan_collector.errors import BillError, ConfigError
from tallyspan_collector.metrics.counters import Metrics
from tallyspan_collector.reconcile.bill import Bill
from tallyspan_collector.reconcile.runs import Run
from tallyspan_collector.reconcile.settings import Reconciliation

AGAIN_SECONDS = 900
"""After a failure that may pass."""
PATIENCE_SECONDS = 5.0
"""How long another machine is waited for that compares."""
# What somebody compared by hand, perhaps other days, does not put off what is due.
_LAST = """
SELECT provider, max(run_at) FROM reconciliation_runs WHERE is_scheduled AND error = ''
GROUP BY provider
"""
# Of days that are over for two: a bill has them whole by then.
_FIGURES = """
SELECT {coverage}, {drift} FROM reconciliations
WHERE provider = {{name:String}} AND day >= {{first:Date}} AND day <= {{last:Date}} AND {is_use}
"""
_log = structlog.get_logger()


Take = Callable[[Client, Reconciliation, Sequence[Billed], date, date, datetime], None]
"""Who gets a bill that was read, the first and last day it was read of, and when that was."""


class Schedule:
    """Compares with bills when they are due; `warnings` say what failed and what it takes.

    A bill that was read is handed to `take` as well, so that it is read once.
    """

    def __init__(
        self,
        reconciliations: Sequence[Reconciliation],
        metrics: Metrics,
        take: Take = lambda *_: None,
    ) -> None:
        self._reconciliations = reconciliations
        self._metrics = metrics
        self._take = take
        self._failures: dict[str, str] = {}
        self._next: dict[str, datetime] = {}

    @property
    def warnings(self) -> list[str]:
        """Return a sentence for each comparison that failed the last time."""
        return [f"reconcile {name}: {why}" for name, why in self._failures.items()]

    def look(self, client: Client, now: datetime | None = None) -> None:
        """Compare with the bills that are due; raises as the store.

        One at a time over all machines: what another collector does is not done again.
        """
        if not self._reconciliations:
            return
        now = now or STORE_CLOCK.now()
        last = {str(name): utc(at) for name, at in tuples_of(client, _LAST)}
        for each in self._reconciliations:
            done = last.get(each.name)
            is_old = done is None or now >= done + timedelta(seconds=each.every_seconds)
            is_due = is_old or each.name in self._failures  # what was compared may not be booked
            if is_due and now >= self._next.get(each.name, now):
                self._compare(client, each, now)
            self._tell(client, each, now)

    def _compare(self, client: Client, what: Reconciliation, now: datetime) -> None:
        yesterday = now.astimezone(what.bill.days_of).date() - timedelta(days=1)
        first = yesterday - timedelta(days=what.look_back_days - 1)
        wait = what.every_seconds
        try:
            with reconcile_lock(client, f"reconcile {what.name}", PATIENCE_SECONDS):
                lines = what.bill.read(first, yesterday)
                outcome = what.bill.compared(client, lines, first, yesterday, now)
                outcome.store(client, is_scheduled=True)
                self._take(client, what, lines, first, yesterday, now)
        except (ConfigError, BillError, StoreError) as error:
            if not isinstance(error, StoreError):  # which is another machine that compares
                _failed(what.bill, first, yesterday, now, str(error)).store(client)
            self._failures[what.name] = str(error)
            self._metrics.reconciled(what.name, "failed")
            _log.warning("reconcile.failed", name=what.name, error=str(error))
            if not isinstance(error, ConfigError):
                wait = min(AGAIN_SECONDS, wait)
        else:
            self._failures.pop(what.name, None)
            self._metrics.reconciled(what.name, "done")
            off = sum(not line.is_within for line in outcome.lines)
            _log.info("reconcile.done", name=what.name, lines=len(outcome.lines), off=off)
        self._next[what.name] = now + timedelta(seconds=wait)

    def _tell(self, client: Client, what: Reconciliation, now: datetime) -> None:
        """Say coverage and drift of the days that a bill has whole, whoever compared them."""
        last = now.astimezone(what.bill.days_of).date() - timedelta(days=2)
        first = last - timedelta(days=what.look_back_days - 1)
        coverage, drift = row_of(
            client,
            _FIGURES.format(coverage=COVERAGE, drift=DRIFT, is_use=IS_USE),
            parameters={"name": what.name, "first": first, "last": last},
        )
        self._metrics.bill_compared(what.name, _number(coverage), _number(drift))


def _failed(bill: Bill, first: date, last: date, at: datetime, error: str) -> Run:
    return Run(bill.name, bill.source, first, last, is_scheduled=True, error=error, run_at=at)


def _number(value: object) -> float | None:
    return None if value is None else float(str(value))
