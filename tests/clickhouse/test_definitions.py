import json
from pathlib import Path

import pytest

from tallyspan_clickhouse import definitions
from tallyspan_clickhouse.definitions import Definitions

WHOLE = b"ATTACH TABLE _ UUID '1' (`n` UInt8 COMMENT 'caf\xe9')\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    database = tmp_path / "data" / "metadata" / "tallyspan"
    database.mkdir(parents=True)
    (database / "calls.sql").write_bytes(WHOLE)
    (database.parent / "tallyspan.sql").write_bytes(WHOLE)
    return database


@pytest.fixture
def kept(folder: Path, tmp_path: Path) -> Definitions:
    result = Definitions(tmp_path / "data", tmp_path / "definitions.json")
    result.keep()
    return result


@pytest.mark.parametrize("length", [0, 1, len(WHOLE) - 1])
@pytest.mark.parametrize("name", ["calls.sql", "../tallyspan.sql"])
def test_a_definition_that_was_cut_is_put_back_byte_for_byte(
    folder: Path, kept: Definitions, name: str, length: int
) -> None:
    (folder / name).write_bytes(WHOLE[:length])
    kept.keep()  # as often as it likes: the copy is of the last whole one
    kept.mend()

    assert (folder / name).read_bytes() == WHOLE


def test_whole_definitions_are_left_alone_and_new_ones_are_copied(
    folder: Path, kept: Definitions
) -> None:
    (folder / "calls.sql").write_bytes(b"another\n")
    (folder / "new.sql").write_bytes(b"new\n")
    kept.mend()
    kept.keep()
    (folder / "new.sql").write_bytes(b"")
    kept.mend()

    assert (folder / "calls.sql").read_bytes() == b"another\n"
    assert (folder / "new.sql").read_bytes() == b"new\n"


def test_what_is_dropped_does_not_come_back(
    folder: Path, kept: Definitions, tmp_path: Path
) -> None:
    (folder / "calls.sql").unlink()
    kept.mend()
    kept.keep()

    assert not (folder / "calls.sql").exists()
    assert list(json.loads((tmp_path / "definitions.json").read_text())) == ["tallyspan.sql"]


def test_copies_that_cannot_be_written_or_read_are_said_and_stop_nothing(
    folder: Path, kept: Definitions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "definitions.json").write_text("{")
    (folder / "empty.sql").write_bytes(b"")
    kept.mend()
    (tmp_path / "definitions.json").unlink()
    (tmp_path / "definitions.json").mkdir()
    (folder / "new.sql").write_bytes(b"new\n")
    kept.keep()

    assert not (folder / "empty.sql").exists()
    assert [text.split(": ")[0].rpartition("/")[2] for text in caplog.messages] == [
        "definitions.json cannot be read, and is written anew",
        "empty.sql was never written to its end",
        "definitions.json cannot be read, and is written anew",
        "the definitions of tables cannot be copied",
    ]


def test_nothing_is_written_while_nothing_changes(
    kept: Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(definitions, "private_file", None)

    kept.keep()
