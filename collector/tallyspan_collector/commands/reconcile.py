"""`tallyspan reconcile`: recorded calls compared with the provider's bill, day by day."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tallyspan_collector import config
from tallyspan_collector.bills import bill_file
from tallyspan_collector.bills.pages import check_base
from tallyspan_collector.commands import librechat_reconcile
from tallyspan_collector.commands.librechat_import import add_database_flags
from tallyspan_collector.commands.period import period
from tallyspan_collector.commands.store import reading, writing
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.librechat.settings import SOURCE as LIBRECHAT
from tallyspan_collector.reconcile import recorded
from tallyspan_collector.reconcile.bill import APIS, FILE, Bill
from tallyspan_collector.reconcile.settings import percent

DEFAULT_DAYS = 7


def add_parser(commands: Any) -> None:
    """Add the parser of `tallyspan reconcile`."""
    parser = commands.add_parser(
        "reconcile",
        help="compare what was recorded with what the provider billed",
        description="Exit code 0: within the threshold; 1: not; 2: called wrongly.",
    )
    config.add_flags(parser, config.READ_OPTIONS)
    parser.add_argument(
        "provider",
        choices=(*APIS, FILE, LIBRECHAT),
        help=f"whose bill, csv for any other, or {LIBRECHAT} for its own ledger",
    )
    parser.add_argument("--from", dest="first", default="", help="first day (default: 7 days ago)")
    parser.add_argument("--to", dest="last", default="", help="last day (default: yesterday)")
    parser.add_argument(
        "--file", help="the bill as CSV; without it the provider's usage and cost APIs are asked"
    )
    parser.add_argument(
        "--key-file",
        help="file with an admin key; default: OPENAI_ADMIN_KEY or ANTHROPIC_ADMIN_KEY",
    )
    parser.add_argument("--url", help="another address of the API, such as a proxy of your own")
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="OURS=THEIRS",
        help=f"a column of the file; OURS is one of {', '.join(bill_file.COLUMNS)}",
    )
    parser.add_argument("--zone", default="UTC", help="time zone of the file's days (default UTC)")
    parser.add_argument("--by", choices=("project", "api_key"), default="", help="also by these")
    parser.add_argument(
        "--recorded-as",
        default="",
        help=f"what the ledger calls them: {', '.join(recorded.LABELS)} or tag:NAME",
    )
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="ID=NAME",
        help="what the ledger calls a project or key of the bill",
    )
    parser.add_argument(
        "--ledger-provider",
        action="append",
        default=[],
        metavar="NAME",
        help="gen_ai.provider.name of the calls (default: the provider's own; csv: any)",
    )
    parser.add_argument("--endpoint", default="", help="only calls of this endpoint_id, or a glob")
    parser.add_argument("--threshold", default="1", help="drift allowed, in percent (default 1)")
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
        _refuse(options, ("file", "key_file", "url", "column", "by", "recorded_as", "endpoint"))
        names = dict(_pair(text, "--name") for text in options.name)
        return librechat_reconcile.reconcile(options, names)
    _refuse(options, ("mongo", "mongo_file", "database"))
    now = datetime.now(UTC)
    bill = _bill(options)
    first, last = _period(options, now.astimezone(bill.days_of).date())
    lines = bill.read(first, last)
    with (reading if options.no_store else writing)(options) as client:
        outcome = bill.compared(client, lines, first, last, now)
        if not options.no_store:
            outcome.store(client)
    outcome.write(options.format, sys.stdout)
    return 0 if outcome.is_within else 1


def _refuse(options: argparse.Namespace, names: Sequence[str]) -> None:
    for name in names:
        if getattr(options, name):
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{flag}: is not for reconcile {options.provider}")


def _bill(options: argparse.Namespace) -> Bill:
    _check(options)
    return Bill(
        provider=options.provider,
        file=Path(options.file) if options.file else None,
        columns=dict(_pair(text, "--column") for text in options.column),
        key_file=Path(options.key_file) if options.key_file else None,
        url=options.url or "",
        zone=_zone(options),
        by=options.by,
        recorded_as=options.recorded_as,
        names=dict(_pair(text, "--name") for text in options.name),
        providers=options.ledger_provider,
        endpoint=options.endpoint,
        threshold=percent(options.threshold),
        is_of_flags=True,
    )


def _check(options: argparse.Namespace) -> None:
    if options.url:
        check_base(options.url)
    if options.provider == FILE and not options.file:
        raise ConfigError("reconcile csv: name the bill with --file FILE")
    if options.file and (options.url or options.key_file):
        raise ConfigError(
            "--file: --url and --key-file are for the provider's API; give one or other"
        )
    if options.column and not options.file:
        raise ConfigError("--column is for --file")
    if bool(options.by) != bool(options.recorded_as):
        raise ConfigError(
            "--by and --recorded-as go together: by what the bill is split, and what the ledger"
            f" calls that ({', '.join(recorded.LABELS)}, tag:NAME)"
        )


def _period(options: argparse.Namespace, today: date) -> tuple[date, date]:
    first, last = period(options, DEFAULT_DAYS, today)
    if (last - first).days > 366:  # noqa: PLR2004  a year
        raise ConfigError("--from, --to: a year at most")
    return first, last


def _zone(options: argparse.Namespace) -> str:
    if not options.file and options.zone != "UTC":
        raise ConfigError("--zone is for --file: the days of the providers' APIs are UTC")
    try:
        return ZoneInfo(options.zone).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"--zone {options.zone}: no such time zone; for example Europe/Berlin"
        ) from None


def _pair(text: str, flag: str) -> tuple[str, str]:
    left, sign, right = text.partition("=")
    if not sign or not left.strip() or not right.strip():
        raise ConfigError(f"{flag} {text}: must be LEFT=RIGHT")
    return left.strip(), right.strip()
