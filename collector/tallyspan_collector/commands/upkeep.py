"""`tallyspan prices draft` and `retiring`: what a maintainer of prices looks at every week."""

import argparse
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from tallyspan_collector import config, summary
from tallyspan_collector.booked import missing, used_models
from tallyspan_collector.booked.used_models import Use
from tallyspan_collector.commands import second_opinion
from tallyspan_collector.commands.store import reading
from tallyspan_collector.commands.table import write_table
from tallyspan_collector.pricing import in_use, retirements
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import Unpriced
from tallyspan_collector.pricing.listing import rows
from tallyspan_collector.pricing.second import drafts
from tallyspan_collector.pricing.second.source import Retirement
from tallyspan_collector.pricing.timeline import NS

MAX_PAYERS = 3
"""Departments or users of a model that are named; the rest are counted."""


def add_flags(draft: Any, retiring: Any) -> None:
    """Add the flags of both commands."""
    for parser in (draft, retiring):
        config.add_flags(parser, config.READ_OPTIONS)
        parser.add_argument(
            "--against",
            metavar="FILE|package|shipped",
            default=second_opinion.SHIPPED,
            help="a LiteLLM price map (default: the extract that comes with Tallyspan)",
        )
        parser.add_argument("--since", default="30d", help="calls that count (default 30d)")
    draft.add_argument("--no-ledger", action="store_true", help="without models of calls")
    retiring.add_argument("--within", default="90d", help="ends within (default 90d)")
    retiring.add_argument("--format", choices=("table", "json"), default="table")
    retiring.add_argument(
        "--unused", action="store_true", help="also models without calls; asks no store"
    )


def draft(options: argparse.Namespace) -> int:
    """Write a draft of a price file: open differences, and models whose calls wait for a price."""
    at = second_opinion.moment("")
    source = second_opinion.read(options.against, at.date())
    data_dir = config.read(options, options=(config.DATA_DIR,))["data_dir"]
    report = second_opinion.compare(in_use.data_in_use(data_dir), source, at)
    sys.stdout.write(drafts.text(report, at.date()))
    if not options.no_ledger:
        since = summary.parse_since(options.since, datetime.now(UTC))
        with reading(options) as client:
            text = missing.draft(missing.find(client, since))
        sys.stdout.write("".join(f"# {line}\n" for line in text.splitlines()))
    return 0


def retiring(options: argparse.Namespace) -> int:
    """Write which models end soon, who uses them, and what their successors cost."""
    at = second_opinion.moment("")
    now = datetime.now(UTC)
    until = (at + (now - summary.parse_since(options.within, now))).date()
    source = second_opinion.read(options.against, at.date())
    endings = retirements.by_model(retirements.load(), source.retirements)
    data_dir = config.read(options, options=(config.DATA_DIR,))["data_dir"]
    book = PriceBook(data=in_use.data_in_use(data_dir))
    if options.unused:
        uses = [Use(each.provider, each.model) for each in endings.values()]
    else:
        with reading(options) as client:
            uses = list(used_models.find(client, summary.parse_since(options.since, now)))
    lines = [
        _row(use, ending, book, at)
        for use in uses
        if (ending := retirements.of_model(use.provider, use.model, endings)) is not None
        and (ending.day <= until if use.calls else at.date() < ending.day <= until)
    ]
    lines.sort(key=lambda row: row["ends"])
    if options.format == "json":
        sys.stdout.write(json.dumps(lines, indent=1) + "\n")
    else:
        write_table(lines, sys.stdout)
        what = "model that ends" if len(lines) == 1 else "models that end"
        sys.stdout.write(f"{len(lines)} {what} by {until}, by {source.name} and our own list\n")
    return 0


def _row(use: Use, ending: Retirement, book: PriceBook, at: datetime) -> dict[str, str]:
    named = ", ".join(use.payers[:MAX_PAYERS])
    more = len(use.payers) - MAX_PAYERS
    return {
        "ends": str(ending.day),
        "days": str((ending.day - at.date()) // timedelta(days=1)),
        "provider": use.provider,
        "model": use.model,
        "calls": f"{use.calls:,}",
        "spend USD": f"{use.spend_usd:.2f}",
        "by": f"{named} and {more} more" if more > 0 else named or "-",
        "now": _price(book, ending.provider, use.model, at),
        "successor": ending.successor or "-",
        "then": _price(book, ending.provider, ending.successor, at) if ending.successor else "-",
        "source": ending.source or "-",
    }


def _price(book: PriceBook, provider: str, model: str, at: datetime) -> str:
    """Return a price of input and output, in USD for a million tokens."""
    price = book.quote(provider, "", model, at_ns=int(at.timestamp()) * NS)
    if isinstance(price, Unpriced):
        return f"no price ({price.reason.value})"
    by_class = {row["class"]: row["USD"].removesuffix("/M") for row in reversed(rows(price))}
    return f"{by_class.get('input', '-')} / {by_class.get('output', '-')}"
