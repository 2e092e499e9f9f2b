"""An import from its beginning to its end: read, kept, booked, a week at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from glob import glob
from pathlib import Path

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_clickhouse.ledger_lock import PATIENCE_SECONDS, imports_lock
from tallyspan_clickhouse.table_lock import Held
from tallyspan_collector.bills.billed import Billed
from tallyspan_collector.bills.entry_values import admin_key
from tallyspan_collector.bills.pages import Api
from tallyspan_collector.booked.imports import Booking, check_kept
from tallyspan_collector.booked.run import BRIEF_PATIENCE_SECONDS
from tallyspan_collector.errors import BillError, ConfigError
from tallyspan_collector.imports import reports
from tallyspan_collector.imports.booking import Result, book
from tallyspan_collector.imports.reports import DayReport
from tallyspan_collector.imports.settings import Import
from tallyspan_collector.units.counts import counted

WINDOW_DAYS = 7
"""So many days are asked for at once and then booked: what breaks off later leaves them booked."""


@dataclass(slots=True)
class Outcome:
    """What an import booked, or would book; `notes` say what of the report was left out."""

    result: Result = field(default_factory=Result)
    notes: list[str] = field(default_factory=list)


def run(
    client: Client,
    what: Import,
    first: date,
    last: date,
    booking: Booking,
    *,
    is_applied: bool = True,
    is_patient: bool = True,
    now: datetime | None = None,
) -> Outcome:
    """Import the days, one import at a time over all machines.

    `is_patient`: wait for another import; else give up at once. Raises `ConfigError` (a key that
    is refused), `BillError` with the first day that is missing, StoreError and what the store
    raises.
    """
    check_kept(client, first)
    patience = PATIENCE_SECONDS if is_patient else BRIEF_PATIENCE_SECONDS
    outcome = Outcome()
    STORE_CLOCK.set_by(client)
    with imports_lock(client, f"import {what.name}", patience) as held:
        for days, lines in _windows(what, first, last, outcome):
            try:
                read = list(_kept(held, lines))
            except BillError as error:
                begin = f"{days[0]} to {last} are missing"
                done = f" (what was before is booked): --from {days[0]}" if days[0] > first else ""
                raise BillError(f"{error}; {begin}{done}") from error
            held_days = (
                reports.store(client, what.matching, days, read, now or STORE_CLOCK.now())
                if is_applied
                else _unstored(what, days, read)
            )
            outcome.result.add(
                book(
                    client,
                    held_days,
                    booking.prices,
                    booking.directory,
                    is_applied=is_applied,
                    changed_by=booking.changed_by,
                    reason=booking.reason,
                    patience_seconds=patience,
                )
            )
    return outcome


def _key(what: Import) -> tuple[str, str]:
    try:
        wanted = f"it needs {what.matching.of.wanted_key}"
        return admin_key(what.key_file, what.key_variable, wanted)
    except ConfigError as error:
        raise ConfigError(f"import {what.name}: {error}") from None


def _kept(held: Held, lines: Iterator[Billed]) -> Iterator[Billed]:
    for line in lines:
        held.keep()
        yield line


def _windows(
    what: Import, first: date, last: date, outcome: Outcome
) -> Iterator[tuple[list[date], Iterator[Billed]]]:
    """Yield days and what is reported of them."""
    source = what.matching.of
    if what.file is not None:
        yield from _of_files(what, first, last, outcome)
        return
    if source.fetch is None:
        raise ConfigError(f"import {what.name}: {source.name} is read from a file")
    key, origin = _key(what)
    api = Api(what.url or source.base, source.headers(key), origin, source.wanted_key)
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    for begin in range(0, len(days), WINDOW_DAYS):
        window = days[begin : begin + WINDOW_DAYS]
        yield window, source.fetch(api, window[0], window[-1], what.matching.organization)


def _of_files(
    what: Import, first: date, last: date, outcome: Outcome
) -> Iterator[tuple[list[date], Iterator[Billed]]]:
    """Yield the days from the first to the last one that files have, and their lines."""
    read = what.matching.of.read
    paths = sorted(glob(str(what.file)))  # noqa: PTH207  a pattern may begin with a root
    if not paths or read is None:
        raise ConfigError(f"import {what.name}: file {what.file}: there is no such file")
    lines = [line for path in paths for line in read(Path(path))]
    inside = [line for line in lines if first <= line.day <= last]
    if len(inside) < len(lines):
        left_out = counted(len(lines) - len(inside), "line")
        outcome.notes.append(f"{left_out} of the file left out: of other days")
    if not inside:
        outcome.notes.append(f"the file has nothing from {first} to {last}")
        return
    begin, end = (pick(line.day for line in inside) for pick in (min, max))
    days = [begin + timedelta(days=n) for n in range((end - begin).days + 1)]
    yield days, iter(inside)


def _unstored(what: Import, days: Sequence[date], read: Sequence[Billed]) -> list[DayReport]:
    by_day = {day: [line for line in read if line.day == day] for day in days}
    return [
        DayReport(what.matching, day, "", "", len(lines), lines) for day, lines in by_day.items()
    ]
