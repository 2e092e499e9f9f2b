"""`tallyspan report`: calls, tokens and cost in a terminal."""

import argparse
import sys
from datetime import UTC, datetime
from typing import Any

from tallyspan_collector import config, summary
from tallyspan_collector.commands import claimed, compared
from tallyspan_collector.commands.price_book import MAX_AGE, PRICES, book_of
from tallyspan_collector.commands.report_text import render
from tallyspan_collector.commands.store import reading, writing
from tallyspan_collector.pricing.watch import too_old
from tallyspan_collector.summary import comparison
from tallyspan_collector.summary.as_of_today import as_of_today
from tallyspan_collector.summary.currency import currency_of


def add_parser(commands: Any) -> None:
    """Give `tallyspan report` its parser."""
    parser = commands.add_parser("report")
    config.add_flags(parser, (*config.READ_OPTIONS, PRICES, MAX_AGE))
    parser.add_argument(
        "--by", default="", help=f"comma-separated: {', '.join(summary.GROUPS)} (default user)"
    )
    parser.add_argument(
        "--claimed",
        action="store_true",
        help="what emitters claim calls cost, against ours; "
        f"--by {', '.join(claimed.CLAIM_DIMENSIONS)} (default {','.join(claimed.DEFAULT_GROUPS)})",
    )
    parser.add_argument("--since", default="30d", help="how far back: 12h, 30d, 4w (default 30d)")
    parser.add_argument(
        "--compare",
        choices=comparison.PERIODS,
        help="this period so far against the same days of the one before, in place of --since",
    )
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")
    parser.add_argument("--currency", default="", help="costs in this currency too, such as EUR")
    parser.add_argument(
        "--as-of-today", action="store_true", help="also with the prices of today; books nothing"
    )
    parser.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> int:
    now = datetime.now(UTC)
    groups = [name.strip() for name in options.by.split(",") if name.strip()]
    since = summary.parse_since(options.since, now)
    if options.claimed:
        with reading(options) as client:
            claims = claimed.compare(client, groups or claimed.DEFAULT_GROUPS, since)
        claimed.render(claims, options.format, sys.stdout)
        return 0
    groups = groups or ["user"]
    if options.compare:
        with reading(options) as client:
            of = comparison.running(client, options.compare)
            rows, total = comparison.compare(client, of, summary.Filters(), groups)
        compared.render(rows, total, of, groups, options.format, sys.stdout)
        sys.stderr.write(f"{compared.days(of)}\n")
        return 0
    filters = summary.Filters(start=since)
    book = book_of(options)
    currency = currency_of(book.file, options.currency) if options.currency else None
    # New prices need the entries of the ledger, which the reader account cannot see.
    with (writing if options.as_of_today else reading)(options) as client:
        rows = summary.summarise(client, filters, groups, currency=currency)
        if options.as_of_today:
            today = as_of_today(client, book, filters, groups)
            rows = [today.add_to(row, groups) for row in rows]
        billed_usd = summary.billed(client, since)
    render(
        rows, groups, options.format, sys.stdout, currency=options.currency, billed_usd=billed_usd
    )
    if currency is not None:
        rates = (f"1 = {each['usd']} USD since {each['from']}" for each in currency.rate_rows())
        sys.stderr.write(f"{currency.name}, each day at its rate: {'; '.join(rates)}\n")
    age = config.read(options, options=(MAX_AGE,))["prices_max_age"]
    if warning := too_old(book.data, age, now):
        sys.stderr.write(f"{warning}\n")
    return 0
