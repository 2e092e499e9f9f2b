"""What must hold before a month is closed: each check says what it saw, and what to do."""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import row_of, tuples_of
from tallyspan_clickhouse.moments import microseconds, sql_moment
from tallyspan_clickhouse.query.bill_figures import IS_USE
from tallyspan_collector.booked.commitments import midnight
from tallyspan_collector.pricing.commitments import days_between
from tallyspan_collector.true_up import stored
from tallyspan_collector.true_up.booking import TrueUp
from tallyspan_collector.true_up.stored import Days
from tallyspan_collector.units.counts import counted
from tallyspan_collector.units.money import dollars
from tallyspan_collector.units.months import next_month

DRIFT = "drift:"
_SHOWN = 5


class Check(NamedTuple):
    """One check: its name, whether it holds, and what it saw."""

    name: str
    is_passed: bool
    about: str


def checks(client: Client, month: date) -> list[Check]:
    """Return the checks of a month (its first day). Raises what the store raises."""
    bills = stored.read(client, month, next_month(month) - timedelta(days=1))
    compared = _compared(client, month, {each.scope.bill for each in bills})
    return [
        _unpriced(client, month),
        _unread(client, month),
        *_trued_up(client, month, bills),
        *compared,
        _no_bill(client, month, bills, has_compared=bool(compared)),
    ]


def _unpriced(client: Client, month: date) -> Check:
    rows = tuples_of(
        client,
        "SELECT model_name, sum(unpriced_calls) AS calls FROM usage_totals"
        " WHERE day >= {month:Date} AND day < {stop:Date} GROUP BY model_name HAVING calls != 0"
        " ORDER BY calls DESC",
        _bounds(month),
    )
    calls = sum(int(count) for _, count in rows)
    models = ", ".join(str(model) or "(none)" for model, _ in rows[:_SHOWN])
    about = f"{counted(calls, 'call')} without a price ({models}): tallyspan prices missing"
    return Check("unpriced", not calls, about if calls else "every call has a price")


def _unread(client: Client, month: date) -> Check:
    [calls] = row_of(
        client,
        "SELECT count() FROM calls WHERE notEmpty(unread)"  # noqa: S608  values are bound
        f" AND start_time >= {sql_moment('start')} AND start_time < {sql_moment('end')}",
        {
            "start": microseconds(midnight(month)),
            "end": microseconds(midnight(next_month(month))),
        },
    )
    about = f"{counted(calls, 'call')} whose usage has places that no rule reads: Data health"
    return Check("unread", not calls, about if calls else "all usage is read")


def _trued_up(client: Client, month: date, bills: list[Days]) -> Iterator[Check]:
    """Yield a check for each bill that the ledger is made equal to."""
    wanted = {*days_between(month, next_month(month) - timedelta(days=1))}
    for name in sorted({each.scope.bill for each in bills}):
        of_bill = [each for each in bills if each.scope.bill == name]
        kind = TrueUp(partial(_these, of_bill))
        for _ in kind.calls(client):
            pass
        result = kind.result
        missing = sorted(wanted - {day for each in of_bill for day in each.days})
        left = result.new_cost_usd - result.old_cost_usd
        if missing:
            days = ", ".join(f"{day:%d}" for day in missing[:_SHOWN])
            about = f"{counted(len(missing), 'day')} without a bill ({days}): tallyspan true-up"
        elif result.changes:
            about = f"{dollars(left)} to be trued up again: tallyspan true-up {name}"
        else:
            about = f"recorded and trued up are what is billed: {dollars(result.billed_usd)}"
        yield Check(f"{DRIFT}{name}", not missing and not result.changes, about)


def _these(bills: list[Days], _: Client) -> list[Days]:
    return bills


def _compared(client: Client, month: date, trued_up: set[str]) -> list[Check]:
    """Return a check for each bill that is compared only."""
    rows = tuples_of(
        client,
        "SELECT provider, sum(recorded_cost_usd), sum(billed_cost_usd), max(threshold)"  # noqa: S608
        f" FROM reconciliations WHERE {IS_USE} AND day >= {{month:Date}} AND day < {{stop:Date}}"
        " GROUP BY provider HAVING count(billed_cost_usd) > 0 ORDER BY provider",
        _bounds(month),
    )
    result = []
    for name, recorded, billed, threshold in rows:
        if name in trued_up:
            continue
        drift = abs(recorded - billed)
        is_passed = drift <= Decimal(str(threshold)) * billed
        about = f"recorded {dollars(recorded)}, billed {dollars(billed)}"
        result.append(Check(f"{DRIFT}{name}", is_passed, about))
    return result


def _no_bill(client: Client, month: date, bills: list[Days], *, has_compared: bool) -> Check:
    """Return whether every provider with spend is on a bill that the ledger is made equal to."""
    providers = [each.scope.providers for each in bills]
    rows = tuples_of(
        client,
        "SELECT provider_name, sum(cost_usd) AS cost FROM usage_totals"
        " WHERE day >= {month:Date} AND day < {stop:Date}"
        " GROUP BY provider_name HAVING cost >= 0.01 ORDER BY cost DESC",
        _bounds(month),
    )
    off = [
        (str(name) or "(none)", cost)
        for name, cost in rows
        if not any(not those or name in those for those in providers)
    ]
    if not off:
        return Check("no_bill", True, "every provider with spend is on a bill")
    shown = ", ".join(f"{name} {dollars(cost)}" for name, cost in off[:_SHOWN])
    more = "compared only" if has_compared else "no bill was read"
    return Check("no_bill", False, f"not trued up ({more}): {shown}: tallyspan true-up")


def _bounds(month: date) -> dict[str, date]:
    return {"month": month, "stop": next_month(month)}
