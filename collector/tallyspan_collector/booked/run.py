"""A kind of change is carried out: calls are selected, changed and audited under one lock."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date
from itertools import islice
from typing import Any, Protocol, TypeVar

import structlog
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_clickhouse.engine import one_line
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.ledger_lock import PATIENCE_SECONDS, STALE_SECONDS, ledger_lock
from tallyspan_clickhouse.table_lock import Held
from tallyspan_collector.booked.audit import Audit
from tallyspan_collector.booked.certain import repair_broken_off
from tallyspan_collector.booked.ledger import Change, Row, book
from tallyspan_collector.booked.prior_period import PriorPeriod

_log = structlog.get_logger()
BATCH_CALLS = 10_000
BRIEF_PATIENCE_SECONDS = 2.0
"""Of a collector's own runs: another that does the same does it for both, or it comes again."""
Result = TypeVar("Result", covariant=True)  # noqa: PLC0105  named for what it is


class Kind(Protocol[Result]):
    """A kind of change: what it selects, what it books, what its audit rows say.

    What is booked must leave nothing to change: a run that was broken off is then completed by
    running it again.
    """

    @property
    def name(self) -> str:
        """Its name, for those who wait for the lock."""

    @property
    def result(self) -> Result:
        """What was changed so far, and what was left alone."""

    @property
    def audit_table(self) -> str:
        """Table of the audit rows."""

    def audit_scope(self) -> Mapping[str, Any]:
        """Return which calls are looked at, by the columns of the audit table."""

    def audit_totals(self) -> Mapping[str, Any]:
        """Return what was changed, by the columns of the audit table."""

    def calls(self, client: Client) -> Iterator[Row]:
        """Yield the calls to look at, as `ledger.calls` does."""

    def entries(self, call: Row) -> Sequence[Row]:
        """Return the entries that change the call, and add it to the result; empty: it stays."""


def run_if_due(
    client: Client,
    kind: Callable[[], Kind[Result]],
    *,
    reason: str,
    stale_seconds: int = STALE_SECONDS,
    is_ending: Callable[[], bool] = lambda: False,
) -> Result | None:
    """Book what a kind of a collector's own changes leaves to do; None: there is nothing.

    Raises what `run` raises. It looks without the lock first: most of the time there is nothing.
    """
    preview = kind()
    for call in preview.calls(client):
        _check(is_ending)
        if preview.entries(call):
            break
    else:
        return None
    return run(
        client,
        kind(),
        is_applied=True,
        changed_by="tallyspan",
        reason=reason,
        patience_seconds=BRIEF_PATIENCE_SECONDS,
        stale_seconds=stale_seconds,
        is_ending=is_ending,
    )


def run(
    client: Client,
    kind: Kind[Result],
    *,
    is_applied: bool,
    changed_by: str = "",
    reason: str = "",
    patience_seconds: float = PATIENCE_SECONDS,
    stale_seconds: int = STALE_SECONDS,
    is_ending: Callable[[], bool] = lambda: False,
) -> Result:
    """Return what the kind changes; only with `is_applied` it is booked and audited.

    First the rollups are put right of a run before it that was broken off.

    One run at a time books, over all machines. Raises StoreError if another run still books after
    `patience_seconds` or has taken the lock over, and what the store raises. A run that said
    nothing for `stale_seconds` is taken for dead. Once the process `is_ending`, it is broken off
    with StoreError: the lock is free at once, and the next run does the rest.
    """
    if not is_applied:
        for call in kind.calls(client):
            kind.entries(call)
        return kind.result
    with ledger_lock(client, kind.name, patience_seconds, stale_seconds) as held:
        STORE_CLOCK.set_by(client)
        repair_broken_off(client, kind.audit_table)
        months = _book(client, kind, held, (changed_by, reason), is_ending)
        if months and not isinstance(kind, PriorPeriod):
            by_and_why = changed_by, f"of a closed month: {reason}"
            _move_on(client, held, months, by_and_why, is_ending)
    return kind.result


def _move_on(
    client: Client,
    held: Held,
    months: Collection[date],
    by_and_why: tuple[str, str],
    is_ending: Callable[[], bool],
) -> None:
    """Move what the run changed in closed months; what fails is left to the collector's look."""
    try:
        _book(client, PriorPeriod(months), held, by_and_why, is_ending)
    except (ClickHouseError, HTTPError, StoreError) as error:  # what was asked for is booked
        _log.warning("closed_months.not_corrected", error=one_line(error))


def _book(
    client: Client,
    kind: Kind[Any],
    held: Held,
    by_and_why: tuple[str, str],
    is_ending: Callable[[], bool],
) -> set[date]:
    """Book what a kind changes; return the months (their first days) that got entries."""
    changed_by, reason = by_and_why
    audit: Audit | None = None
    months: set[date] = set()
    changes = _changes(client, kind, held, is_ending)
    while batch := list(islice(changes, BATCH_CALLS)):
        held.keep()
        if audit is None:
            columns = {"changed_by": changed_by, "reason": reason, **kind.audit_scope()}
            audit = Audit(client, kind.audit_table, columns)
            audit.begin()
        book(client, kind.name, batch)
        months |= {
            entry["start_time"].date().replace(day=1) for each in batch for entry in each.entries
        }
    if audit is not None:
        audit.finish(kind.audit_totals())
    return months


def _check(is_ending: Callable[[], bool]) -> None:
    if is_ending():
        raise StoreError("broken off: the process ends; the next run does the rest", retryable=True)


def _changes(
    client: Client, kind: Kind[Any], held: Held, is_ending: Callable[[], bool]
) -> Iterator[Change]:
    for call in kind.calls(client):
        _check(is_ending)
        held.keep()  # also while there is nothing to book for long
        if entries := kind.entries(call):
            yield Change(call, entries)
