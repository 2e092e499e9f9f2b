"""A log that lost a bit, its end, or all of it is noticed: SQLite itself takes it for the end."""

import shutil
import struct
from pathlib import Path

import pytest

from small_collector import SmallCollector, Store, started
from tallyspan_collector.ingest import damaged_log
from tallyspan_collector.ingest.damaged_log import kept
from tallyspan_collector.ingest.log_mending import mend
from tallyspan_collector.ingest.sqlite_file import PAGE_BYTES
from tallyspan_collector.ingest.wal_checksum import sums

FRAME_BYTES = PAGE_BYTES + 24
BODIES = [b"%d" % number for number in range(1, 9)]


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The folder of a collector that was killed: eight requests are acknowledged, none is booked."""
    collector = SmallCollector(tmp_path / "running", Store())
    for body in BODIES:
        collector.receive(body)
    shutil.copytree(tmp_path / "running", tmp_path / "killed")
    collector.close()
    return tmp_path / "killed"


def turn(file: Path, at: int, bits: int) -> None:
    """Turn bits of a byte, given as a number that has them."""
    data = bytearray(file.read_bytes())
    data[at] ^= bits
    file.write_bytes(data)


def spoil(file: Path, at: int) -> None:
    """Turn more than one bit."""
    turn(file, at, 0b10100)


def start(folder: Path) -> tuple[set[str], list[str]]:
    """Return the calls that get into the store, and what is said."""
    with started(folder, Store()) as collector:
        collector.load()
        return set(collector.store.calls()), list(kept(folder))


def test_of_a_sound_log_nothing_is_said(killed: Path) -> None:
    assert start(killed) == ({body.decode() for body in BODIES}, [])
    assert start(killed) == (set(), [])


def page_at(log: Path, behind: int) -> int:
    """Where a page begins in the log: the last one for 1, the one before it for 2."""
    pages = (log.stat().st_size - 32) // FRAME_BYTES
    return 32 + (pages - behind) * FRAME_BYTES


@pytest.mark.parametrize("part", [0, 5, 9, 20, 23, 24, 4_000, PAGE_BYTES + 20])
@pytest.mark.parametrize("behind", [1, 2])
def test_bits_that_turned_in_a_page_are_said_and_both_files_are_kept(
    killed: Path, behind: int, part: int
) -> None:
    log = killed / "0.sqlite-wal"
    pages = (log.stat().st_size - 32) // FRAME_BYTES
    spoil(log, page_at(log, behind) + part)
    damaged = log.read_bytes(), (killed / "0.sqlite").read_bytes()

    calls, said = start(killed)

    assert calls == {body.decode() for body in BODIES[:-1]}
    assert len(said) == 1
    assert f"from page {pages - behind + 1} of {pages} on" in said[0]
    [folder] = killed.glob("damaged-*")
    assert ((folder / "0.sqlite-wal").read_bytes(), (folder / "0.sqlite").read_bytes()) == damaged
    assert start(killed)[1] == said  # until the folder is gone
    shutil.rmtree(folder)
    assert start(killed)[1] == []


@pytest.mark.parametrize("part", [24, 4_000, PAGE_BYTES + 20])
@pytest.mark.parametrize("behind", [3, 6])
def test_a_page_of_which_the_log_has_a_newer_one_need_not_be_as_it_was(
    killed: Path, behind: int, part: int
) -> None:
    log = killed / "0.sqlite-wal"
    at = page_at(log, behind) + part
    data = log.read_bytes()
    log.write_bytes(data[:at] + bytes(255 - each for each in data[at : at + 4]) + data[at + 4 :])

    calls, said = start(killed)

    assert calls == {body.decode() for body in BODIES}
    assert "they were put right, and nothing is missing" in said[0]


@pytest.mark.parametrize("part", [0, 6, 9, 18, 25, 4_000, PAGE_BYTES + 18])
@pytest.mark.parametrize("behind", [1, 2, 6])
def test_one_bit_that_turned_in_a_page_is_put_right_and_said(
    killed: Path, behind: int, part: int
) -> None:
    log = killed / "0.sqlite-wal"
    turn(log, page_at(log, behind) + part, 0x10)
    damaged = log.read_bytes()

    calls, said = start(killed)

    assert calls == {body.decode() for body in BODIES}
    assert "they were put right, and nothing is missing" in said[0]
    [folder] = killed.glob("damaged-*")
    assert (folder / "0.sqlite-wal").read_bytes() == damaged


@pytest.mark.parametrize(("part", "bit"), [(27, 7), (4_003, 7), (PAGE_BYTES + 19, 7)])
def test_a_bit_that_others_explain_as_well_is_not_guessed(
    killed: Path, part: int, bit: int
) -> None:
    log = killed / "0.sqlite-wal"
    turn(log, page_at(log, 1) + part, 1 << bit)

    calls, said = start(killed)

    assert calls == {body.decode() for body in BODIES[:-1]}
    assert "what was acknowledged after that is not in 0.sqlite" in said[0]


def test_bits_of_several_pages_and_of_the_header_are_put_right(killed: Path) -> None:
    log = killed / "0.sqlite-wal"
    for at in (9, 32 + 77, 32 + FRAME_BYTES + 18, 32 + 3 * FRAME_BYTES + 12, 32 + 4 * FRAME_BYTES):
        turn(log, at, 0x80)

    calls, said = start(killed)

    assert calls == {body.decode() for body in BODIES}
    assert "nothing is missing" in said[0]


def test_a_bit_is_put_right_in_a_log_of_the_other_order_of_bytes(tmp_path: Path) -> None:
    page, log = bytes(range(256)) * 64, tmp_path / "wal"
    for magic, order in ((0x377F0682, "<"), (0x377F0683, ">")):
        header = struct.pack(">4I", magic, 3_007_000, PAGE_BYTES, 0) + b"saltsalt"
        header += struct.pack(">2I", *sums(header, order=order))
        frame, before, whole = struct.pack(">2I", 1, 1), struct.unpack(">2I", header[24:]), header
        for _ in range(3):
            before = sums(frame + page, before, order)
            whole += frame + b"saltsalt" + struct.pack(">2I", *before) + page
        for at in (32 + 1, 32 + 24 + 5_001, 32 + FRAME_BYTES + 24 + 4_001):
            log.write_bytes(whole)
            turn(log, at, 2)
            mend(log)
            assert log.read_bytes() == whole


def test_a_log_whose_header_is_damaged_is_no_empty_log(killed: Path) -> None:
    spoil(killed / "0.sqlite-wal", 17)

    calls, said = start(killed)

    assert calls == set()
    assert "from page 1 of" in said[0]


@pytest.mark.parametrize("size", [None, 0, 32, 32 + 3 * FRAME_BYTES, 32 + 3 * FRAME_BYTES + 7])
def test_a_log_that_is_gone_or_shorter_than_what_was_committed_is_said(
    killed: Path, size: int | None
) -> None:
    log = killed / "0.sqlite-wal"
    if size is None:
        log.unlink()
    else:
        log.write_bytes(log.read_bytes()[:size])

    assert "other bytes than were written" in start(killed)[1][0]


def test_the_journals_log_is_looked_at_too(killed: Path) -> None:
    spoil(killed / "journal.sqlite-wal", 32 + 24)

    assert "journal.sqlite-wal" in start(killed)[1][0]


def test_pages_of_a_damaged_log_do_not_go_over_newer_ones_of_the_file(tmp_path: Path) -> None:
    collector = SmallCollector(tmp_path / "running", Store())
    for body in BODIES:
        collector.receive(body)
    collector.spool._reading.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    shutil.copytree(tmp_path / "running", tmp_path / "killed")
    collector.close()
    log = tmp_path / "killed/0.sqlite-wal"
    spoil(log, log.stat().st_size - 3 * FRAME_BYTES + 24)

    calls, said = start(tmp_path / "killed")

    assert calls == {body.decode() for body in BODIES}
    assert "nothing is missing" in said[0]


def test_without_an_index_two_commits_behind_the_damage_are_a_sign(killed: Path) -> None:
    (killed / "0.sqlite-shm").unlink()
    spoil(killed / "0.sqlite-wal", 32 + 5 * FRAME_BYTES + 24)

    assert "all but the last of them acknowledged" in start(killed)[1][0]


def test_an_index_of_another_log_or_with_other_bytes_is_not_believed(killed: Path) -> None:
    index, log = killed / "0.sqlite-shm", killed / "0.sqlite-wal"
    log.write_bytes(log.read_bytes()[: 32 + 3 * FRAME_BYTES])  # less than the index has
    begun_anew = index.read_bytes()
    for at in (16, 36, 41):  # count, salts, checksum, in both copies of the header
        other = bytearray(begun_anew)
        other[at] ^= 1
        other[48 + at] ^= 1
        index.write_bytes(other)

        assert start(killed)[1] == []


def test_an_index_is_of_its_log_by_its_salts(killed: Path, tmp_path: Path) -> None:
    collector = SmallCollector(tmp_path / "other", Store())
    collector.receive(*BODIES)
    shutil.copy(killed / "0.sqlite-shm", tmp_path / "index")  # of more pages than the other log
    shutil.copytree(tmp_path / "other", tmp_path / "copy")
    collector.close()
    shutil.copy(tmp_path / "index", tmp_path / "copy/0.sqlite-shm")

    assert start(tmp_path / "copy") == ({body.decode() for body in BODIES}, [])


def test_the_log_of_a_file_that_is_in_use_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Path] = []
    monkeypatch.setattr(damaged_log, "_damage", lambda path, log: looks.append(path))
    with started(tmp_path, Store()):
        looks.clear()
        SmallCollector(tmp_path, Store()).close()
        assert looks == []
    SmallCollector(tmp_path, Store()).close()
    assert looks == [tmp_path / "0.sqlite", tmp_path / "journal.sqlite"]
