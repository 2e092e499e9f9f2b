"""`tallyspan import`: what a provider reports as used and no span tells of becomes entries."""

import argparse
import getpass
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any

from tallyspan_collector import config
from tallyspan_collector.bills.sources import SOURCES
from tallyspan_collector.booked.imports import Booking
from tallyspan_collector.commands.bill_flags import pair
from tallyspan_collector.commands.period import period
from tallyspan_collector.commands.price_book import PRICES, book_of
from tallyspan_collector.commands.store import writing
from tallyspan_collector.commands.table import write_table
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files.spreadsheet import write_rows
from tallyspan_collector.imports import fetch
from tallyspan_collector.imports.lines import DayLine
from tallyspan_collector.imports.matching import LABELS
from tallyspan_collector.imports.settings import KEYS, Import, of_flags, of_section
from tallyspan_collector.librechat.settings import LedgerImport
from tallyspan_collector.units.counts import counted

_TABLE = (
    "day", "model_name", "reported_tokens", "recorded_tokens", "imported_tokens", "less_tokens",
    "reported_cost_usd", "recorded_cost_usd", "imported_cost_usd", "unpriced_tokens",
)  # fmt: skip
MAX_DAYS = 366


def add_parser(commands: Any) -> None:
    """Add the parser of `tallyspan import`."""
    parser = commands.add_parser(
        "import",
        description="Only what spans lack is booked; the next import of a day replaces it."
        " Exit code 0: done; 1: the report could not be had whole; 2: called wrongly.",
    )
    config.add_flags(parser, (*config.READ_OPTIONS, PRICES))
    parser.add_argument(
        "source", help=f"{', '.join(SOURCES)}; or the name of an import in the --config file"
    )
    parser.add_argument("--from", dest="first", default="", help="first day (default: 7 days ago)")
    parser.add_argument("--to", dest="last", default="", help="last day (default: yesterday)")
    parser.add_argument("--preview", action="store_true", help="show what it would book")
    parser.add_argument("--file", help="an export instead of the API; * and ? stand for several")
    parser.add_argument("--key-file", help="file with the key (default: the source's variable)")
    parser.add_argument("--url", help="another address of the API, such as a proxy of your own")
    parser.add_argument("--organization", help="the provider's name of the organisation")
    parser.add_argument("--name", help="name of the import in the ledger (default: the source)")
    parser.add_argument("--zone", help="time zone of a file's days (default UTC)")
    parser.add_argument("--endpoint", help="only calls of this endpoint_id, or a glob")
    parser.add_argument("--tenant", help="only calls of this organisation, and whose the rest is")
    parser.add_argument(
        "--recorded-as",
        help=f"what the ledger has its projects in: {', '.join(LABELS)} or tag:NAME",
    )
    for flag, what in (
        ("only", "LABEL=VALUE: only calls with it"),
        ("names", "ID=NAME: what the ledger calls a project, key or user"),
        ("departments", "ID=DEPARTMENT: whose a project or key is"),
    ):
        parser.add_argument(f"--{flag}", action="append", default=[], metavar="A=B", help=what)
    parser.add_argument("--reason", default="", help="why; kept in price_changes")
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")
    parser.set_defaults(run=_import)


def _import(options: argparse.Namespace) -> int:
    what = _what(options)
    today = datetime.now(UTC).date()
    first, last = _period(options, what, today)
    book = book_of(options)
    with writing(options) as client:
        directory = Directory()
        directory.read(client)
        booking = Booking(book, directory, getpass.getuser(), options.reason or "by command")
        outcome = fetch.run(client, what, first, last, booking, is_applied=not options.preview)
    _write(outcome.result.lines, options.format)
    if options.format == "table":
        done = "would change" if options.preview else "changed"
        result = outcome.result
        sys.stdout.write(
            f"{counted(result.changes, 'owner')} {done}: {result.old_cost_usd:f} USD were booked as"
            f" imported, now {result.new_cost_usd:f} USD\n"
        )
    for note in outcome.notes:
        sys.stderr.write(f"tallyspan: {note}\n")
    return 0


def _what(options: argparse.Namespace) -> Import:
    """Return the import of the file with that name, else one of the flags. Raises `ConfigError`."""
    flags = {
        name: dict(pair(text, f"--{name}") for text in value) if isinstance(value, list) else value
        for name in KEYS
        if (value := getattr(options, name, None))
    }
    for each in of_section(config.section(options, config.IMPORTS)):
        if each.name == options.source:
            if flags:
                flag = next(iter(flags)).replace("_", "-")
                raise ConfigError(
                    f"--{flag}: the import {each.name!r} has its settings in the file: change them"
                    " there, or name a source"
                )
            if isinstance(each, LedgerImport):
                raise ConfigError(
                    f"the import {each.name!r} is of LibreChat's ledger:"
                    f" tallyspan librechat import --name {each.name}"
                )
            return each
    return of_flags({"from": options.source, **flags})


def _period(options: argparse.Namespace, what: Import, today: date) -> tuple[date, date]:
    first, last = period(options, what.look_back_days, today)
    if last > today:
        raise ConfigError(f"--to {last}: that day has not begun")
    if (last - first).days >= MAX_DAYS:
        raise ConfigError("--from, --to: a year at most")
    return first, last


def _write(lines: Sequence[DayLine], form: str) -> None:
    rows = [
        {name: _text(value) for name, value in asdict(line).items() if name != "ledger_entries"}
        for line in lines
    ]
    match form:
        case "json":
            sys.stdout.write(json.dumps({"lines": rows}, indent=1) + "\n")
        case "csv":
            if rows:
                write_rows(rows, list(rows[0]), sys.stdout)
        case _:
            write_table(
                [
                    {name: "" if row[name] is None else row[name] for name in _TABLE}
                    for row in rows
                    if row["model_name"]
                ],
                sys.stdout,
            )


def _text(value: object) -> object:
    """Return the value as JSON and CSV take it: amounts of money as text, exact."""
    if value is None or isinstance(value, int | str):
        return value
    return f"{value:f}" if hasattr(value, "as_tuple") else str(value)
