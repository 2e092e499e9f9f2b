"""`tallyspan store migrate|accounts`: the schema of a store, and who may do what with it."""

import argparse
import sys
from typing import Any

from tallyspan_clickhouse.accounts import account_statements, new_passwords
from tallyspan_clickhouse.migrate import bundled, migrate, pending
from tallyspan_clickhouse.rendering import Target
from tallyspan_collector import config
from tallyspan_collector.commands.store import writing


def add_parser(commands: Any) -> None:
    """Give `tallyspan store` its parser."""
    parser = commands.add_parser("store", help="the store's schema")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    to_date = actions.add_parser(
        "migrate", help="bring the schema up to date; `up` does so too, on a single server"
    )
    config.add_flags(to_date, config.READ_OPTIONS)
    to_date.add_argument(
        "--dry-run", action="store_true", help="print the SQL that would run, change nothing"
    )
    to_date.add_argument(
        "--cluster",
        default="",
        help="a cluster of the server's remote_servers: replicated tables on all its servers",
    )
    to_date.set_defaults(run=_migrate)

    accounts = actions.add_parser(
        "accounts",
        help="print the SQL that makes writer, reader and admin of a ClickHouse server, with new"
        " passwords; the local store has its own",
    )
    accounts.add_argument("--database", default="tallyspan")
    accounts.add_argument("--cluster", default="", help="make them on all its servers")
    accounts.set_defaults(run=_accounts)


def _migrate(options: argparse.Namespace) -> int:
    with writing(options) as client:
        target = Target(str(client.database), options.cluster)
        if options.dry_run:
            for migration in pending(client, target.database, bundled()):
                sys.stdout.write(f"-- {migration.name}\n")
                sys.stdout.writelines(f"{text};\n" for text in target.render(migration.sql))
            return 0
        applied = migrate(client, target.database, target.cluster)
    said = f"applied {', '.join(map(str, applied))}" if applied else "was up to date"
    sys.stderr.write(f"schema of database {target.database}: {said}\n")
    return 0


def _accounts(options: argparse.Namespace) -> int:
    target = Target(options.database, options.cluster)
    for statement in account_statements(target, new_passwords()):
        sys.stdout.write(f"{statement};\n")
    sys.stderr.write("the passwords are in these statements and kept nowhere else\n")
    return 0
