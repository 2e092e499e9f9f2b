"""The `tallyspan` command: a function per subcommand; every error is one line on stderr."""

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, cast

from tallyspan import __version__
from tallyspan_clickhouse.errors import StoreError
from tallyspan_collector import config, service, summary
from tallyspan_collector.commands import (
    archive,
    audit,
    budgets,
    claimed,
    commitments,
    compared,
    directory,
    explain,
    export,
    keys,
    librechat,
    month,
    preload,
    prices,
    reconcile,
    report,
    reprice,
    schema,
    settings,
    spool,
    statement,
    true_up,
    usage_import,
    whatif,
)
from tallyspan_collector.commands.store import reading, writing
from tallyspan_collector.commands.table import OnTerminal
from tallyspan_collector.errors import ConfigError, TallyspanError
from tallyspan_collector.pricing.watch import too_old
from tallyspan_collector.server.logs import log_to_stderr
from tallyspan_collector.summary import comparison
from tallyspan_collector.summary.as_of_today import as_of_today
from tallyspan_collector.summary.currency import currency_of

USAGE_ERROR = 2
CHAT_ADDRESS = "127.0.0.1:4320"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; return 0, 1 (it failed) or 2 (its arguments are wrong)."""
    parser = _parser()
    options = parser.parse_args(arguments)
    log_to_stderr()
    try:
        return int(options.run(options))
    except (ConfigError, summary.RequestError) as error:
        sys.stderr.write(f"tallyspan: {error}\n")
        return USAGE_ERROR
    except (TallyspanError, StoreError) as error:
        sys.stderr.write(f"tallyspan: {error}\n")
        return 1
    except BrokenPipeError:  # `tallyspan sql ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tallyspan",
        description="What your LLM calls cost: every call, once, at the price the provider bills.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"tallyspan {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="run the collector", allow_abbrev=False)
    config.add_flags(up, config.OPTIONS)
    up.set_defaults(run=_up)

    chat = commands.add_parser(
        "mcp", help="the tools of a chat (/mcp) on an address of their own", allow_abbrev=False
    )
    config.add_flags(chat, (*config.READ_OPTIONS, prices.PRICES, *config.TLS_OPTIONS))
    chat.add_argument("--listen", default=CHAT_ADDRESS, help=f"HOST:PORT (default {CHAT_ADDRESS})")
    chat.set_defaults(run=_mcp)

    totals = commands.add_parser("report", help="calls, tokens and cost in a terminal")
    config.add_flags(totals, (*config.READ_OPTIONS, prices.PRICES, prices.MAX_AGE))
    totals.add_argument(
        "--by", default="", help=f"comma-separated: {', '.join(summary.GROUPS)} (default user)"
    )
    totals.add_argument(
        "--claimed",
        action="store_true",
        help="what emitters claim calls cost, against ours; "
        f"--by {', '.join(claimed.CLAIM_DIMENSIONS)} (default {','.join(claimed.DEFAULT_GROUPS)})",
    )
    totals.add_argument("--since", default="30d", help="how far back: 12h, 30d, 4w (default 30d)")
    totals.add_argument(
        "--compare",
        choices=comparison.PERIODS,
        help="this period so far against the same days of the one before, in place of --since",
    )
    totals.add_argument("--format", choices=("table", "json", "csv"), default="table")
    totals.add_argument("--currency", default="", help="costs in this currency too, such as EUR")
    totals.add_argument(
        "--as-of-today", action="store_true", help="also with the prices of today; books nothing"
    )
    totals.set_defaults(run=_report)

    sql = commands.add_parser("sql", help="ClickHouse SQL against the store, read-only")
    config.add_flags(sql, config.READ_OPTIONS)
    sql.add_argument("query", help='for example "SELECT * FROM token_usage LIMIT 10"')
    sql.add_argument("--format", default="PrettyCompact", help="a ClickHouse output format")
    sql.set_defaults(run=_sql)

    keys.add_parser(commands)
    audit.add_parser(commands)
    spool.add_parser(commands)
    prices.add_parser(commands)
    reprice.add_parser(commands)
    whatif.add_parser(commands)
    commitments.add_parser(commands)
    budgets.add_parser(commands)
    settings.add_parser(commands)
    usage_import.add_parser(commands)
    reconcile.add_parser(commands)
    true_up.add_parser(commands)
    month.add_parser(commands)
    statement.add_parser(commands)
    schema.add_parser(commands)
    export.add_parser(commands)
    explain.add_parser(commands)
    directory.add_parser(commands)
    librechat.add_parser(commands)
    archive.add_parser(commands)
    preload.add_parser(commands)

    demo = commands.add_parser("demo", help="replay recorded traffic and show what it cost")
    demo.add_argument("--once", action="store_true", help="end when the report is printed")
    demo.add_argument("--data-dir", help="keep the demo's data there (default: a temporary folder)")
    demo.set_defaults(run=_demo)
    return parser


def _up(options: argparse.Namespace) -> int:
    service.run(config.load(options))
    return 0


def _mcp(options: argparse.Namespace) -> int:
    if find_spec("mcp") is None:
        raise ConfigError("the tools of a chat need a package more: pip install 'tallyspan[mcp]'")
    try:
        address = config.address(options.listen)
    except ValueError as error:
        raise ConfigError(f"--listen {options.listen!r}: {error}") from None
    service.run_chat(config.load(options), address)
    return 0


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
    book = prices.book_of(options)
    currency = currency_of(book.file, options.currency) if options.currency else None
    # New prices need the entries of the ledger, which the reader account cannot see.
    with (writing if options.as_of_today else reading)(options) as client:
        rows = summary.summarise(client, filters, groups, currency=currency)
        if options.as_of_today:
            today = as_of_today(client, book, filters, groups)
            rows = [today.add_to(row, groups) for row in rows]
        billed_usd = summary.billed(client, since)
    report.render(
        rows, groups, options.format, sys.stdout, currency=options.currency, billed_usd=billed_usd
    )
    if currency is not None:
        rates = (f"1 = {each['usd']} USD since {each['from']}" for each in currency.rate_rows())
        sys.stderr.write(f"{currency.name}, each day at its rate: {'; '.join(rates)}\n")
    age = config.read(options, options=(prices.MAX_AGE,))["prices_max_age"]
    if warning := too_old(book.data, age, now):
        sys.stderr.write(f"{warning}\n")
    return 0


def _sql(options: argparse.Namespace) -> int:
    with reading(options) as client:
        out = sys.stdout.buffer
        # A name in the ledger is any text that a sender chose; what goes to a file stays as it is.
        shown = cast("BinaryIO", OnTerminal(out)) if sys.stdout.isatty() else out
        report.run_sql(client, options.query, options.format, shown)
    return 0


def _demo(options: argparse.Namespace) -> int:
    try:
        from tallyspan_collector.demo import run
    except ModuleNotFoundError as missing:
        raise ConfigError(
            f"the demo drives the real SDKs and {missing.name} is not installed: "
            "pip install 'tallyspan[demo]'"
        ) from None
    return run.main(
        once=options.once, data_dir=Path(options.data_dir) if options.data_dir else None
    )
