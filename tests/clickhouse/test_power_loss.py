"""The collector forgets what the store has acknowledged, so it must be on the disk by then."""

import os
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from clickhouse_connect.driver.client import Client

from ledger import book, call
from shared_store import SharedStore
from tallyspan_clickhouse.data_directory import DataDirectory
from tallyspan_clickhouse.schema import TABLES

ROOT = Path(__file__).parents[2]
SYNCED = {
    "fsync_after_insert": "1",
    "fsync_part_directory": "1",
    "min_rows_to_fsync_after_merge": "1",
}
PARTS = "SELECT count(), sum(files) FROM system.parts WHERE active AND database = '{}'"
SYNCS = "SELECT sumIf(value, event = '{}') FROM system.events"


def numbers(client: Client, query: str) -> tuple[int, ...]:
    return tuple(client.query(query).result_rows[0])


def syncs(client: Client) -> tuple[int, int]:
    """Return how many files and folders the engine has synced."""
    files, folders = (
        numbers(client, SYNCS.format(f"{each}Sync"))[0] for each in ("File", "Directory")
    )
    return files, folders


@pytest.mark.store
def test_an_insert_is_answered_once_all_files_of_ledger_and_rollups_are_synced(
    empty_store: SharedStore, client: Client
) -> None:
    parts, files = numbers(client, PARTS.format("tallyspan"))
    synced = syncs(client)

    book(client, [call(), call(user_id="ben")])

    more_parts, more_files = (
        now - before
        for now, before in zip(
            numbers(client, PARTS.format("tallyspan")), (parts, files), strict=True
        )
    )
    file_syncs, folder_syncs = (
        now - before for now, before in zip(syncs(client), synced, strict=True)
    )
    assert more_parts == 1 + len(TABLES)
    assert file_syncs >= more_files
    assert folder_syncs >= 2 * more_parts  # the part's, and the table's after the rename


@pytest.mark.store
@pytest.mark.parametrize(
    "change",
    [
        "OPTIMIZE TABLE default.synced FINAL",
        "ALTER TABLE default.synced DELETE WHERE n < 5 SETTINGS mutations_sync = 2",
    ],
)
def test_what_a_merge_or_a_mutation_writes_is_synced_before_its_sources_go(
    store: SharedStore, client: Client, change: str
) -> None:
    client.command("CREATE OR REPLACE TABLE default.synced (n UInt64) ENGINE MergeTree ORDER BY n")
    for _ in range(2):
        client.command("INSERT INTO default.synced SELECT number FROM numbers(10)")
    before = syncs(client)

    client.command(change)

    _, files = numbers(client, PARTS.format("default"))
    file_syncs, folder_syncs = (now - then for now, then in zip(syncs(client), before, strict=True))
    assert file_syncs >= files > 5
    assert folder_syncs >= 2
    client.command("DROP TABLE default.synced SYNC")


@pytest.mark.store
def test_the_server_of_the_composition_syncs_as_the_local_store_does(client: Client) -> None:
    config = ET.parse(ROOT / "clickhouse/config/config.d/tallyspan.xml").getroot()
    local = client.query("SELECT name, value FROM system.merge_tree_settings WHERE changed")

    assert {each.tag: each.text for each in config.findall("merge_tree/*")} == SYNCED
    assert SYNCED.items() <= {str(name): str(value) for name, value in local.result_rows}.items()


def test_the_names_of_tables_are_synced_in_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = ["data", "data/store", "data/store/abc", "data/store/abc/abcdef", "data/metadata"]
    for folder in folders:
        (tmp_path / folder).mkdir()
    (tmp_path / "data/metadata/tallyspan").symlink_to(tmp_path / "data/store/abc/abcdef")
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda file: synced.append(Path(f"/proc/self/fd/{file}").readlink())
    )

    DataDirectory(tmp_path).sync_folders()

    assert set(synced) == {tmp_path, *(tmp_path / folder for folder in folders)}
