"""A file is as it was before, or complete."""

import stat
from pathlib import Path

import pytest

from tallyspan_collector.files.atomic import PRIVATE, whole_file


def test_a_file_is_replaced_when_its_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text("before")
    with whole_file(path) as file:
        file.write(b"after")
        file.flush()
        assert path.read_text() == "before"

    assert path.read_text() == "after"
    assert [each.name for each in tmp_path.iterdir()] == ["keys.json"]


def test_an_error_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text("before")
    with pytest.raises(TypeError), whole_file(path) as file:
        file.writelines([b"half", "no bytes"])  # type: ignore[list-item]

    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["keys.json"]


def test_a_private_file_is_private_whatever_it_replaces(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text("before")
    path.chmod(0o644)
    with whole_file(path, PRIVATE) as file:
        file.write(b"{}")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
