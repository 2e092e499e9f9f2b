"""`tallyspan prices ...`: what calls are priced with, and what has no price."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tallyspan_collector import config, summary
from tallyspan_collector.commands.store import reading
from tallyspan_collector.commands.table import write_table
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.pricing import bundled, listing, missing
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.check import day, findings
from tallyspan_collector.pricing.cost import Unpriced
from tallyspan_collector.pricing.schema import schema

PRICES = next(option for option in config.OPTIONS if option.name == "prices")


def add_parser(commands: Any) -> None:
    """Give `tallyspan prices` its parser."""
    parser = commands.add_parser("prices", help="what calls are priced with, and what has no price")
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    def action(name: str, run: Callable[[argparse.Namespace], int], what: str) -> Any:
        made = actions.add_parser(name, help=what)
        made.set_defaults(run=run)
        return made

    listed = action("list", _list, "the entries of the price file, most specific first")
    config.add_flags(listed, (PRICES,))
    shown = action("show", _show, "the price of a model, and where it comes from")
    config.add_flags(shown, (PRICES,))
    shown.add_argument("model")
    shown.add_argument("--provider", default="openai", help="gen_ai.provider.name (default openai)")
    shown.add_argument("--endpoint", default="", help="endpoint_id of the calls")
    shown.add_argument("--tier", default="", help="served service tier: flex, priority, batch, ...")
    shown.add_argument("--region", default="")
    shown.add_argument("--at", default="", help="a date or time (UTC; default now)")
    checked = action("check", _check, "overlaps, gaps and mistakes of the price file")
    checked.add_argument("file", nargs="?", help="default: the one of --prices")
    config.add_flags(checked, (PRICES,))
    lacking = action("missing", _missing, "models without a price, most tokens first, as YAML")
    config.add_flags(lacking, config.READ_OPTIONS)
    lacking.add_argument("--since", default="30d", help="how far back: 12h, 30d (default 30d)")
    action("schema", _schema, "the JSON Schema of the price file, for editors")


def _path(options: argparse.Namespace) -> Path | None:
    path: Path | None = config.read(options, options=(PRICES,))["prices"]
    return path


def _list(options: argparse.Namespace) -> int:
    path = _path(options)
    file = PriceBook.load(path).file
    write_table(
        [
            {
                "line": rate.line,
                "model": rate.match.model,
                "provider": rate.match.provider,
                "endpoint": rate.match.endpoint,
                "tier": rate.match.tier,
                "from": day(rate.match.from_ns),
                "to": day(rate.match.to_ns),
                "price_id": rate.price_id,
            }
            for rate in file.rates
        ],
        sys.stdout,
    )
    sys.stdout.write(
        f"{len(file.rates)} prices, {len(file.discounts)} discounts, {len(file.uplifts)} uplifts,"
        f" {len(file.aliases)} aliases of {path or 'no file'}; behind them {bundled.SOURCE}\n"
    )
    return 0


def _show(options: argparse.Namespace) -> int:
    at_ns = time.time_ns()
    if options.at:
        at_ns = int(summary.parse_time(options.at, "--at").timestamp()) * 10**9
    found = PriceBook.load(_path(options)).quote(
        options.provider, options.endpoint, options.model, options.tier, at_ns, options.region
    )
    if isinstance(found, Unpriced):
        sys.stderr.write(f"{options.provider}/{options.model}: no price ({found.reason.value})\n")
        return 1
    sys.stdout.write(f"{found.price_id}\n")
    write_table(listing.rows(found), sys.stdout)
    return 0


def _check(options: argparse.Namespace) -> int:
    path = Path(options.file) if options.file else _path(options)
    if path is None:
        raise ConfigError("no price file: name one, or set --prices")
    file = PriceBook.load(path).file
    found = findings(file)
    for finding in found:
        sys.stdout.write(finding + "\n")
    if not found:
        sys.stdout.write(f"{path}: {len(file.rates)} prices, nothing to complain of\n")
    return 1 if found else 0


def _missing(options: argparse.Namespace) -> int:
    with reading(options) as client:
        sys.stdout.write(
            missing.draft(
                missing.find(client, summary.parse_since(options.since, datetime.now(UTC)))
            )
        )
    return 0


def _schema(_: argparse.Namespace) -> int:
    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
    return 0
