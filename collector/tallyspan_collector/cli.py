"""The `tallyspan` command: finds the module of a subcommand; every error is one line on stderr.

Only the module of the subcommand that was called is imported: importing them all takes a second.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from tallyspan import __version__
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.query.errors import RequestError
from tallyspan_collector.errors import ConfigError, TallyspanError

USAGE_ERROR = 2
COMMANDS: Mapping[str, tuple[str, str]] = {
    "up": ("up", "run the collector"),
    "mcp": ("mcp", "the tools of a chat (/mcp) on an address of their own"),
    "report": ("report", "calls, tokens and cost in a terminal"),
    "sql": ("sql", "ClickHouse SQL against the store, read-only"),
    "keys": ("keys", "keys to send calls and to see costs"),
    "audit": ("audit", "who asked the admin API for what"),
    "spool": ("spool", "what waits for the store, and what is dead"),
    "prices": ("prices", "what calls are priced with, and what has no price"),
    "reprice": ("reprice", "preview, or with --apply book, what changed prices change"),
    "whatif": ("whatif", "what calls would have cost with another model, another tier or no cache"),
    "commitments": (
        "commitments",
        "provisioned throughput, plans and minimums: what is booked of them",
    ),
    "budgets": ("budgets", "what may be spent, and where it stands"),
    "settings": ("settings", "what the organisation decides once: its time zone; NAME=VALUE sets"),
    "import": ("usage_import", "book usage that a provider reports and no span tells of"),
    "reconcile": ("reconcile", "compare what was recorded with what the provider billed"),
    "true-up": ("true_up", "book what a provider's bill has and the ledger has not"),
    "month": ("month", "list, check, close and reopen months"),
    "statement": ("statement", "statements of a month: a file for each department or cost centre"),
    "store": ("schema", "the store's schema"),
    "export": ("export", "calls of a period as CSV, Parquet or FOCUS"),
    "explain": ("explain", "what a trace, or spans in a file, were taken for, and what they cost"),
    "directory": ("directory", "users, their departments and names"),
    "librechat": ("librechat", "LibreChat's ledger, people and settings"),
    "archive": ("archive", "closed months of the ledger to Parquet files"),
    "archive-views": ("archive", "a database of views over ledger and archive, for admins"),
    "preload": (
        "preload",
        "print the file that counts the model calls of a Node process (docs/node.md)",
    ),
    "demo": ("demo", "replay recorded traffic and show what it cost"),
}
"""Subcommand -> its module in `tallyspan_collector.commands`, its line of `tallyspan --help`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; return 0, 1 (it failed) or 2 (its arguments are wrong).

    Raises ModuleNotFoundError if a package is missing that the subcommand needs.
    """
    words = sys.argv[1:] if arguments is None else arguments
    command = next((word for word in words if not word.startswith("-")), "")
    options = parser_for(command).parse_args(words)
    from tallyspan_collector.server.logs import log_to_stderr

    log_to_stderr()
    try:
        return int(options.run(options))
    except (ConfigError, RequestError) as error:
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


def parser_for(command: str) -> argparse.ArgumentParser:
    """Return the parser that knows all flags of `command`, and of the others the name."""
    parser = argparse.ArgumentParser(
        prog="tallyspan",
        description="What your LLM calls cost: every call, once, at the price the provider bills.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"tallyspan {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    wanted = COMMANDS[command][0] if command in COMMANDS else ""
    for name, (module, what) in COMMANDS.items():
        if module != wanted:
            commands.add_parser(name, help=what)
    if wanted:
        import_module(f"tallyspan_collector.commands.{wanted}").add_parser(commands)
    return parser
