"""`tallyspan store migrate|retention|accounts`: schema, retention and accounts of a store."""

import argparse
import sys
from typing import Any

from tallyspan_clickhouse import retention
from tallyspan_clickhouse.accounts import account_statements, new_passwords
from tallyspan_clickhouse.migrate import bundled, migrate, pending
from tallyspan_clickhouse.rendering import Target
from tallyspan_collector import config
from tallyspan_collector.commands.store import writing
from tallyspan_collector.commands.table import write_table


def add_parser(commands: Any) -> None:
    """Add the parser of `tallyspan store`."""
    parser = commands.add_parser("store")
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

    keeping = actions.add_parser(
        "retention", help="how long rows are kept; --apply changes it, `up` does so too"
    )
    config.add_flags(keeping, (*config.READ_OPTIONS, *config.RETENTION_OPTIONS))
    keeping.add_argument("--apply", action="store_true", help="change what is not as set")
    keeping.add_argument("--cluster", default="", help="change it on all servers of the cluster")
    keeping.set_defaults(run=_retention)

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
    text = f"applied {', '.join(map(str, applied))}" if applied else "was up to date"
    sys.stderr.write(f"schema of database {target.database}: {text}\n")
    return 0


def _retention(options: argparse.Namespace) -> int:
    settings = config.read(options, options=config.RETENTION_OPTIONS)
    with writing(options) as client:
        now = retention.kept_days(client)
        wanted = retention.changes(client, settings["retention"], settings["retention_rollups"])
        if options.apply:
            for table, days in wanted.items():
                retention.keep(client, table, days, options.cluster)
    rows = [
        {"table": table, "kept": _kept(days), "to be kept": _kept(wanted.get(table, days))}
        for table, days in now.items()
    ]
    write_table(rows, sys.stdout)
    if wanted:
        text = "changed" if options.apply else "not as set: --apply changes them"
        sys.stderr.write(f"{len(wanted)} tables {text}\n")
    return 0


def _kept(days: int) -> str:
    return f"{days}d" if days else "forever"


def _accounts(options: argparse.Namespace) -> int:
    target = Target(options.database, options.cluster)
    for statement in account_statements(target, new_passwords()):
        sys.stdout.write(f"{statement};\n")
    sys.stderr.write("the passwords are in these statements and kept nowhere else\n")
    return 0
