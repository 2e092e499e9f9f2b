"""The accounts of a ClickHouse server as SQL: writer, reader and admin, each with what it needs."""

import secrets

from tallyspan_clickhouse.rendering import Target
from tallyspan_clickhouse.schema import READABLE_VIEWS

WRITER, READER, ADMIN = "tallyspan_writer", "tallyspan_reader", "tallyspan_admin"
READER_MEMORY_BYTES = 2_000_000_000


def new_passwords() -> dict[str, str]:
    """Return a new password for each account."""
    return {user: secrets.token_urlsafe(24) for user in (WRITER, READER, ADMIN)}


def account_statements(target: Target, passwords: dict[str, str]) -> list[str]:
    """Return the statements that make the accounts; made anew they change nothing but passwords.

    The writer is the collector: it owns the database, and the views run with its rights. The reader
    is Grafana and analysts: reporting views, no write, limits it may lower and not lift. The admin
    is a person: everything in the database, and a look at what runs.
    """
    database = target.database
    on_cluster = f" ON CLUSTER '{target.cluster}'" if target.cluster else ""
    limits = (
        "readonly = 1, max_execution_time = 30 MIN 1 MAX 60 CHANGEABLE_IN_READONLY,"
        f" max_memory_usage = {READER_MEMORY_BYTES} CONST"
    )
    statements = [f"CREATE SETTINGS PROFILE OR REPLACE {READER}{on_cluster} SETTINGS {limits}"]
    for user in (WRITER, READER, ADMIN):
        profile = f" SETTINGS PROFILE '{READER}'" if user == READER else ""
        identified = f"IDENTIFIED WITH sha256_password BY '{passwords[user]}'"
        statements += [
            f"CREATE USER IF NOT EXISTS {user}{on_cluster} {identified}{profile}",
            f"ALTER USER {user}{on_cluster} {identified}{profile}",
        ]
    statements += [
        f"GRANT{on_cluster} ALL ON {database}.* TO {WRITER}",
        f"GRANT{on_cluster} SET DEFINER ON {WRITER} TO {WRITER}",
        f"GRANT{on_cluster} ALL ON {database}.* TO {ADMIN}",
        f"GRANT{on_cluster} SET DEFINER ON {WRITER} TO {ADMIN}",
        f"GRANT{on_cluster} KILL QUERY ON *.* TO {ADMIN}",
        *(
            f"GRANT{on_cluster} SELECT ON system.{table} TO {ADMIN}"
            for table in ("processes", "query_log", "parts", "parts_columns", "mutations", "errors")
        ),
        *(f"GRANT{on_cluster} SELECT ON {database}.{view} TO {READER}" for view in READABLE_VIEWS),
    ]
    return statements
