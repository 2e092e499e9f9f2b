"""Months leave the ledger for files that say the same, and stay part of every figure."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from ledger import NOON, book, call, empty, reversal, unpriced
from shared_store import SharedStore
from tallyspan_clickhouse import archive, retention
from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.errors import StoreError
from tallyspan_collector.cli import main

FEBRUARY, MARCH = NOON - timedelta(days=40), NOON
TOTALS = "SELECT count(), sum(cost_usd), sum(total_tokens), countIf(cost_usd IS NULL) FROM {}"
NASTY = {"user_id": "o'neill \\ 🙂\n", "tags": {"a'b": "\0"}, "quality_flags": ["inferred"]}


@pytest.fixture
def client(store: SharedStore) -> Iterator[Client]:
    with connect(store.url) as client:
        empty(client)
        client.command("DROP TABLE IF EXISTS llm_calls_archiving SYNC")
        gone = call(start_time=FEBRUARY)
        book(
            client,
            [
                call(start_time=FEBRUARY, cost_usd=Decimal("1.000000000001"), **NASTY),
                unpriced(start_time=FEBRUARY, tags={}),
                gone,
                reversal(gone),
                call(start_time=MARCH),
            ],
        )
        yield client


def run(store: SharedStore, command: str, *arguments: str) -> int:
    return main([command, *arguments, "--data-dir", str(store.data_dir)])


def rows(client: Client, table: str = "llm_calls") -> int:
    return int(client.query(f"SELECT count() FROM {table}").result_rows[0][0])


def whole(client: Client, view: str) -> list[Any]:
    return list(client.query(TOTALS.format(view)).result_rows)


def test_the_names_of_the_files_are_on_the_disk_before_rows_are_dropped(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    run_statement = archive._run

    def run(client: Client, statement: str) -> None:
        events.append(statement)
        run_statement(client, statement)

    monkeypatch.setattr(archive, "_run", run)
    monkeypatch.setattr(archive, "sync_folder", lambda folder: events.append(str(folder)))
    archive.archive(client, 202602, tmp_path)

    drop = "ALTER TABLE llm_calls_archiving DROP PARTITION 202602"
    assert events.index(str(tmp_path)) < events.index(drop)


def test_a_month_goes_to_a_file_and_both_together_say_what_the_ledger_said(
    store: SharedStore, client: Client, tmp_path: Path
) -> None:
    before = whole(client, "calls")
    daily = client.query("SELECT sum(calls), sum(cost_usd) FROM usage_daily").result_rows
    names = client.query("SELECT user_id, tags FROM calls ORDER BY user_id").result_rows
    doubts = "SELECT user_id, doubt, cost_usd FROM {}call_doubts"
    assert client.query(doubts.format("")).result_rows == [
        (NASTY["user_id"], "inferred", Decimal("1.000000000001"))
    ]
    to = str(tmp_path)
    assert run(store, "archive", "--before", "2026-03-15", "--to", to, "--dry-run") == 0
    assert rows(client) == 5
    assert run(store, "archive", "--before", "2026-03-15", "--to", to) == 0
    assert run(store, "archive", "--before", "2026-03-15", "--to", to) == 0
    assert run(store, "archive-views", "--from", to) == 0

    assert rows(client) == 1
    assert [path.name for path in tmp_path.glob("*.parquet")] == ["llm_calls-2026-02.parquet"]
    assert whole(client, "tallyspan_with_archive.calls") == before
    over_both = "SELECT user_id, tags FROM tallyspan_with_archive.calls ORDER BY user_id"
    assert client.query(over_both).result_rows == names
    assert client.query(doubts.format("")).result_rows == []
    assert len(client.query(doubts.format("tallyspan_with_archive.")).result_rows) == 1
    assert client.query("SELECT sum(calls), sum(cost_usd) FROM usage_daily").result_rows == daily
    assert client.command("EXISTS TABLE llm_calls_archiving") == 0
    with (
        connect(store.url_for("tallyspan_reader")) as reader,
        pytest.raises(Exception, match="497"),
    ):
        reader.query("SELECT count() FROM tallyspan_with_archive.calls")
    assert run(store, "archive-views", "--remove") == 0
    assert client.query("SHOW DATABASES LIKE '%archive'").result_rows == []


def test_what_comes_late_for_an_archived_month_gets_a_file_of_its_own(
    store: SharedStore, client: Client, tmp_path: Path
) -> None:
    before = ["--before", "2026-03-15", "--to", str(tmp_path)]
    assert run(store, "archive", *before) == 0
    late = call(start_time=FEBRUARY, quality_flags=["inferred"])
    book(client, [late, call(start_time=FEBRUARY)])
    assert client.query("SELECT count() FROM call_doubts").result_rows == [(1,)]
    assert run(store, "archive", *before) == 0

    found = {each.file: each.figures.calls for each in archive.manifest(tmp_path)}
    assert found == {"llm_calls-2026-02.parquet": 2, "llm_calls-2026-02.2.parquet": 2}


def test_a_file_that_says_anything_else_is_refused_and_the_rows_stay(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = archive._write

    def short(client: Client, source: str, path: Path) -> str:
        return write(client, f"{source} AND cost_status != 'unpriced'", path)

    monkeypatch.setattr(archive, "_write", short)
    with pytest.raises(StoreError, match="nothing was dropped"):
        archive.archive(client, 202602, tmp_path)

    assert rows(client) == 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["_write", "read_back", "_note", "_drop"])
def test_a_run_that_is_killed_anywhere_is_finished_by_the_next(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    class Killed(BaseException):
        pass

    run_statement = archive._run

    def die(*_: object) -> None:
        raise Killed

    def die_at(_client: Client, statement: str) -> None:
        # a process that is killed moves nothing back either
        if step == "_drop" and "DROP PARTITION" in statement:
            raise Killed
        if not statement.endswith("TO TABLE llm_calls"):
            run_statement(_client, statement)

    with monkeypatch.context() as patch:
        patch.setattr(archive, "_run", die_at)
        if step != "_drop":
            patch.setattr(archive, step, die)
        with pytest.raises(Killed):
            archive.archive(client, 202602, tmp_path)
    assert rows(client) + rows(client, "llm_calls_archiving") == 5
    assert archive.months(client, date(2026, 3, 1)) == [202602]
    archive.archive(client, 202602, tmp_path)
    archive.finish(client)

    assert rows(client) == 1
    files = [path.name for path in tmp_path.glob("*.parquet")]
    assert files == ["llm_calls-2026-02.parquet"]
    [listed] = archive.manifest(tmp_path)
    assert archive.read_back(tmp_path / listed.file) == listed.figures
    assert listed.figures.entries == 4


def test_rows_that_are_kept_are_in_no_view_over_both(
    store: SharedStore, client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = ["--before", "2026-03-15", "--to", str(tmp_path)]
    assert run(store, "archive", *before, "--keep") == 0
    assert run(store, "archive", *before, "--keep") == 0
    assert rows(client) == 5
    assert run(store, "archive-views", "--from", str(tmp_path)) == 2
    assert "no month is archived there and only there" in capsys.readouterr().err
    assert run(store, "archive", *before) == 0

    assert [path.name for path in tmp_path.glob("*.parquet")] == ["llm_calls-2026-02.parquet"]
    assert rows(client) == 1


def test_a_month_that_is_not_closed_is_refused(
    store: SharedStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day = (datetime.now(UTC) + timedelta(days=31)).date()
    assert run(store, "archive", "--before", str(day), "--to", str(tmp_path)) == 2
    assert run(store, "archive", "--before", "soon", "--to", str(tmp_path)) == 2

    said = capsys.readouterr().err
    assert "is not closed, calls may still arrive late" in said
    assert "--before must be a day" in said


def test_a_damaged_list_of_an_archive_is_named_by_line(tmp_path: Path) -> None:
    (tmp_path / archive.MANIFEST).write_text(json.dumps({"month": 1}) + "\n")

    with pytest.raises(StoreError, match=r"archive.jsonl:1: is no line of an archive"):
        list(archive.manifest(tmp_path))


def test_retention_is_set_by_command_changed_and_taken_away(
    store: SharedStore, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    days = ["--retention", "90d", "--retention-rollups", "3650d"]
    assert main(["store", "retention", "--store", store.url, *days]) == 0
    assert retention.kept_days(client)["llm_calls"] == 0
    assert main(["store", "retention", "--store", store.url, *days, "--apply"]) == 0

    kept = retention.kept_days(client)
    assert kept.pop("llm_calls") == kept.pop("doubtful_entries") == 90
    # Longer than the last entry of its month: it must be known as long that a call was reversed.
    assert kept.pop("corrected_calls") == 90 + 62
    assert set(kept.values()) == {3650}
    assert retention.changes(client, 90, 3650) == {}
    forever = ["--retention", "forever", "--retention-rollups", "forever"]
    assert main(["store", "retention", "--store", store.url, *forever, "--apply"]) == 0
    assert set(retention.kept_days(client).values()) == {0}
    assert "not as set" in capsys.readouterr().err
    assert main(["store", "retention", "--store", store.url, "--retention", "soon"]) == 2
    assert "must be days like 400d, or forever" in capsys.readouterr().err


@pytest.mark.parametrize("entries_days", [0, 400])
def test_rollups_that_go_before_their_entries_are_refused(
    client: Client, entries_days: int
) -> None:
    with pytest.raises(StoreError, match=r"retention_rollups is 90d and retention .* as long"):
        retention.changes(client, entries_days, 90)


def test_entries_expire_and_what_was_added_up_of_them_stays(client: Client) -> None:
    empty(client)
    far = datetime(2200, 1, 1, tzinfo=UTC)
    old = datetime.now(UTC) - timedelta(days=500)
    book(client, [call(start_time=old), call(start_time=old, user_id="bob")])
    book(client, [call(start_time=datetime.now(UTC)), call(start_time=far)])
    for table, days in retention.changes(client, 400, 0).items():
        retention.keep(client, table, days)
    client.command("OPTIMIZE TABLE llm_calls FINAL")

    assert rows(client) == 2
    assert client.query("SELECT sum(calls) FROM usage_daily").result_rows == [(4,)]
    assert client.query("SELECT sum(calls) FROM usage_by_model").result_rows == [(4,)]
    for table, days in retention.changes(client, 0, 0).items():
        retention.keep(client, table, days)
