"""`tallyspan reconcile`: recorded calls compared with the provider's bill, day by day."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from tallyspan_collector.commands import bill_flags, librechat_reconcile
from tallyspan_collector.commands.librechat_import import add_database_flags
from tallyspan_collector.commands.period import period
from tallyspan_collector.commands.store import reading, writing
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.librechat.settings import SOURCE as LIBRECHAT
from tallyspan_collector.reconcile.bill import PROVIDERS, Bill
from tallyspan_collector.reconcile.settings import percent

DEFAULT_DAYS = 7


def add_parser(commands: Any) -> None:
    """Add the parser of `tallyspan reconcile`."""
    parser = commands.add_parser(
        "reconcile", description="Exit code 0: within the threshold; 1: not; 2: called wrongly."
    )
    parser.add_argument("provider", help=f"{bill_flags.NAMES}; {LIBRECHAT}: its own ledger")
    parser.add_argument("--from", dest="first", default="", help="first day (default: 7 days ago)")
    parser.add_argument("--to", dest="last", default="", help="last day (default: yesterday)")
    bill_flags.add(parser)
    parser.add_argument("--threshold", default="", help="drift allowed, in percent (default 1)")
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")
    parser.add_argument("--no-store", action="store_true", help="do not keep the result")
    of_librechat = parser.add_argument_group(LIBRECHAT)
    add_database_flags(of_librechat)
    of_librechat.add_argument(
        "--import",
        dest="import_name",
        default=LIBRECHAT,
        metavar="NAME",
        help=f"name of its import in the ledger (default {LIBRECHAT})",
    )
    parser.set_defaults(run=_reconcile)


def _reconcile(options: argparse.Namespace) -> int:
    if options.provider == LIBRECHAT:
        _refuse(
            options, ("file", "key_file", "url", "column", "model", "by", "recorded_as", "endpoint")
        )
        names = dict(bill_flags.pair(text, "--name") for text in options.name)
        return librechat_reconcile.reconcile(options, names)
    _refuse(options, ("mongo", "mongo_file", "database"))
    now = datetime.now(UTC)
    bill, days = _bill(options)
    first, last = _period(options, days, now.astimezone(bill.days_of).date())
    lines = bill.read(first, last)
    with (reading if options.no_store else writing)(options) as client:
        outcome = bill.compared(client, lines, first, last, now)
        if not options.no_store:
            outcome.store(client)
    outcome.write(options.format, sys.stdout)
    return 0 if outcome.is_within else 1


def _bill(options: argparse.Namespace) -> tuple[Bill, int]:
    """Return the bill of the file with that name, else of the flags, and how many days of it.

    Flags that look at a bill of the file in another way need --no-store: kept, the result would
    stand for the bill. Raises `ConfigError`.
    """
    threshold = percent(options.threshold) if options.threshold else None
    is_a_look = options.provider in PROVIDERS and bill_flags.has_flags(options)
    if not (options.no_store and is_a_look):
        named = bill_flags.of_file(options)
        if named is not None:
            bill = named.bill if threshold is None else replace(named.bill, threshold=threshold)
            return bill, named.look_back_days
    bill = bill_flags.bill_of(options)
    return bill if threshold is None else replace(bill, threshold=threshold), DEFAULT_DAYS


def _refuse(options: argparse.Namespace, names: Sequence[str]) -> None:
    for name in names:
        if getattr(options, name):
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{flag}: is not for reconcile {options.provider}")


def _period(options: argparse.Namespace, days: int, today: date) -> tuple[date, date]:
    first, last = period(options, days, today)
    if (last - first).days > 366:  # noqa: PLR2004  a year
        raise ConfigError("--from, --to: a year at most")
    return first, last
