"""A name is on the disk before anybody relies on it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tallyspan_clickhouse.durable import make_folder
from tallyspan_collector.files.atomic import whole_file
from tallyspan_collector.files.lock import held
from tallyspan_collector.ingest.spool import open_spool


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files and folders that were synced, in order."""
    paths: list[Path] = []
    monkeypatch.setattr(
        os, "fsync", lambda file: paths.append(Path(f"/proc/self/fd/{file}").readlink())
    )
    return paths


def hold(path: Path) -> None:
    with held(path / "0.lock", "a worker", 0):
        pass


@pytest.mark.parametrize(
    "make", [make_folder, hold, lambda path: open_spool(path / "0.sqlite").close()]
)
def test_a_new_folder_and_those_above_it_stay(
    make: Callable[[Path], None], tmp_path: Path, synced: list[Path]
) -> None:
    make(tmp_path / "data" / "spool")

    assert synced == [tmp_path, tmp_path / "data"]


def test_a_folder_that_is_there_costs_nothing(tmp_path: Path, synced: list[Path]) -> None:
    make_folder(tmp_path)

    assert synced == []


def test_a_whole_file_is_synced_before_its_name_is(tmp_path: Path, synced: list[Path]) -> None:
    with whole_file(tmp_path / "keys.json") as file:
        file.write(b"{}")

    assert [each.parent for each in synced] == [tmp_path, tmp_path.parent]
    assert synced[1] == tmp_path
