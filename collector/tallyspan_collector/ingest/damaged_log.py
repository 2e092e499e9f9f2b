"""Whether a file's log (-wal) still has all that was committed, before SQLite reads it.

SQLite reads a log up to the first page whose checksum is wrong, and takes the rest for something
that was never committed: a bit that turned there would silently undo what was acknowledged after
it. But the index of the log (-shm) has the number of committed pages, and outlives a killed
process. Formats: https://www.sqlite.org/walformat.html
"""

import shutil
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tallyspan_collector.ingest.log_mending import FRAME_HEADER, HEADER, ORDERS, mend
from tallyspan_collector.ingest.wal_checksum import sums as sums_of

KEPT, REASON = "damaged-", "reason.txt"
"""The folder with copies of the files as they were, and what is wrong with them."""
_INDEX_HEADER, _BACKFILL = 48, 96
_BLOCK, _BLOCK_LIST, _FIRST_PAGES = 32_768, 16_384, 4_062
"""Of the index: bytes of a block and of the list of pages in it, and pages of the first block."""
_LOCKS = Path("/proc/locks")


@dataclass(frozen=True, slots=True)
class _Index:
    """What the index says: pages that were committed, and those of them that the file has too."""

    committed: int
    in_file: int
    salts: bytes


@dataclass(frozen=True, slots=True)
class _Log:
    """The pages up to the first wrong one, how many commits are behind it, and whose log it is."""

    sound: int
    commits_behind: int
    salts: bytes
    is_header_sound: bool


def rescue(path: Path) -> None:
    """Keep copies of the file and its log if something committed is not to be had from the log.

    They are in a folder beside it, with the reason; what can be put right in the log is. If the
    file itself has more than what is left of the log, the log is taken away: SQLite would put older
    pages over newer ones. Raises `OSError`.
    """
    log = Path(f"{path}-wal")
    if _is_open(path) or (reason := _damage(path, log)) is None:
        return
    _, is_older = reason
    salts = log.read_bytes()[16:24].hex() if log.is_file() else "gone"
    folder = path.with_name(f"{KEPT}{path.name}-{salts}")
    draft = Path(tempfile.mkdtemp(prefix=f".{KEPT}", dir=path.parent))
    for each in (path, log):
        if each.is_file():
            shutil.copy2(each, draft)
    if log.is_file() and not is_older:
        mend(log, _pages(path.with_name(f"{path.name}-shm")))
    (draft / REASON).write_text(f"{_outcome(path, log, *reason)}\n")
    try:
        draft.rename(folder)
    except OSError:  # another process was first, or an earlier one, which ended before it began
        shutil.rmtree(draft)
    if is_older:
        log.unlink(missing_ok=True)


def _outcome(path: Path, log: Path, damage: str, is_older: bool) -> str:
    """Return what is wrong, after the log was put right as far as it could be."""
    if is_older:
        return damage
    left = _damage(path, log)
    if left is None:
        return f"{damage.partition(':')[0]}: they were put right, and nothing is missing"
    return left[0]


def kept(folder: Path) -> Iterator[str]:
    """Yield what is wrong with each file of which copies are kept in this folder."""
    for reason in sorted(folder.glob(f"{KEPT}*/{REASON}")):
        yield (
            f"{reason.read_text().strip()}. Copies of that moment are in {reason.parent}: see"
            " docs/operations.md, 'A spool or a disk that cannot be used'"
        )


def _is_open(path: Path) -> bool:
    """Return whether a process has the file open with SQLite, or that cannot be known.

    Then nothing is wrong with the log, and it must not be read: a process that closes a file loses
    its locks on it, SQLite's as well.
    """
    try:
        number = str(Path(f"{path}-shm").stat().st_ino)
        locks = _LOCKS.read_text().splitlines()
    except FileNotFoundError:
        return not _LOCKS.exists()
    except OSError:
        return True
    # of a lock that is waited for, a second line begins with an arrow
    return any(number == lock.split()[-3].rpartition(":")[2] for lock in locks)


def _damage(path: Path, log: Path) -> tuple[str, bool] | None:
    """Return what is wrong with the log, and whether the file has more; None: nothing is."""
    index = _index(Path(f"{path}-shm"))
    read = _log(log)
    wrong = f"the log {log} has other bytes than were written, from page {read.sound + 1}"
    if index is not None and (not read.is_header_sound or index.salts == read.salts):
        wrong = f"{wrong} of {index.committed} on"
        is_older = read.sound < index.in_file
        if max(read.sound, index.in_file) < index.committed:
            return f"{wrong}: what was acknowledged after that is not in {path.name}", is_older
        if is_older:
            return f"{wrong}; all of it was in {path.name} already, nothing is missing", True
        return None
    if read.commits_behind > 1:  # a loss of power cuts one, which was not acknowledged
        writes = f"{read.commits_behind} writes behind it are not in {path.name}"
        return f"{wrong} on: {writes}, all but the last of them acknowledged", False
    return None


def _index(path: Path) -> _Index | None:
    """Return what the index says; None: there is none that can be believed."""
    try:
        data = path.read_bytes()[: _BACKFILL + 4]
    except OSError:
        return None
    header = data[:_INDEX_HEADER]
    if len(data) < _BACKFILL + 4 or header != data[_INDEX_HEADER : 2 * _INDEX_HEADER]:
        return None
    is_begun, committed = header[12], struct.unpack_from("=I", header, 16)[0]
    (in_file,) = struct.unpack_from("=I", data, _BACKFILL)
    if (
        not is_begun
        or in_file > committed
        or sums_of(header[:40]) != struct.unpack("=2I", header[40:])
    ):
        return None
    return _Index(committed, in_file, header[32:40])


def _pages(path: Path) -> list[int]:
    """Return the numbers of the committed pages, in the order of the log, that the index has."""
    if (index := _index(path)) is None:
        return []
    data = path.read_bytes()
    blocks = [data[at : at + _BLOCK] for at in range(0, len(data), _BLOCK)]
    first = _FIRST_PAGES * 4
    lists = [block[_BLOCK_LIST - first : _BLOCK_LIST] for block in blocks[:1]]
    lists += [block[:_BLOCK_LIST] for block in blocks[1:]]
    pages = np.frombuffer(b"".join(lists), np.uint32)[: index.committed]
    return [int(page) for page in pages]


def _log(path: Path) -> _Log:
    try:
        with path.open("rb") as file:
            return _read(file)
    except OSError:
        return _Log(0, 0, b"", is_header_sound=False)


def _read(file: BinaryIO) -> _Log:
    header = file.read(HEADER).ljust(HEADER, b"\0")
    magic, _, page_bytes, *_ = struct.unpack(">8I", header)
    salts, sums = header[16:24], struct.unpack(">2I", header[24:])
    order = ORDERS.get(magic, "")
    if not order or sums_of(header[:24], order=order) != sums:
        return _Log(0, 0, salts, is_header_sound=False)
    frame_bytes, sound, commits_behind, is_behind = FRAME_HEADER + page_bytes, 0, 0, False
    while frame := file.read(frame_bytes):
        is_of_this_log = len(frame) == frame_bytes and frame[8:16] == salts
        if not is_behind and is_of_this_log:
            before, sums = sums, struct.unpack_from(">2I", frame, 16)
            is_behind = sums_of(frame[:8] + frame[FRAME_HEADER:], before, order) != sums
        else:
            is_behind = True
        sound += not is_behind
        commits_behind += is_behind and is_of_this_log and frame[4:8] != bytes(4)
    return _Log(sound, commits_behind, salts, is_header_sound=True)
