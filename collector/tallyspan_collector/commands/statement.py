"""`tallyspan statement`: what departments or cost centres spent in a month, as documents."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_collector import config
from tallyspan_collector.commands.price_book import PRICES, book_of
from tallyspan_collector.commands.store import writing
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.months.lines import month_of
from tallyspan_collector.statements import rate_card
from tallyspan_collector.statements.files import FORMATS, formats_of, write
from tallyspan_collector.statements.read import Terms, of_name, owners, read
from tallyspan_collector.statements.statement import COST_CENTRE, DEPARTMENT, OWNERS, Owner
from tallyspan_collector.summary.currency import currency_of
from tallyspan_collector.units.money import dollars


def add_parser(commands: Any) -> None:
    """Add the parser of `tallyspan statement`."""
    parser = commands.add_parser(
        "statement", description="Exit code 0: done; 1: the store failed; 2: called wrongly."
    )
    config.add_flags(parser, (*config.READ_OPTIONS, PRICES))
    parser.add_argument("month", help="a month of UTC, such as 2026-10")
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--department", help="of this department alone; empty: nobody's")
    whose.add_argument("--cost-centre", help="of this cost centre alone")
    whose.add_argument(
        "--by",
        choices=[each.replace("_", "-") for each in OWNERS],
        default=DEPARTMENT,
        help="of each of these (default department)",
    )
    parser.add_argument("--tenant", help="of this organisation alone")
    parser.add_argument(
        "--format",
        default="pdf,csv",
        metavar="LIST",
        help=f"one or several of {', '.join(FORMATS)} (default pdf,csv)",
    )
    parser.add_argument("--out", default=".", metavar="FOLDER", help="where to (default: here)")
    parser.add_argument("--currency", default="", help="totals in this currency too, such as EUR")
    parser.set_defaults(run=_statement)


def _statement(options: argparse.Namespace) -> int:
    month = month_of(options.month)
    try:
        formats = formats_of(options.format)
    except ConfigError as error:
        raise ConfigError(f"--format {error}") from None
    file = book_of(options).file
    terms = Terms(
        currency_of(file, options.currency) if options.currency else None,
        rate_card.of_section(config.section(options, config.RATE_CARD)),
    )
    with writing(options) as client:  # the newest entry is no figure of the reader's
        count = 0
        for owner in _owners(client, options, month):
            statement = read(client, month, owner, terms)
            paths = write(client, statement, Path(options.out), formats)
            names = ", ".join(str(path) for path in paths)
            sys.stdout.write(f"{names}: {dollars(statement.sums['cost_usd'])}\n")
            count += 1
    if not count:
        sys.stderr.write(f"tallyspan: {options.month} has no entries: nothing is written\n")
    return 0


def _owners(client: Client, options: argparse.Namespace, month: Any) -> Iterator[Owner]:
    for by, name in ((DEPARTMENT, options.department), (COST_CENTRE, options.cost_centre)):
        if name is not None:
            yield of_name(client, month, by, name, options.tenant)
            return
    for owner in owners(client, month, options.by.replace("-", "_")):
        if options.tenant in {None, owner.tenant}:
            yield owner
