"""`tallyspan true-up`: the ledger made equal to the provider's bill, previewed first."""

import argparse
import getpass
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tallyspan_collector.booked.commitments import usd
from tallyspan_collector.booked.prior_period import notes
from tallyspan_collector.commands import bill_flags
from tallyspan_collector.commands.period import period
from tallyspan_collector.commands.store import writing
from tallyspan_collector.commands.table import write_table
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files.spreadsheet import write_rows
from tallyspan_collector.reconcile.bill import Bill
from tallyspan_collector.reconcile.bill import notes as bill_notes
from tallyspan_collector.reconcile.rule import RESTS, SHARE, Rule
from tallyspan_collector.true_up import run
from tallyspan_collector.true_up.booking import Result
from tallyspan_collector.true_up.scope import Scope
from tallyspan_collector.units.counts import counted
from tallyspan_collector.units.money import dollars

DEFAULT_DAYS = 31
MAX_DAYS = 366
UNATTRIBUTED = "(unattributed)"


def add_parser(commands: Any) -> None:
    """Add the parser of `tallyspan true-up`."""
    parser = commands.add_parser(
        "true-up",
        description="Without --apply it shows what it would book. Exit code 0: done; 1: the bill"
        " could not be had whole; 2: called wrongly.",
    )
    parser.add_argument("provider", help=bill_flags.NAMES)
    parser.add_argument("--from", dest="first", default="", help="first day (default: 31 days ago)")
    parser.add_argument("--to", dest="last", default="", help="last day (default: 2 days ago)")
    bill_flags.add(parser)
    parser.add_argument("--bill", default="", help="name of the bill (default: the provider)")
    parser.add_argument(
        "--department",
        action="append",
        default=[],
        metavar="ID=DEPARTMENT",
        help="whose what only the bill has of a project or key is",
    )
    parser.add_argument(
        "--rest",
        choices=RESTS,
        default=SHARE,
        help="whose the rest is: shared out by use, or nobody's (default share)",
    )
    parser.add_argument("--apply", action="store_true", help="book it; needs --reason")
    parser.add_argument("--withdraw", action="store_true", help="take the true-up of the days back")
    parser.add_argument("--reason", default="", help="why; kept in price_changes")
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")
    parser.set_defaults(run=_true_up)


def _true_up(options: argparse.Namespace) -> int:
    if options.apply and not options.reason:
        raise ConfigError("--apply needs --reason: the audit keeps why the ledger was changed")
    now = datetime.now(UTC)
    whose = {"is_applied": options.apply, "changed_by": getpass.getuser(), "reason": options.reason}
    if options.withdraw:  # by name: the bill is not read
        name = options.bill or options.provider
        first, last = _period(options, now.date())
        with writing(options) as client:
            result = run.withdraw(client, name, first, last, **whose)
            about = notes(client, first, last)
    else:
        bill, rule = _what(options)
        scope = Scope.of(bill, rule)
        name = scope.bill
        first, last = _period(options, now.astimezone(bill.days_of).date())
        lines = bill.read(first, last)
        with writing(options) as client:
            result = run.book(client, scope, lines, first, last, bill.source, **whose)
            about = [*bill_notes(lines, first, last), *notes(client, first, last)]
    _write(result, options.format)
    if options.format == "table":
        sys.stdout.write(_sentence(name, first, last, result, is_applied=options.apply))
    sys.stderr.writelines(f"tallyspan: {note}\n" for note in about)
    return 0


def _what(options: argparse.Namespace) -> tuple[Bill, Rule]:
    """Return the bill of the file with that name, else of the flags. Raises `ConfigError`."""
    named = bill_flags.of_file(options, "department")
    if named is not None:
        return named.bill, named.true_up or Rule(rest=options.rest)
    departments = dict(bill_flags.pair(text, "--department") for text in options.department)
    if departments and not options.by:
        raise ConfigError("--department is of a project or key: split the bill with --by")
    bill = bill_flags.bill_of(options, options.bill or options.provider)
    return bill, Rule(departments, options.rest)


def _period(options: argparse.Namespace, today: date) -> tuple[date, date]:
    options.last = options.last or str(today - timedelta(days=2))
    first, last = period(options, DEFAULT_DAYS, today)
    if last >= today:
        raise ConfigError(f"--to {last}: that day is not over: its bill is not whole")
    if (last - first).days >= MAX_DAYS:
        raise ConfigError("--from, --to: a year at most")
    return first, last


def _sentence(name: str, first: date, last: date, result: Result, *, is_applied: bool) -> str:
    trued_up = "trued up" if is_applied else "to be trued up; --apply books it"
    changes = counted(result.changes, "owner")
    return (
        f"{name}, {first} to {last}: recorded {dollars(result.recorded_usd)}, billed"
        f" {dollars(result.billed_usd)}, difference {dollars(result.new_cost_usd)} {trued_up}"
        f" ({changes} {'changed' if is_applied else 'would change'}; before it was"
        f" {dollars(result.old_cost_usd)})\n"
    )


def _write(result: Result, form: str) -> None:
    rows = _rows(result)
    match form:
        case "json":
            sys.stdout.write(json.dumps({"lines": rows}, indent=1, ensure_ascii=False) + "\n")
        case "csv":
            if rows:
                write_rows(rows, list(rows[0]), sys.stdout)
        case _:
            write_table([row for row in rows if row["true_up_usd"] != "0"], sys.stdout)


def _rows(result: Result) -> Sequence[dict[str, str]]:
    """Return a row each line and department; amounts in USD, exact."""
    parts: dict[Any, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for each in result.due:
        parts[each.line][each.payer.department or UNATTRIBUTED] += each.picousd
    return [
        {
            "day": line.day.isoformat(),
            "model": line.model or line.item or "(all)",
            "owner": line.owner,
            "recorded_usd": _text(line.recorded),
            "billed_usd": _text(line.billed),
            "department": department,
            "true_up_usd": _text(amount),
        }
        for line in result.lines
        for department, amount in (parts.get(line) or {"": 0}).items()
    ]


def _text(picousd: int) -> str:
    return f"{usd(picousd).normalize():f}"
