"""A bill is kept, and the ledger made equal to it; or what was booked of it is taken back."""

from collections.abc import Sequence
from datetime import date

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.ledger_lock import PATIENCE_SECONDS
from tallyspan_collector.bills.billed import Billed
from tallyspan_collector.booked.imports import check_kept
from tallyspan_collector.booked.run import run
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.pricing.commitments import days_between
from tallyspan_collector.true_up import stored
from tallyspan_collector.true_up.booking import Result, TrueUp
from tallyspan_collector.true_up.due import charges
from tallyspan_collector.true_up.scope import Scope
from tallyspan_collector.true_up.stored import Days


def book(
    client: Client,
    scope: Scope,
    bill: Sequence[Billed],
    first: date,
    last: date,
    source: str,
    *,
    is_applied: bool,
    changed_by: str = "",
    reason: str = "",
    patience_seconds: float = PATIENCE_SECONDS,
) -> Result:
    """Make the ledger equal to a bill from the first day to the last; only with `is_applied`.

    Raises `ConfigError` for a bill without costs, without any line of these days, or one that
    speaks of what another bill of the store speaks of; `StoreError` as `booked.run.run`.
    """
    there = [charge for charge in charges(bill) if first <= charge.day <= last]
    if not there:
        raise ConfigError(
            f"the bill {scope.bill} has no costs from {first} to {last}: nothing to make the ledger"
            " equal to"
        )
    check_kept(client, first)
    days = Days(scope, [*days_between(first, last)], there)

    def read_bills(client: Client) -> Sequence[Days]:
        _check_apart(client, days)
        if is_applied:
            stored.write(client, days, source)
        return stored.apart(days, stored.heads(client, first, last))

    return run(
        client,
        TrueUp(read_bills),
        is_applied=is_applied,
        changed_by=changed_by,
        reason=reason,
        patience_seconds=patience_seconds,
    )


def withdraw(
    client: Client,
    name: str,
    first: date,
    last: date,
    *,
    is_applied: bool,
    changed_by: str = "",
    reason: str = "",
) -> Result:
    """Take back the true-up of a bill.

    Raises `ConfigError` if none of these days has one, or if the entries of some are gone.
    """
    check_kept(client, first)

    def read_bills(client: Client) -> Sequence[Days]:
        held = stored.heads(client, first, last)
        there = [each for each in held if each.bill == name]
        if not there:
            raise ConfigError(f"no day from {first} to {last} was ever trued up by a bill {name!r}")
        of_bill = stored.days_of(client, (each._replace(revision="") for each in there), held)
        if is_applied:
            for each in of_bill:
                stored.withdraw(client, each.scope, each.days)
        return of_bill

    return run(
        client, TrueUp(read_bills), is_applied=is_applied, changed_by=changed_by, reason=reason
    )


def _check_apart(client: Client, days: Days) -> None:
    for other in stored.read(client, days.days[0], days.days[-1]):
        is_same = other.scope.bill == days.scope.bill
        if not is_same and other.scope.overlaps(days.scope):
            raise ConfigError(
                f"the bill {days.scope.bill} speaks of calls that the bill {other.scope.bill} is"
                f" already about on {other.days[0]}: narrow one of them (--endpoint,"
                " --ledger-provider), or withdraw the other"
            )
