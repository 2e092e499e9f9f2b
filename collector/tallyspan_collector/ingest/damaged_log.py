"""Whether a file's log (-wal) still has all that was committed, before SQLite reads it.

SQLite reads a log up to the first page whose checksum is wrong, and takes the rest for something
that was never committed: a bit that turned there would silently undo what was acknowledged after
it. But the index of the log (-shm) has the number of committed pages, and outlives a killed
process. Formats: https://www.sqlite.org/walformat.html
"""

import shutil
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

KEPT, REASON = "damaged-", "reason.txt"
"""The folder with copies of the files as they were, and what is wrong with them."""
_HEADER, _FRAME_HEADER = 32, 24
_LITTLE_ENDIAN, _BIG_ENDIAN = 0x377F0682, 0x377F0683
_INDEX_HEADER, _BACKFILL = 48, 96
_LOCKS = Path("/proc/locks")
_Words = NDArray[np.uint32]


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

    They are in a folder beside it, with the reason. If the file itself has more than what is left
    of the log, the log is taken away: SQLite would put older pages over newer ones. Raises
    `OSError`.
    """
    log = Path(f"{path}-wal")
    if _is_open(path) or (reason := _damage(path, log)) is None:
        return
    damage, is_older = reason
    salts = log.read_bytes()[16:24].hex() if log.is_file() else "gone"
    folder = path.with_name(f"{KEPT}{path.name}-{salts}")
    if not folder.exists():  # else another process was first
        draft = Path(tempfile.mkdtemp(prefix=f".{KEPT}", dir=path.parent))
        (draft / REASON).write_text(f"{damage}\n")
        for each in (path, log):
            if each.is_file():
                shutil.copy2(each, draft)
        with suppress(FileExistsError):
            draft.rename(folder)
    if is_older:
        log.unlink(missing_ok=True)


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
        or _sums(header[:40]) != struct.unpack("=2I", header[40:])
    ):
        return None
    return _Index(committed, in_file, header[32:40])


def _log(path: Path) -> _Log:
    try:
        with path.open("rb") as file:
            return _read(file)
    except OSError:
        return _Log(0, 0, b"", is_header_sound=False)


def _read(file: BinaryIO) -> _Log:
    header = file.read(_HEADER).ljust(_HEADER, b"\0")
    magic, _, page_bytes, *_ = struct.unpack(">8I", header)
    salts, sums = header[16:24], struct.unpack(">2I", header[24:])
    order = {_LITTLE_ENDIAN: "<", _BIG_ENDIAN: ">"}.get(magic, "")
    if not order or _sums(header[:24], order=order) != sums:
        return _Log(0, 0, salts, is_header_sound=False)
    frame_bytes, sound, commits_behind, is_behind = _FRAME_HEADER + page_bytes, 0, 0, False
    while frame := file.read(frame_bytes):
        is_of_this_log = len(frame) == frame_bytes and frame[8:16] == salts
        if not is_behind and is_of_this_log:
            before, sums = sums, struct.unpack_from(">2I", frame, 16)
            is_behind = _sums(frame[:8] + frame[_FRAME_HEADER:], before, order) != sums
        else:
            is_behind = True
        sound += not is_behind
        commits_behind += is_behind and is_of_this_log and frame[4:8] != bytes(4)
    return _Log(sound, commits_behind, salts, is_header_sound=True)


def _sums(data: bytes, before: Sequence[int] = (0, 0), order: str = "=") -> tuple[int, ...]:
    """Return SQLite's checksum of the bytes, which goes on where another one ended.

    For each pair of words: the first sum grows by the first word and the second sum, then the
    second sum by the second word and the first sum, all modulo 2**32. What a word adds to the
    result depends on its place alone.
    """
    words = np.frombuffer(data, f"{order}u4").astype(np.uint32).reshape(-1, 2)
    weights = _weights(len(words))
    first, second = words[:, 0], words[:, 1]
    # a pair (x, y) changes both sums from (0, 0) to (x, x + y)
    sums = _dot(weights[:-1], first, first + second)
    old = _dot(weights[-1:], *np.array([before], np.uint32).T)
    return tuple((sums + old).tolist())


def _dot(weights: _Words, first: _Words, second: _Words) -> _Words:
    products = weights[:, :, 0] * first[:, None] + weights[:, :, 1] * second[:, None]
    total: _Words = products.sum(0, dtype=np.uint32)
    return total


@cache
def _weights(pairs: int) -> _Words:
    """Return what both sums after the last pair owe to those after each pair, then to the first.

    A step is the matrix ((1, 1), (1, 2)); its powers, highest first, then that of all steps.
    """
    step = np.array([[1, 1], [1, 2]], np.uint32)
    powers = [np.eye(2, dtype=np.uint32)]
    for _ in range(pairs):
        powers.append(step @ powers[-1])
    return np.array([*reversed(powers[:-1]), powers[-1]])
