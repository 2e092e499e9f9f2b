import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from tallyspan_clickhouse import lock_holder
from tallyspan_clickhouse.answers import rows_of
from tallyspan_clickhouse.ddl import baseline
from tallyspan_clickhouse.engine import connect, database_name
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.ledger_lock import ledger_lock
from tallyspan_clickhouse.local import LocalStore
from tallyspan_clickhouse.migrate import Migration, apply, bundled, migrate, pending
from tallyspan_clickhouse.rendering import DISTRIBUTED, Target, statements
from tallyspan_clickhouse.schema import READABLE_VIEWS
from tallyspan_clickhouse.schema_lock import schema_lock


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStore]:
    with LocalStore(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture(scope="module")
def client(store: LocalStore) -> Client:
    admin = connect(store.url)
    migrate(admin)
    return admin


@pytest.fixture(scope="module")
def reader(store: LocalStore, client: Client) -> Client:
    return connect(store.url_for("tallyspan_reader"))


def test_migrating_twice_applies_everything_once(store: LocalStore) -> None:
    admin = connect(store.url, database="twice")

    assert migrate(admin, "twice") == [migration.version for migration in bundled()]
    assert migrate(admin, "twice") == []


def test_the_migrations_make_what_the_schema_describes(store: LocalStore) -> None:
    made = Migration(1, "0001_schema.sql", baseline())
    apply(connect(store.url, database="described"), Target("described"), [made])
    migrate(connect(store.url, database="migrated"), "migrated")

    def objects(database: str) -> dict[str, str]:
        rows = connect(store.url, database=database).query(
            "SELECT name, replaceAll(create_table_query, database, 'x') FROM system.tables"
            f" WHERE database = '{database}'"
        )
        return {str(name): str(text) for name, text in rows.result_rows}

    described = objects("described")
    assert len(described) > len(READABLE_VIEWS)
    assert objects("migrated") == described


def test_collectors_that_start_at_the_same_moment_all_get_the_whole_schema(
    store: LocalStore,
) -> None:
    def start(_: int) -> object:
        admin = connect(store.url, database="together")
        migrate(admin, "together")
        return admin.command("SELECT count() FROM token_usage")

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(start, range(4))) == [0, 0, 0, 0]
    assert migrate(connect(store.url, database="together"), "together") == []


def test_an_edited_migration_is_refused(client: Client) -> None:
    edited = [replace(migration, sql=migration.sql + "-- edited") for migration in bundled()]

    with pytest.raises(StoreError, match=r"0001_schema.sql was applied .* restore the file"):
        apply(client, Target("tallyspan"), edited)


def test_a_newer_schema_asks_for_an_upgrade(client: Client) -> None:
    newer = [*bundled(), Migration(9000, "9000_future.sql", "SELECT 1")]
    apply(client, Target("newer"), newer)

    with pytest.raises(StoreError, match=r"has schema 9000, this tallyspan knows .* upgrade"):
        migrate(client, "newer")


def test_a_migration_that_stopped_half_way_is_finished_by_the_next_start(client: Client) -> None:
    table = "CREATE TABLE {database}.a (n UInt8 COMMENT 'n') ENGINE = {engine} ORDER BY n;"
    with pytest.raises(StoreError, match=r"0001_a.sql, statement 2: Code: "):
        apply(client, Target("halfway"), [Migration(1, "0001_a.sql", table + "CREATE NONSENSE")])

    assert apply(client, Target("halfway"), [Migration(1, "0001_a.sql", table + "SELECT 1")]) == [1]


def test_what_is_pending_can_be_asked_without_changing_anything(client: Client) -> None:
    assert pending(client, "nowhere", bundled()) == bundled()
    assert pending(client, "tallyspan", bundled()) == []
    assert client.query("SHOW DATABASES LIKE 'nowhere'").result_rows == []


def test_an_answer_without_a_row_is_not_taken_for_an_empty_store(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for query in ("SELECT 1 WHERE 0", "SELECT arrayJoin([1, 2])"):
        with pytest.raises(StoreError, match="gave no answer to"):
            rows_of(client, query)

    # What the engine answers to some queries while its disk is full
    monkeypatch.setattr(client, "command", lambda *_, **__: "")
    for ask in (
        lambda: pending(client, "tallyspan", bundled()),
        lambda: apply(client, Target("tallyspan"), bundled()),
    ):
        with pytest.raises(StoreError, match="its disk may be full") as refused:
            ask()
        assert refused.value.retryable


def test_a_cluster_is_not_upgraded_as_if_it_were_one_server(client: Client) -> None:
    apply(client, Target("clustered"), [])
    client.command("CREATE DATABASE clustered")
    client.command("CREATE TABLE clustered.llm_calls_all (n UInt8) ENGINE = Memory")

    with pytest.raises(StoreError, match=r"run 'tallyspan store migrate --cluster NAME'"):
        migrate(client, "clustered")


def test_a_schema_that_is_being_changed_is_waited_for_and_then_reported(client: Client) -> None:
    impatient = schema_lock(client, "tallyspan", "", patience_seconds=0.2)
    with (
        schema_lock(client, "tallyspan", ""),
        pytest.raises(StoreError, match=r"another collector .* DROP TABLE tallyspan.schema_lock"),
        impatient,
    ):
        pass

    with schema_lock(client, "tallyspan", "", patience_seconds=0.2):
        pass


def test_the_lock_of_a_collector_that_died_is_taken_over(client: Client) -> None:
    with (
        schema_lock(client, "tallyspan", ""),
        schema_lock(client, "tallyspan", "", patience_seconds=5, stale_seconds=0),
    ):
        pass

    assert client.query("SHOW TABLES FROM tallyspan LIKE '%\\_lock%'").result_rows == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_the_lock_of_a_process_that_was_killed_on_this_machine_is_free_at_once(
    store: LocalStore, client: Client
) -> None:
    program = (
        "import sys; from tallyspan_clickhouse.engine import connect;"
        "from tallyspan_clickhouse.ledger_lock import ledger_lock\n"
        "with ledger_lock(connect(sys.argv[1]), 'a run'): print('held', flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, store.url],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(StoreError, match=rf"\(a run by process {holder.pid} on \S+ \w+\)"),
            ledger_lock(client, "another", patience_seconds=0.2),
        ):
            pass
        holder.kill()
        holder.wait()

    with ledger_lock(client, "another", patience_seconds=0.2):
        pass


def test_a_holder_that_cannot_be_seen_from_here_is_not_taken_for_dead() -> None:
    here = lock_holder.mark()
    place, _, process = here.rpartition("-")
    pid, _, started = process.partition("_")

    assert not lock_holder.is_gone(here)
    assert lock_holder.is_gone(f"{place}-{pid}_{int(started) - 1}")
    for elsewhere in ("", "4f2a91c0", f"{place}1-{pid}_1", f"x{place}-{pid}_1", f"{place}-x_1"):
        assert not lock_holder.is_gone(elsewhere)


def test_only_one_holds_the_lock_at_a_time(store: LocalStore, client: Client) -> None:
    inside: list[int] = []

    def hold(number: int) -> bool:
        with schema_lock(connect(store.url), "tallyspan", "", patience_seconds=60):
            inside.append(number)
            alone = inside == [number]
            connect(store.url).command("SELECT sleep(0.05)")
            inside.remove(number)
        return alone

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(hold, range(8)))


def test_a_store_of_before_the_first_release_is_refused_by_name(client: Client) -> None:
    old = [
        Migration(1, "0001_llm_calls.sql", "CREATE VIEW {database}.calls AS SELECT 1"),
        Migration(50, "0050_claimed_costs.sql", "SELECT 1"),
    ]
    apply(client, Target("old"), old)

    with pytest.raises(StoreError, match=r"database old .*0001_llm_calls.sql.* new --data-dir"):
        migrate(client, "old")
    assert client.query("SELECT count() FROM old.calls").result_rows == [(1,)]


@pytest.mark.parametrize("migration", bundled(), ids=lambda migration: migration.name)
def test_the_engine_reads_every_statement_rendered_for_a_cluster(
    client: Client, migration: Migration
) -> None:
    rendered = Target("tallyspan", "production").render(migration.sql)

    for statement in rendered:
        client.command(f"EXPLAIN AST {statement}", use_database=False)
        if statement.startswith("CREATE"):
            assert "ON CLUSTER 'production'" in statement
    assert not re.search(r"ENGINE = (?!Replicated|Distributed)", " ".join(rendered))
    made = [
        table for table in DISTRIBUTED if f"CREATE TABLE {{database}}.{table} " in migration.sql
    ]
    assert sum("ENGINE = Distributed" in statement for statement in rendered) == len(made)


@pytest.mark.parametrize("name", ["", "a-b", "x; DROP DATABASE default", "1st"])
def test_a_database_or_cluster_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(StoreError, match="cannot be a database"):
        Target(name)
    if name:
        with pytest.raises(StoreError, match="cannot be a cluster"):
            Target("tallyspan", name)


def test_statements_end_at_a_semicolon_outside_quotes_and_comments() -> None:
    sql = """-- first; comment
    SELECT ';--', "a;b", `c;d` /* ; */; SELECT 'it''s \\'; fine' - 1; -- last
    """

    assert statements(sql) == ["SELECT ';--', \"a;b\", `c;d`", "SELECT 'it''s \\'; fine' - 1"]


def test_every_table_view_and_column_has_a_comment(client: Client) -> None:
    without = client.query(  # what a materialized view has are the columns of its target
        "SELECT table, name FROM system.columns WHERE database = 'tallyspan' AND comment = ''"
        " AND table NOT LIKE '%\\_feed'"
        " UNION ALL SELECT name, '' FROM system.tables"
        " WHERE database = 'tallyspan' AND comment = ''"
    ).result_rows

    assert without == []


@pytest.mark.parametrize("view", READABLE_VIEWS)
def test_the_reader_reads_the_views(reader: Client, view: str) -> None:
    rows = reader.query(f"SELECT * FROM {view}").result_rows

    # Thresholds and settings come with the schema; what time it is needs no row.
    assert bool(rows) == (view in {"alert_thresholds", "settings", "clock", "running_periods"})


def test_the_reader_may_shorten_its_time_limit_but_not_lift_it(reader: Client) -> None:
    assert reader.query("SELECT 1", settings={"max_execution_time": 5}).result_rows == [(1,)]
    with pytest.raises(ClickHouseError):
        reader.query("SELECT 1 SETTINGS max_execution_time = 601")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count() FROM llm_calls",
        "SELECT count() FROM schema_migrations",
        "SELECT count() FROM system.users",
        "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
        "SELECT * FROM file('/etc/passwd', 'LineAsString', 'a String')",
        "SELECT * FROM executable('id', 'CSV', 'a String')",
        "INSERT INTO llm_calls (user_id) VALUES ('x')",
        "INSERT INTO calls (user_id) VALUES ('x')",
        "DROP TABLE llm_calls",
        "SYSTEM STOP LISTEN HTTP",
        "SET readonly = 0",
    ],
)
def test_the_reader_may_do_nothing_else(reader: Client, query: str) -> None:
    with pytest.raises(ClickHouseError):
        reader.command(query)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://u:hunter2@host/x", "must start with http"),
        ("http:///x", "names no host"),
        ("http://u:hunter2@host:99999/x", "no valid host and port"),
        ("http://u:hunter2@host/x?verify=hunter2", "unknown parameter 'verify'"),
        ("http://u:hunter2@host/a-b", "names a database that cannot be"),
        ("http://u:hunter2@127.0.0.1:1/x", "no store answers at 127.0.0.1:1"),
        ("http://u:hunter2@nowhere.invalid:8123/x", "no store answers at nowhere.invalid:8123"),
        ("http://tallyspan:hunter2@127.0.0.1:{port}{path}", "does not let user 'tallyspan' in"),
        ("http://tallyspan:hunter2@127.0.0.1:{port}/x", "not a ClickHouse HTTP interface"),
        ("https://tallyspan:hunter2@127.0.0.1:{port}{path}", "not a ClickHouse HTTP interface"),
    ],
)
def test_a_url_that_does_not_work_is_explained_without_its_password(
    store: LocalStore, url: str, says: str
) -> None:
    with pytest.raises(StoreError) as refused:
        connect(url.format(port=store.port, path=urlsplit(store.url).path))

    assert says in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_not_a_clickhouse_is_said_to_be_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(1) as pool:
        refused = pool.submit(connect, f"http://u:hunter2@127.0.0.1:{silent.getsockname()[1]}/x")
        silent.settimeout(0.2)
        while not refused.done():
            with suppress(TimeoutError):
                connection, _peer = silent.accept()
                with connection:
                    connection.sendall(b"SSH-2.0-Something\r\n")
        with pytest.raises(StoreError, match="not a ClickHouse HTTP interface"):
            refused.result(timeout=20)


def test_the_database_is_tallyspan_unless_the_url_names_another() -> None:
    assert database_name("http://host:8123") == "tallyspan"
    assert database_name("http://host:8123/costs") == "costs"


def test_one_client_serves_several_threads(client: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda n: client.command(f"SELECT {n} + sleep(0.01)"), range(32))

    assert list(answers) == list(range(32))
