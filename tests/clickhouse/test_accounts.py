import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from ledger import book, call
from tallyspan_clickhouse.accounts import READER, account_statements, new_passwords
from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.local import LocalStore
from tallyspan_clickhouse.migrate import migrate
from tallyspan_clickhouse.rendering import Target
from tallyspan_clickhouse.schema import READABLE_VIEWS

USERS_XML = Path(__file__).parents[2] / "clickhouse/config/users.d/tallyspan.xml"
# Names of what every ClickHouse has, what this account itself may do, and its own queries: nothing of
# the server, of other accounts or of the ledger.
HARMLESS = {
    "aggregate_function_combinators",
    "collations",
    "columns",
    "completions",
    "contributors",
    "current_roles",
    "data_type_families",
    "database_engines",
    "databases",
    "dictionary_layouts",
    "disk_types",
    "enabled_roles",
    "formats",
    "functions",
    "licenses",
    "one",
    "privileges",
    "quota_usage",
    "settings",
    "table_engines",
    "table_functions",
    "tables",
    "time_zones",
    "user_query_log",
}
OUTSIDE = (
    "url('http://127.0.0.1:1/', 'CSV', 'a String')",
    "file('/etc/passwd', 'LineAsString', 'a String')",
    "s3('http://127.0.0.1:1/b/k', 'CSV', 'a String')",
    "remote('127.0.0.1:1', 'tallyspan', 'llm_calls')",
    "cluster('default', 'tallyspan', 'llm_calls')",
    "mysql('127.0.0.1:1', 'd', 't', 'u', 'p')",
    "postgresql('127.0.0.1:1', 'd', 't', 'u', 'p')",
    "sqlite('/tmp/x', 't')",
    "executable('id', 'CSV', 'a String')",
    "merge('tallyspan', '^llm_calls$')",
    "view(SELECT * FROM tallyspan.llm_calls)",
    "mergeTreeIndex('tallyspan', 'llm_calls')",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStore]:
    with LocalStore(tmp_path_factory.mktemp("store")) as running:
        with connect(running.url) as writer:
            migrate(writer)
            book(writer, [call()])
        yield running


@pytest.fixture(scope="module")
def writer(store: LocalStore) -> Client:
    return connect(store.url)


@pytest.fixture(scope="module")
def reader(store: LocalStore) -> Client:
    return connect(store.url_for("tallyspan_reader"))


def readable(writer: Client, reader: Client, database: str) -> set[str]:
    found = set()
    for (table,) in writer.query(f"SHOW TABLES FROM {database}").result_rows:
        try:
            reader.query(f"SELECT * FROM {database}.{table} LIMIT 1")
        except ClickHouseError:
            continue
        found.add(table)
    return found


def test_of_all_tables_the_reader_reads_the_reporting_views_only(
    writer: Client, reader: Client
) -> None:
    assert readable(writer, reader, "tallyspan") == set(READABLE_VIEWS)


def test_of_the_system_tables_the_reader_reads_what_says_nothing_of_the_server(
    writer: Client, reader: Client
) -> None:
    assert readable(writer, reader, "system") <= HARMLESS
    for table in ("tables", "columns"):
        column = "name" if table == "tables" else "table"
        seen = reader.query(
            f"SELECT DISTINCT {column} FROM system.{table} WHERE database = 'tallyspan'"
        )
        assert {name for (name,) in seen.result_rows} == set(READABLE_VIEWS)


@pytest.mark.parametrize("source", OUTSIDE)
def test_the_reader_reaches_nothing_through_a_table_function(reader: Client, source: str) -> None:
    with pytest.raises(ClickHouseError):
        reader.query(f"SELECT * FROM {source} LIMIT 1")


def test_the_engine_reads_every_statement_that_makes_accounts(writer: Client) -> None:
    for target in (Target("tallyspan"), Target("costs", "production")):
        passwords = new_passwords()
        made = account_statements(target, passwords)
        for statement in made:
            writer.command(f"EXPLAIN AST {statement}", use_database=False)
        granted = re.findall(rf"SELECT ON (\S+) TO {READER}", " ".join(made))
        assert granted == [f"{target.database}.{view}" for view in READABLE_VIEWS]
        assert len(set(passwords.values())) == 3


def test_the_accounts_of_compose_read_the_same_views() -> None:
    users = ET.parse(USERS_XML).getroot().find("users")
    assert users is not None
    grants = [query.text for query in users.iterfind("tallyspan_reader/grants/query")]

    assert grants == [f"GRANT SELECT ON tallyspan.{view}" for view in READABLE_VIEWS]
