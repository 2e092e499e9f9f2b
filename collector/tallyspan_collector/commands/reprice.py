"""`tallyspan reprice`: what today's prices change in calls that are booked; `--apply` books it."""

import argparse
import getpass
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from tallyspan_collector import config, summary
from tallyspan_collector.booked.prior_period import notes
from tallyspan_collector.booked.reprice import Reprice, Result, Scope, Total
from tallyspan_collector.booked.run import run
from tallyspan_collector.commands.price_book import PRICES, book_of
from tallyspan_collector.commands.store import writing
from tallyspan_collector.commands.table import write_table
from tallyspan_collector.errors import ConfigError


def add_parser(commands: Any) -> None:
    """Give `tallyspan reprice` its parser."""
    parser = commands.add_parser("reprice")
    config.add_flags(parser, (*config.READ_OPTIONS, PRICES))
    parser.add_argument("--from", dest="start", required=True, help="first day, or a time (UTC)")
    parser.add_argument("--to", dest="end", default="", help="last day (default: until now)")
    parser.add_argument("--model", default="", help="exact or a glob")
    parser.add_argument("--provider", default="")
    parser.add_argument("--endpoint", default="")
    parser.add_argument("--department", default="")
    parser.add_argument("--unpriced", action="store_true", help="only calls without a price")
    parser.add_argument("--apply", action="store_true", help="book the differences")
    parser.add_argument("--reason", default="", help="why; kept in price_changes")
    parser.set_defaults(run=_reprice)


def _reprice(options: argparse.Namespace) -> int:
    if options.apply and not options.reason:
        raise ConfigError("--apply needs --reason: the audit keeps why costs were changed")
    end = datetime.now(UTC) + timedelta(days=1)
    if options.end:
        end = summary.parse_time(options.end, "--to", is_end=True)
    start = summary.parse_time(options.start, "--from")
    if start >= end:
        raise ConfigError("--from must be before --to")
    scope = Scope(
        start,
        end,
        options.model,
        options.provider,
        options.endpoint,
        options.department,
        options.unpriced,
    )
    book = book_of(options)
    with writing(options) as client:  # a preview too: readers do not see the entries themselves
        result = run(
            client,
            Reprice(book, scope),
            is_applied=options.apply,
            changed_by=getpass.getuser(),
            reason=options.reason,
        )
        closed = notes(client, start.date(), end.date())
    _write(result, is_applied=options.apply)
    sys.stderr.writelines(f"tallyspan: {note}\n" for note in closed)
    return 0


def _write(result: Result, *, is_applied: bool) -> None:
    groups = sorted(result.by_month_and_model.items())
    write_table(
        [
            *(_row(month, model, total) for (month, model), total in groups),
            _row("total", "", result.total),
        ],
        sys.stdout,
    )
    sys.stdout.write(
        f"{result.unchanged_calls:,} calls cost what they did;"
        f" {result.without_price_calls:,} have no price and stay as they are\n"
    )
    if result.total.calls:
        done = "booked" if is_applied else "a preview: --apply --reason TEXT books it"
        sys.stdout.write(f"{done}\n")


def _row(month: str, model: str, total: Total) -> dict[str, object]:
    return {
        "month": month,
        "model": model,
        "calls": total.calls,
        "newly priced": total.newly_priced_calls,
        "old USD": f"{total.old_cost_usd:f}",
        "new USD": f"{total.new_cost_usd:f}",
        "difference USD": f"{total.new_cost_usd - total.old_cost_usd:+f}",
    }
