"""A collector whose unsynced writes to spool and journal can be undone: as a loss of power does.

    SOAK_UNDO=FOLDER SOAK_SPOOL=DATA_DIR/spool python bench/soak_disk.py up ...

It is `tallyspan` with a VFS of SQLite (`tests/fixtures/disk.py`), which notes what was in a file
before each write, until the file is synced; names of files count as durable. Each process has a
file of notes in FOLDER, in shared memory: so they survive a SIGKILL, and a full disk is none for
them. `lose_power` applies them.
"""

import mmap
import os
import random
import struct
import sys
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "fixtures"))
from disk import (
    Call,
    Deleted,
    Disk,
    Operation,
    Synced,
    Truncated,
    Written,
    can_record,
    record_on,
)

NOTES_BYTES = 256 << 20
"""Of unsynced writes, at most; the file is sparse."""
_HEAD = struct.Struct("<?BQqqI")
_USED = struct.Struct("<Q")


class Note(NamedTuple):
    """What was in a file before it changed: `size` bytes in all, `data` at `offset`."""

    name: str
    inode: int
    offset: int
    size: int
    data: bytes


class Notes(list[Operation]):
    """The operations of a disk, of which only what may be undone is kept, and in a file."""

    def __init__(self, path: Path, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        with path.open("wb+") as file:
            file.truncate(NOTES_BYTES)
            self._memory = mmap.mmap(file.fileno(), NOTES_BYTES)
        self._live: dict[str, list[int]] = {}
        self._end = _USED.size
        self._lock = threading.RLock()
        self._begun = threading.local()

    def append(self, operation: Operation) -> None:
        """Note what the operation is about to change, or forget what is durable now."""
        name = operation.name
        path = self._folder / name
        with self._lock:
            match operation:
                case Written(_, offset, data):
                    self._note(path, offset, len(data))
                case Truncated(_, size):
                    self._note(path, size, path.stat().st_size)
                case Synced():
                    self._forget_synced(name)
                case Deleted():
                    self._forget(self._live.pop(name, []))
                case _:
                    pass

    def begin_sync(self) -> None:
        """A file is about to be synced: what is written from now on may not be part of it."""
        with self._lock:
            self._begun.marks = {name: len(notes) for name, notes in self._live.items()}

    def _forget_synced(self, name: str) -> None:
        notes = self._live.get(name, [])
        count = self._begun.marks.get(name, 0)
        self._forget(notes[:count])
        self._live[name] = notes[count:]

    def _note(self, path: Path, offset: int, length: int) -> None:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            data = os.pread(file.fileno(), length, offset)
        at, memory, name = self._end, self._memory, path.name.encode()
        head = (True, len(name), state.st_ino, offset, state.st_size, len(data))
        begin = at + _HEAD.size
        self._end = begin + len(name) + len(data)
        memory[begin : self._end] = name + data
        _HEAD.pack_into(memory, at, *head)
        _USED.pack_into(memory, 0, self._end)
        self._live.setdefault(path.name, []).append(at)

    def _forget(self, notes: list[int]) -> None:
        for at in notes:
            self._memory[at] = 0
        if not any(self._live.values()):
            self._end = _USED.size
            _USED.pack_into(self._memory, 0, self._end)


class NotingDisk(Disk):
    """A disk that notes what is not synced."""

    def fails(self, call: Call) -> int:
        """Return 0: no call fails."""
        if call is Call.SYNC and isinstance(self.operations, Notes):
            self.operations.begin_sync()
        return 0


def lose_power(notes: Path, spool: Path, processes: Collection[int], chance: random.Random) -> int:
    """Undo what these processes, now dead, wrote to files of the spool folder and did not sync.

    What others wrote that died before is synced by now, or the kernel's. Of what each wrote nothing
    is left, or the first part, or some. Returns how many bytes are gone.
    """
    gone = 0
    for path in sorted(notes.glob("*.notes")):
        if int(path.stem) not in processes:
            path.unlink()
            continue
        unsynced = [*_read(path)]
        match chance.choice(("nothing", "first", "some")):
            case "first":
                unsynced = unsynced[chance.randint(0, len(unsynced)) :]
            case "some":
                unsynced = [each for each in unsynced if chance.random() < 0.6]
            case _:
                pass
        for each in reversed(unsynced):
            gone += _undo(spool / each.name, each)
        path.unlink()
    for index in spool.glob("*-shm"):  # not even SQLite counts on it
        index.unlink()
    return gone


def _undo(path: Path, note: Note) -> int:
    if not path.exists() or path.stat().st_ino != note.inode:  # another file has its name
        return 0
    with path.open("r+b") as file:
        before = os.fstat(file.fileno()).st_size
        os.pwrite(file.fileno(), note.data, note.offset)
        file.truncate(note.size)
    return max(before - note.size, len(note.data))


def _read(path: Path) -> Iterator[Note]:
    with path.open("rb") as file:
        (end,) = _USED.unpack(file.read(_USED.size))
        data = bytes(_USED.size) + file.read(max(0, end - _USED.size))
    at = _USED.size
    while at < end:
        is_live, length, inode, offset, size, count = _HEAD.unpack_from(data, at)
        begin = at + _HEAD.size
        name = data[begin : begin + length].decode()
        if is_live:
            before = data[begin + length : begin + length + count]
            yield Note(name, inode, offset, size, before)
        at = begin + length + count


def _record() -> None:
    folder = Path(os.environ["SOAK_SPOOL"])
    path = Path(os.environ["SOAK_UNDO"]) / f"{os.getpid()}.notes"
    record_on(NotingDisk(folder, Notes(path, folder)))


if "SOAK_UNDO" in os.environ and can_record():
    _record()  # in the workers, too: they begin with this file

if __name__ == "__main__":
    from tallyspan_collector.cli import main

    sys.exit(main(sys.argv[1:]))
