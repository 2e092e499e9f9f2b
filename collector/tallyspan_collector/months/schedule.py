"""What the collector books by itself of bills and closed months, as the ledger changes."""

from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta

import structlog
from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of
from tallyspan_clickhouse.moments import microseconds, sql_moment
from tallyspan_clickhouse.schema import PRIOR_PERIOD, TRUE_UP
from tallyspan_collector.bills.billed import Billed
from tallyspan_collector.booked.commitments import midnight
from tallyspan_collector.booked.imports import gone_until
from tallyspan_collector.booked.prior_period import PriorPeriod
from tallyspan_collector.booked.run import BRIEF_PATIENCE_SECONDS, run_if_due
from tallyspan_collector.reconcile.settings import Reconciliation
from tallyspan_collector.true_up import run, stored
from tallyspan_collector.true_up.booking import TrueUp
from tallyspan_collector.true_up.scope import EDGE, Scope
from tallyspan_collector.true_up.stored import Days, Head
from tallyspan_collector.units.months import next_month

SETTLED_DAYS = 2
"""Days must have been over for so long before a bill of them is whole."""
# Entries are only ever added: where none are new, nothing has changed. Those of a month are counted
# without reading them.
_OF_MONTHS = """
SELECT toYYYYMM(start_time) AS month, count() FROM llm_calls GROUP BY month
"""
_OF_DAYS = f"""
SELECT toDate(start_time, 'UTC') AS day, count() FROM llm_calls
WHERE start_time >= {sql_moment("start")} AND start_time < {sql_moment("stop")}
    AND entry_kind NOT IN ('{TRUE_UP}', '{PRIOR_PERIOD}')
GROUP BY day
"""  # noqa: S608  own names, values are bound
_CLOSES = "SELECT month, state, version FROM months"
_log = structlog.get_logger()
_Counts = dict[date, int]


def take(
    client: Client,
    what: Reconciliation,
    lines: Sequence[Billed],
    first: date,
    last: date,
    now: datetime,
) -> None:
    """Make the ledger equal to a bill that the collector has read, of days that are settled.

    Raises as `true_up.run.book`; a bill that has nothing of these days changes nothing.
    """
    if what.true_up is None:
        return
    scope = Scope.of(what.bill, what.true_up)
    today = now.astimezone(what.bill.days_of).date()
    last = min(last, today - timedelta(days=SETTLED_DAYS))
    if (until := gone_until(client)) is not None:
        first = max(first, until + timedelta(days=1))
    if first > last or not any(first <= line.day <= last for line in lines):
        return
    result = run.book(
        client, scope, lines, first, last, what.bill.source, is_applied=True,
        changed_by="tallyspan", reason="by schedule", patience_seconds=BRIEF_PATIENCE_SECONDS,
    )  # fmt: skip
    _log.info("true_up.done", bill=scope.bill, changes=result.changes)


class Closing:
    """Books true-up again and moves what changed in closed months, as the ledger changes.

    It looks again at what changed at the look before: the entries of a month can be there before
    they are added up.
    """

    def __init__(self) -> None:
        self._heads: set[Head] = set()
        self._closes: set[tuple[object, ...]] = set()
        self._by_month: _Counts = {}
        self._by_day: _Counts = {}
        self._again: set[date] | None = None

    def look(self, client: Client) -> None:
        """Look once; raises as the store, `StoreError` while others book."""
        closes = set(tuples_of(client, _CLOSES))
        until = gone_until(client)
        # Entries of days before are gone: nothing would seem to be recorded or trued up.
        heads = stored.heads(client, *([until + timedelta(days=1)] if until else []))
        if not heads and not closes:
            return
        by_month = {_month_of(month): int(count) for month, count in tuples_of(client, _OF_MONTHS)}
        changed = {month for month, _ in by_month.items() ^ self._by_month.items()}
        by_day = self._by_day | self._days(client, heads, changed)
        days = {day for day, _ in by_day.items() ^ self._by_day.items()}
        days |= {each.day for each in heads ^ self._heads}
        if near := _near(heads, days):

            def read_bills(client: Client) -> Sequence[Days]:
                now = stored.heads(client, min(near), max(near))
                return stored.days_of(client, (each for each in now if each.day in near), now)

            reason = "the ledger changed after the bill"
            run_if_due(client, lambda: TrueUp(read_bills), reason=reason)
        looked_at: set[date] | None = None
        if self._again is not None and closes == self._closes:
            looked_at = changed | self._again
        run_if_due(
            client,
            lambda: PriorPeriod(looked_at),
            reason="the ledger changed after the month was closed",
        )
        self._heads, self._closes, self._by_day = heads, closes, by_day
        self._by_month, self._again = by_month, changed

    def _days(self, client: Client, heads: Collection[Head], changed: set[date]) -> _Counts:
        """Return the entries of each day (UTC) of the months that changed and have bills."""
        billed = {
            day.replace(day=1) for each in heads for day in (each.day - EDGE, each.day + EDGE)
        }
        result: _Counts = {}
        for month in sorted(billed & changed):
            bounds = {
                "start": microseconds(midnight(month)),
                "stop": microseconds(midnight(next_month(month))),
            }
            result |= {day: int(count) for day, count in tuples_of(client, _OF_DAYS, bounds)}
        return result


def _near(heads: Collection[Head], changed: Collection[date]) -> set[date]:
    """Return the days of bills near those that changed: one of another zone is in two of UTC."""
    near = {day + timedelta(days=n) for day in changed for n in (-1, 0, 1)}
    return near & {each.day for each in heads}


def _month_of(number: int) -> date:
    return date(number // 100, number % 100, 1)
