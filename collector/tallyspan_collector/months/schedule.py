"""What the collector books by itself of bills and closed months, as the ledger changes."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import structlog
from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of
from tallyspan_collector.bills.billed import Billed
from tallyspan_collector.booked.imports import gone_until
from tallyspan_collector.booked.prior_period import PriorPeriod
from tallyspan_collector.booked.run import BRIEF_PATIENCE_SECONDS, run_if_due
from tallyspan_collector.reconcile.settings import Reconciliation
from tallyspan_collector.true_up import run, stored
from tallyspan_collector.true_up.booking import TrueUp
from tallyspan_collector.true_up.scope import EDGE, Scope
from tallyspan_collector.true_up.stored import Days

SETTLED_DAYS = 2
"""Days must have been over for so long before a bill of them is whole."""
_KEY = "day, tenant, department, model_name, provider_name, endpoint_id"
# All that the parts of a true-up depend on, as one number a day.
_OF_DAYS = f"""
SELECT day, groupBitXor(cityHash64({_KEY}, calls, cost)) FROM (
    SELECT {_KEY}, sum(calls) AS calls, sum(ifNull(cost_usd, 0)) - sum(true_up_cost_usd)
        - sum(prior_period_cost_usd) AS cost
    FROM usage_totals WHERE day >= {{first:Date}} AND day <= {{last:Date}}
    GROUP BY {_KEY} HAVING calls != 0 OR cost != 0)
GROUP BY day
"""  # noqa: S608  own names, values are bound
_log = structlog.get_logger()
_Sums = dict[date, int]


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
    """Books true-up again and moves what changed in closed months, as the ledger changes."""

    def __init__(self) -> None:
        self._then: _Sums = {}
        self._is_first = True

    def look(self, client: Client) -> None:
        """Look once; raises as the store, `StoreError` while others book."""
        until = gone_until(client)
        # Entries of days before are gone: nothing would seem to be recorded or trued up.
        held = stored.read(client, *([until + timedelta(days=1)] if until else []))
        changed, now = self._changed(client, held)
        if due := _of_days(held, changed):
            run_if_due(client, lambda: TrueUp(due), reason="the ledger changed after the bill")
        # What moved within a department only shows in the lines themselves.
        is_first = self._is_first
        run_if_due(
            client,
            lambda: PriorPeriod(is_thorough=is_first),
            reason="the ledger changed after the month was closed",
        )
        self._then, self._is_first = now, False

    def _changed(self, client: Client, held: Sequence[Days]) -> tuple[set[date], _Sums]:
        """Return the days (UTC) whose sums are others than at the last look, and the sums."""
        days = [day for each in held for day in each.days]
        if not days:
            return set(), {}
        bounds = {"first": min(days) - EDGE, "last": max(days) + EDGE}
        now = {day: int(sums) for day, sums in tuples_of(client, _OF_DAYS, bounds)}
        days_of_either = now.keys() | self._then.keys()
        return {day for day in days_of_either if now.get(day) != self._then.get(day)}, now


def _of_days(held: Sequence[Days], changed: set[date]) -> list[Days]:
    """Return the bills of the days that changed; a day of another zone is in two of UTC."""
    near = {day + timedelta(days=n) for day in changed for n in (-1, 0, 1)}
    result = []
    for each in held:
        days = [day for day in each.days if day in near]
        if days:
            charges = [charge for charge in each.charges if charge.day in near]
            result.append(Days(each.scope, days, charges))
    return result
