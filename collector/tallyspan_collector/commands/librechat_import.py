"""`tallyspan librechat import`: calls that LibreChat's ledger has and no span tells of."""

import argparse
import getpass
import json
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_collector import config
from tallyspan_collector.booked.imports import Booking
from tallyspan_collector.commands.period import period
from tallyspan_collector.commands.price_book import PRICES, book_of
from tallyspan_collector.commands.store import writing
from tallyspan_collector.commands.table import write_table
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files.spreadsheet import write_rows
from tallyspan_collector.imports.settings import of_section
from tallyspan_collector.librechat import people
from tallyspan_collector.librechat.booking import Line
from tallyspan_collector.librechat.days import first_day
from tallyspan_collector.librechat.mongo import Mongo
from tallyspan_collector.librechat.run import Outcome, run
from tallyspan_collector.librechat.settings import (
    DEPARTMENT,
    ID,
    NAMES,
    SOURCE,
    URI_VARIABLE,
    USER_FIELDS,
    WAIT_SECONDS,
    LedgerImport,
    uri_of,
)
from tallyspan_collector.units.counts import counted

MAX_DAYS = 3_660
COLUMNS = (
    "day", "model_name", "calls", "recorded_calls", "imported_calls", "imported_tokens",
    "imported_cost_usd", "claimed_cost_usd", "unpriced_tokens",
)  # fmt: skip


def add_parser(actions: Any) -> None:
    """Add the parser of `tallyspan librechat import`."""
    parser = actions.add_parser(
        "import",
        help="book calls that LibreChat's ledger has and no span tells of",
        description="Reads MongoDB only. A call is booked once however often this runs, and taken"
        " back when its span comes. Exit code 0: done; 1: the ledger could not be read whole;"
        " 2: called wrongly.",
    )
    config.add_flags(parser, (*config.READ_OPTIONS, PRICES))
    add_database_flags(parser)
    parser.add_argument("--name", default=SOURCE, help=f"name in the ledger (default {SOURCE})")
    parser.add_argument(
        "--tenant", help="the organisation of LibreChat's ingest key (default: as documents say)"
    )
    parser.add_argument(
        "--names",
        action="append",
        default=[],
        metavar="ID=NAME",
        help="what the ledger calls a tenant or user of LibreChat",
    )
    parser.add_argument(
        "--from", dest="first", default="", help="first day (default: where the last run ended)"
    )
    parser.add_argument("--to", dest="last", default="", help="last day, UTC (default: today)")
    parser.add_argument("--preview", action="store_true", help="show what it would book")
    parser.add_argument(
        "--wait",
        default="",
        help=f"how long after a turn its spans may come (default {WAIT_SECONDS // 60}m)",
    )
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        dest="sources",
        metavar="KEY",
        help="only calls of this ingest key count as recorded (default: of all)",
    )
    parser.add_argument(
        "--user-field",
        choices=USER_FIELDS,
        default="",
        help=f"what spans call users by: LibreChat's userIdField (default {ID})",
    )
    parser.add_argument("--people", action="store_true", help="its users into the directory, too")
    parser.add_argument(
        "--group-as", choices=(DEPARTMENT,), default="", help="with --people: whose pays for whom"
    )
    parser.add_argument("--reason", default="", help="why; kept in price_changes")
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")
    parser.set_defaults(run=_import)


def add_database_flags(parser: Any) -> None:
    """Add the flags that say where LibreChat's database is, to a parser or a group of one."""
    parser.add_argument(
        "--mongo",
        metavar="URI",
        default="",
        help=f"LibreChat's database (default: {URI_VARIABLE}, which 'ps' does not show)",
    )
    parser.add_argument("--mongo-file", metavar="FILE", help="file with that URI")
    parser.add_argument("--database", default="", help="its name, where the URI does not name it")


def import_named(options: argparse.Namespace, name: str) -> LedgerImport:
    """Return the import of that name in the file, else a new one.

    The flags of `add_database_flags` hold before the file. Raises `ConfigError`.
    """
    of_file = (
        each
        for each in of_section(config.section(options, config.IMPORTS))
        if isinstance(each, LedgerImport) and each.name == name
    )
    what = replace(next(of_file, LedgerImport()), name=name)
    if options.mongo or options.mongo_file:
        file = Path(options.mongo_file) if options.mongo_file else None
        what = replace(what, uri=options.mongo, uri_file=file)
    return replace(what, database=options.database or what.database)


def _what(options: argparse.Namespace) -> LedgerImport:
    what = import_named(options, options.name)
    if options.tenant is not None:
        what = replace(what, tenant=options.tenant)
    if options.names:
        what = replace(what, names=dict(_pair(text) for text in options.names))
    if options.sources:
        what = replace(what, sources=tuple(options.sources))
    if options.group_as and not options.people:
        raise ConfigError("--group-as is for --people")
    if options.people:
        what = replace(what, people=options.group_as or NAMES)
    if options.user_field:
        what = replace(what, user_field=options.user_field)
    if options.wait:
        what = replace(what, wait_seconds=_seconds(options.wait))
    return what


def _import(options: argparse.Namespace) -> int:
    what = _what(options)
    book = book_of(options)
    with Mongo(uri_of(what), what.database) as mongo, writing(options) as client:
        first, last = _period(options, client, what)
        user = getpass.getuser()
        directory_changes = people.update(client, mongo, what, user, is_applied=not options.preview)
        directory = Directory()
        directory.read(client)
        booking = Booking(book, directory, user, options.reason or "by command")
        outcome = run(client, mongo, what, first, last, booking, is_applied=not options.preview)
    _write(outcome, options.format)
    if options.format == "table":
        sys.stdout.write(f"{_sentence(outcome, is_preview=options.preview)}\n")
        if what.people:
            count = counted(len(directory_changes.changes), "period")
            done = "would change" if options.preview else "changed"
            sys.stdout.write(f"{count} of the directory {done}\n")
    for note in (*outcome.notes, *directory_changes.notes):
        sys.stderr.write(f"tallyspan: {note}\n")
    return 0


def _sentence(outcome: Outcome, *, is_preview: bool) -> str:
    result = outcome.result
    would = "would be " if is_preview else ""
    return (
        f"{counted(result.booked, 'call')} {would}booked ({result.new_cost_usd:f} USD),"
        f" {counted(result.taken_back, 'call')} {would}taken back ({result.old_cost_usd:f} USD)"
    )


def _period(options: argparse.Namespace, client: Client, what: LedgerImport) -> tuple[date, date]:
    today = datetime.now(UTC).date()
    options.last = options.last or today.isoformat()
    if not options.first:
        options.first = first_day(client, what.name, today, what.look_back_days).isoformat()
    first, last = period(options, what.look_back_days, today)
    if last > today:
        raise ConfigError(f"--to {last}: that day has not begun")
    if (last - first).days >= MAX_DAYS:
        raise ConfigError("--from, --to: ten years at most")
    return first, last


def _seconds(text: str) -> int:
    try:
        return config.duration(text)
    except ValueError as error:
        raise ConfigError(f"--wait {text}: {error}") from None


def _pair(text: str) -> tuple[str, str]:
    left, sign, right = text.partition("=")
    if not sign or not left.strip() or not right.strip():
        raise ConfigError(f"--names {text}: must be ID=NAME")
    return left.strip(), right.strip()


def _write(outcome: Outcome, form: str) -> None:
    result = outcome.result
    rows = [_row(day, model, line) for (day, model), line in sorted(result.lines.items())]
    match form:
        case "json":
            answer = {
                "booked_calls": result.booked,
                "taken_back_calls": result.taken_back,
                "waiting_calls": outcome.waiting,
                "notes": outcome.notes,
                "lines": rows,
            }
            sys.stdout.write(json.dumps(answer, indent=1, ensure_ascii=False) + "\n")
        case "csv":
            write_rows(rows, COLUMNS, sys.stdout)
        case _:
            write_table(rows, sys.stdout)


def _row(day: date, model: str, line: Line) -> dict[str, object]:
    values = (
        day.isoformat(), model, line.calls, line.recorded, line.imported, line.imported_tokens,
        f"{line.imported_cost_usd:f}", f"{line.claimed_cost_usd:f}", line.unpriced_tokens,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))
