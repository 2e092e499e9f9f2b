"""`tallyspan commitments ...`: what is paid whether it is used or not, and what is booked of it."""

import argparse
import getpass
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from tallyspan_collector import config, summary
from tallyspan_collector.booked.commitments import (
    Result,
    Spread,
    Total,
    booked_days,
    first_bookable,
)
from tallyspan_collector.booked.cover import Cover
from tallyspan_collector.booked.cover import Result as CoverResult
from tallyspan_collector.booked.finished_days import costs_of
from tallyspan_collector.booked.run import run
from tallyspan_collector.commands.price_book import PRICES, book_of
from tallyspan_collector.commands.store import writing
from tallyspan_collector.commands.table import write_table
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.pricing.commitments import days_between
from tallyspan_collector.pricing.steps import day as day_text
from tallyspan_collector.units.counts import counted


def add_parser(commands: Any) -> None:
    """Give `tallyspan commitments` its parser."""
    parser = commands.add_parser("commitments")
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    def action(name: str, run: Callable[[argparse.Namespace], int], what: str) -> Any:
        command = actions.add_parser(name, help=what)
        config.add_flags(command, (*config.READ_OPTIONS, PRICES))
        command.add_argument("--from", dest="start", required=True, help="first day (UTC)")
        command.add_argument("--to", dest="end", default="", help="last day (default: yesterday)")
        command.set_defaults(run=run)
        return command

    action("list", _list, "commitments of the price file, their cost and what is booked")
    action("preview", _preview, "what booking these days would change")
    booking = action("book", _book, "book these days: the difference to what is booked")
    booking.add_argument("--reason", required=True, help="why; kept in price_changes")


def _days(options: argparse.Namespace) -> Sequence[date]:
    """Return the days of --from and --to that are over. Raises `ConfigError`."""
    start = summary.parse_time(options.start, "--from")
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    last = yesterday
    if options.end:
        end = summary.parse_time(options.end, "--to", is_end=True)
        last = min((end - timedelta(microseconds=1)).date(), yesterday)
    if start.date() > last:
        raise ConfigError("--from must be a day that is over, and not after --to")
    return [*days_between(start.date(), last)]


def _list(options: argparse.Namespace) -> int:
    days, file = _days(options), book_of(options).file
    costs: dict[str, Decimal] = {}
    for each in days:
        for name, cost in costs_of(file, each).items():
            costs[name] = costs.get(name, Decimal(0)) + cost
    with writing(options) as client:
        booked: dict[str, Decimal] = {}
        for (_, name), cost in booked_days(client, days[0], days[-1]).items():
            booked[name] = booked.get(name, Decimal(0)) + cost
    rows = [
        {
            "line": each.line,
            "name": each.name,
            "kind": each.kind,
            "units": each.units,
            "price": f"{float(each.price):g} {each.currency} per {each.per}",
            "spread": each.spread,
            "from": day_text(each.match.from_ns),
            "to": day_text(each.match.to_ns),
        }
        for each in file.commitments
    ]
    write_table(rows, sys.stdout)
    amounts = [
        {"name": name, "cost USD": _text(costs.get(name)), "booked USD": _text(booked.get(name))}
        for name in sorted({*costs, *booked})
    ]
    write_table(amounts, sys.stdout)
    return 0


def _preview(options: argparse.Namespace) -> int:
    return _run(options, "", is_applied=False)


def _book(options: argparse.Namespace) -> int:
    return _run(options, options.reason, is_applied=True)


def _run(options: argparse.Namespace, reason: str, *, is_applied: bool) -> int:
    days, book = _days(options), book_of(options)
    user = getpass.getuser()
    cover, spread = Cover(book, days), Spread(book.file, days)
    with writing(options) as client:
        first = first_bookable(client, datetime.now(UTC).date())
        if days[0] < first:
            raise ConfigError(
                f"--from {options.start}: shares are worked out of entries, which go after some"
                f" time (--retention); the first day that can still be booked is {first}"
            )
        run(client, cover, is_applied=is_applied, changed_by=user, reason=reason)
        run(client, spread, is_applied=is_applied, changed_by=user, reason=reason)
    _write_runs(cover.result, spread.result, is_applied=is_applied)
    return 0


def _write_runs(cover: CoverResult, result: Result, *, is_applied: bool) -> None:
    _write(result)
    if cover.calls:
        what = "are" if is_applied else "would be"
        sys.stdout.write(
            f"{counted(cover.calls, 'call')} {what} paid by another commitment than before, or by"
            f" none: {cover.old_cost_usd:f} USD billed by the call before,"
            f" {cover.new_cost_usd:f} USD now\n"
        )
    if cover.not_settled:
        sys.stdout.write(
            f"{counted(cover.not_settled, 'call')} came less than 13 hours ago and may still be"
            " taken back: they stay as they are, run this again later\n"
        )
    if result.entries or cover.calls:
        more = "; shares follow from which calls are covered then" if cover.calls else ""
        done = "booked" if is_applied else f"a preview{more}: commitments book books it"
        sys.stdout.write(f"{done}\n")


def _write(result: Result) -> None:
    groups = sorted(result.by_month_and_name.items())
    write_table([_row(month, name, total) for (month, name), total in groups], sys.stdout)
    sys.stdout.write(f"{counted(result.entries, 'entry', 'entries')} to book\n")


def _row(month: str, name: str, total: Total) -> dict[str, object]:
    return {
        "month": month,
        "commitment": name,
        "cost USD": f"{total.due_usd:f}",
        "of it unused": f"{total.unused_usd:f}",
        "booked before": f"{total.booked_usd:f}",
        "difference USD": f"{total.due_usd - total.booked_usd:+f}",
        "entries": total.entries,
    }


def _text(amount: Decimal | None) -> str:
    return "0" if amount is None else f"{amount:f}"
