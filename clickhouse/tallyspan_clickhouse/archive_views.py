"""The ledger and its archive as one: a database of views for admins, beside the ledger's own."""

import re
from pathlib import Path

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from tallyspan_clickhouse.engine import one_line
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.migrate import bundled
from tallyspan_clickhouse.rendering import Target
from tallyspan_clickhouse.schema import CORRECTED, DOUBTFUL, FEEDS, LEDGER

VIEWS = (
    "calls", "token_usage", "call_meters", "call_doubts", "call_price_doubts",
    "conversations", "usage_entries",
)  # fmt: skip
"""Views of the ledger that are made over both; rollups have the archived months anyway."""
_CREATES_VIEW = re.compile(r"CREATE (?:OR REPLACE )?VIEW \w+\.(\w+)")


def with_archive(database: str) -> str:
    """Return the name of the database of views."""
    return f"{database}_with_archive"


def make(client: Client, files: str, database: str) -> str:
    """Make the views over the ledger and the Parquet files (a glob the server can read).

    Returns the name of their database. The reader's account has no right there. Raises StoreError.
    """
    other = with_archive(database)
    columns = client.query(
        "SELECT name, type FROM system.columns WHERE database = {database:String}"
        " AND table = 'llm_calls' ORDER BY position",
        parameters={"database": database},
    ).result_rows
    there = _columns_of(client, files)
    named = ", ".join(f"l.{name}" for name, _ in columns)
    # Files of before a column came do not have it.
    cast = ", ".join(
        f"CAST(f.{name}, '{_quoted(kind)}') AS {name}"
        if name in there
        else f"defaultValueOfTypeName('{_quoted(kind)}') AS {name}"
        for name, kind in columns
    )
    _run(client, f"CREATE DATABASE IF NOT EXISTS {other} COMMENT 'Ledger and archive as one'")
    _run(
        client,
        f"CREATE OR REPLACE VIEW {other}.llm_calls AS SELECT {named} FROM {database}.llm_calls AS l"  # noqa: S608
        f" UNION ALL SELECT {cast} FROM file('{_quoted(files)}', 'Parquet') AS f"
        " COMMENT 'Entries of the ledger and of its archive'",
    )
    for table in (CORRECTED, DOUBTFUL):
        entries = _fed_with(client, table, database).replace(
            f"{database}.{LEDGER} ", f"{other}.{LEDGER} "
        )
        _run(
            client,
            f"CREATE OR REPLACE VIEW {other}.{table} AS {entries}"
            f" COMMENT 'What {database}.{table} has, of the archive too'",
        )
    for statement in _statements(database, other):
        _run(client, statement)
    return other


def remove(client: Client, database: str) -> None:
    """Remove the views; the ledger and the files stay."""
    _run(client, f"DROP DATABASE IF EXISTS {with_archive(database)} SYNC")


def _statements(database: str, other: str) -> list[str]:
    latest: dict[str, str] = {}
    for migration in bundled():
        for statement in Target(other).render(migration.sql):
            match = _CREATES_VIEW.match(statement)
            if match and match[1] in VIEWS:
                latest[match[1]] = statement
    replaced = (
        re.sub(r"^CREATE (?:OR REPLACE )?VIEW", "CREATE OR REPLACE VIEW", latest[name])
        .replace(f"{other}.user_names", f"{database}.user_names")
        for name in VIEWS
    )  # fmt: skip
    return list(replaced)


def _fed_with(client: Client, table: str, database: str) -> str:
    """Return the SELECT over the ledger that fills the table."""
    [(select,)] = client.query(
        "SELECT as_select FROM system.tables WHERE database = {database:String}"
        " AND name = {feed:String}",
        parameters={"database": database, "feed": FEEDS[table]},
    ).result_rows
    return str(select)


def _columns_of(client: Client, files: str) -> set[str]:
    try:
        described = client.query(f"DESCRIBE TABLE file('{_quoted(files)}', 'Parquet')").result_rows
    except ClickHouseError as error:
        raise StoreError(f"the server cannot read {files}: {one_line(error)}") from error
    return {str(row[0]) for row in described}


def _quoted(text: str | Path) -> str:
    return str(text).replace("\\", "\\\\").replace("'", "\\'")


def _run(client: Client, statement: str) -> None:
    try:
        client.command(statement, use_database=False)
    except ClickHouseError as error:
        raise StoreError(f"views over the archive: {one_line(error)}") from error
