"""Brings a store's schema up to date: numbered SQL files, each applied once, in order."""

import hashlib
import re
from dataclasses import dataclass
from importlib import resources

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from tallyspan_clickhouse.answers import one_number, rows_of
from tallyspan_clickhouse.engine import one_line
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.rendering import Target
from tallyspan_clickhouse.schema_lock import schema_lock

FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
# A table that is there already was made by a collector that died before it could record the
# migration: ClickHouse has no transactions over DDL.
ALREADY_EXISTS = re.compile(r"^Code: (57|82)\.")
BOOKKEEPING = """
CREATE DATABASE IF NOT EXISTS {database} {on_cluster} COMMENT 'What LLM calls cost';
CREATE TABLE IF NOT EXISTS {database}.schema_migrations {on_cluster}
(
    version UInt32 COMMENT 'Number of the migration',
    name String COMMENT 'File it was read from',
    checksum FixedString(64) COMMENT 'SHA-256 of that file, hex',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When it was applied (UTC)'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}applied_at) ORDER BY (version, checksum)
COMMENT 'Migrations applied to this database'
"""


@dataclass(frozen=True)
class Migration:
    """One numbered SQL file."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Return the SHA-256 of the file, hex."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def bundled() -> list[Migration]:
    """Return the migrations this package brings, in order."""
    return sorted(
        (
            Migration(int(match[1]), entry.name, entry.read_text(encoding="utf-8"))
            for entry in (resources.files("tallyspan_clickhouse") / "migrations").iterdir()
            if (match := FILE_NAME.fullmatch(entry.name))
        ),
        key=lambda migration: migration.version,
    )


def migrate(client: Client, database: str = "tallyspan", cluster: str = "") -> list[int]:
    """Apply what is missing and return the numbers of the migrations this call applied.

    Several collectors may do so at once: one holds a lock, the others wait and find nothing left to
    do. A `cluster` of the server's `remote_servers` gets replicated tables on all its servers.
    Raises StoreError if the schema is newer than this package, or an applied file has been edited.
    """
    return apply(client, Target(database, cluster), bundled())


def pending(client: Client, database: str, migrations: list[Migration]) -> list[Migration]:
    """Return the known migrations the database has not; changes nothing. Raises StoreError."""
    has_any = _has_table(client, database, "schema_migrations")
    applied = _applied(client, database) if has_any else {}
    _check(applied, migrations, database)
    return [migration for migration in migrations if migration.version not in applied]


def apply(client: Client, target: Target, migrations: list[Migration]) -> list[int]:
    """Apply those of the known migrations that the database has not."""
    [create_database, create_bookkeeping] = target.render(BOOKKEEPING)
    if not pending(client, target.database, migrations):
        return []
    _check_cluster(client, target)
    _run(client, create_database, f"preparing database {target.database}")
    on_cluster = target.render("{on_cluster}")
    with schema_lock(client, target.database, on_cluster[0] if on_cluster else "") as lock:
        _run(client, create_bookkeeping, f"preparing database {target.database}")
        missing = pending(client, target.database, migrations)
        for migration in missing:
            for number, statement in enumerate(target.render(migration.sql), 1):
                lock.keep()
                _run(client, statement, f"{migration.name}, statement {number}")
            _record(client, target.database, migration)
    return [migration.version for migration in missing]


def _applied(client: Client, database: str) -> dict[int, set[tuple[str, str]]]:
    """Return version -> name and checksum of what was applied as that version."""
    table = f"{database}.schema_migrations"
    query = (  # `apply` has checked the name
        f"SELECT groupUniqArray((version, name, toString(checksum))) FROM {table}"  # noqa: S608
    )
    applied: dict[int, set[tuple[str, str]]] = {}
    try:
        for version, name, checksum in rows_of(client, query):
            applied.setdefault(int(version), set()).add((name, checksum))
    except ClickHouseError as error:
        raise StoreError(f"reading {table}: {one_line(error)}") from error
    return applied


def _has_table(client: Client, database: str, name: str) -> bool:
    return bool(
        one_number(
            client,
            "SELECT count() FROM system.tables"
            " WHERE database = {database:String} AND name = {name:String}",
            {"database": database, "name": name},
            use_database=False,  # it may not exist yet
        )
    )


def _check(
    applied: dict[int, set[tuple[str, str]]], migrations: list[Migration], database: str
) -> None:
    names = {migration.version: migration.name for migration in migrations}
    for version, files in applied.items():
        if version in names and names[version] not in {name for name, _ in files}:
            other = min(name for name, _ in files)
            raise StoreError(
                f"database {database} was made by a tallyspan of before its first release"
                f" ({other}), whose schema this one cannot take over: start with a new --data-dir"
                " or database; `tallyspan export` of that version takes the calls out"
            )
    newest = max(names, default=0)
    if max(applied, default=0) > newest:
        raise StoreError(
            f"database {database} has schema {max(applied)}, this tallyspan knows {newest}: "
            "upgrade tallyspan"
        )
    for migration in migrations:
        if {checksum for _, checksum in applied.get(migration.version, ())} - {migration.checksum}:
            raise StoreError(
                f"{migration.name} was applied to database {database} and has changed since: "
                "restore the file and put the change into a new migration, or start with a new "
                "--data-dir or database"
            )


def _check_cluster(client: Client, target: Target) -> None:
    """Refuse to make tables of a single server in a schema that has those of a cluster."""
    if not target.cluster and _has_table(client, target.database, "llm_calls_all"):
        raise StoreError(
            f"database {target.database} is on a cluster and its schema is older than this"
            " tallyspan: run 'tallyspan store migrate --cluster NAME'"
        )


def _record(client: Client, database: str, migration: Migration) -> None:
    try:
        client.insert(
            "schema_migrations",
            [[migration.version, migration.name, migration.checksum]],
            column_names=["version", "name", "checksum"],
            database=database,
            settings={"async_insert": 0},
        )
    except ClickHouseError as error:
        raise StoreError(f"recording {migration.name}: {one_line(error)}") from error


def _run(client: Client, statement: str, what: str) -> None:
    try:
        # The database may not exist yet, so it is not the one the statement runs in.
        client.command(statement, use_database=False)
    except ClickHouseError as error:
        text = one_line(error)
        if statement.startswith("CREATE ") and ALREADY_EXISTS.match(text):
            return
        raise StoreError(f"{what}: {text}") from error
