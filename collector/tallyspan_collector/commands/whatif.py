"""`tallyspan whatif`: what booked calls would have cost as something else; books nothing."""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TextIO

from tallyspan_collector import config, summary
from tallyspan_collector.booked.ledger import models_like
from tallyspan_collector.commands.price_book import PRICES, book_of
from tallyspan_collector.commands.store import writing
from tallyspan_collector.commands.table import write_table
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files.spreadsheet import write_rows
from tallyspan_collector.pricing import alternative
from tallyspan_collector.pricing.alternative import NO_CACHE, TIERS, Alternative
from tallyspan_collector.summary import Filters, Row, plain
from tallyspan_collector.summary.what_if import WHAT_IF_GROUPS, WhatIf, what_if
from tallyspan_collector.units.counts import counted
from tallyspan_collector.units.money import dollars

DEFAULT_SPAN = timedelta(days=30)


def add_parser(commands: Any) -> None:
    """Give `tallyspan whatif` its parser."""
    parser = commands.add_parser("whatif")
    config.add_flags(parser, (*config.READ_OPTIONS, PRICES))
    parser.add_argument(
        "--as",
        dest="text",
        required=True,
        metavar="MODEL|PROVIDER/MODEL|TIER|no-cache",
        help=f"tiers are {', '.join(TIERS)}; {' or '.join(NO_CACHE)}: everything as plain input",
    )
    parser.add_argument("--from", dest="start", default="", help="default: 30 days before --to")
    parser.add_argument("--to", dest="end", default="", help="last day (default: until now)")
    parser.add_argument("--model", default="", help="of the calls; exact or a glob")
    for name in ("provider", "endpoint", "department", "user"):
        parser.add_argument(f"--{name}", default=None, help="of the calls")
    parser.add_argument(
        "--by", default="model", help=f"comma-separated: {', '.join(WHAT_IF_GROUPS)}"
    )
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    end = datetime.now(UTC)
    if options.end:
        end = summary.parse_time(options.end, "--to", is_end=True)
    start = summary.parse_time(options.start, "--from") if options.start else end - DEFAULT_SPAN
    if start >= end:
        raise ConfigError("--from must be before --to")
    filters = Filters(
        provider=options.provider,
        endpoint_id=options.endpoint,
        department=options.department,
        user_id=options.user,
        start=start,
        end=end,
    )
    groups = [name.strip() for name in options.by.split(",") if name.strip()]
    book = book_of(options)
    other = alternative.read(options.text, book)
    with writing(options) as client:  # readers do not see the entries themselves
        models = models_like(client, start, end, options.model) if options.model else None
        result = what_if(client, book, filters, other, groups, models=models)
    write(result, other, options.format, sys.stdout)
    return 0


def write(result: WhatIf, other: Alternative, fmt: str, out: TextIO) -> None:
    """Write the answer as table, json or csv; amounts of json and csv are exact."""
    rows = [plain(row) for row in result.rows()]
    match fmt:
        case "json":
            answer = {
                "as": other.text,
                "rows": rows,
                "totals": plain(result.total.row()),
                "not_compared": [plain(row) for row in result.not_compared()],
                "prices": result.prices_used(),
            }
            json.dump(answer, out, indent=2, ensure_ascii=False)
            out.write("\n")
        case "csv":
            names = (*result.groups, *result.total.row())
            write_rows(rows, names, out)
        case _:
            _write_table(result, other, out)


def _write_table(result: WhatIf, other: Alternative, out: TextIO) -> None:
    rows = [row | {name: row[name] or "(none)" for name in result.groups} for row in result.rows()]
    head = dict.fromkeys(result.groups, "") | {result.groups[0]: "total"}
    lines = (*rows, head | result.total.row())
    write_table([_line(row, result.groups, other) for row in lines], out, len(result.groups))
    if reasons := result.not_compared():
        out.write("\nnot compared\n")
        write_table(
            [
                {"reason": row["reason"], "calls": row["calls"], "cost": dollars(row["cost_usd"])}
                for row in reasons
            ],
            out,
            left=1,
        )
    if calls := result.total.other_tokenizer_calls:
        out.write(
            f"\n{counted(calls, 'compared call')}: tokens as they were counted; {other.text} may"
            " cut text differently, which is not compared\n"
        )


def _line(row: Row, groups: Sequence[str], other: Alternative) -> dict[str, object]:
    costs = {"booked": "cost_usd", f"as {other.text}": "what_if_cost_usd"}
    difference = row["difference_usd"]
    return {
        **{name: row[name] for name in groups},
        "calls": f"{row['compared_calls']:,}",
        **{
            title: "-" if row[name] is None else dollars(row[name]) for title, name in costs.items()
        },
        "difference": "-"
        if difference is None
        else ("+" if difference > 0 else "") + dollars(difference),
        "not compared": f"{row['not_compared_calls']:,}",
    }
