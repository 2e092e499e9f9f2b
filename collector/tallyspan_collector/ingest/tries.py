"""How often a request was in work when its process died; after the third time it is put aside.

A request that takes more memory than there is ends the process, and every process after it. So the
loader writes down which requests it works on, beside the spool and without an fsync: a loss of
power is no fault of theirs. What the next process finds there is worked on one by one, so that
requests of the same batch are suspected once and not again.
"""

import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

MAX_TRIES = 3
"""A request that was in work when so many processes died, or failed so often, is buried."""


@dataclass(frozen=True, slots=True)
class _State:
    """The file: the requests in work are those from `first` to `last`; `tries` are by request."""

    spool: int
    tries: Mapping[int, int]
    first: int = 0
    last: int = -1

    def suspects(self, booked: int) -> dict[int, int]:
        """Return the tries of requests above `booked`, given that a process died in this state."""
        suspects = {number: tries for number, tries in self.tries.items() if number > booked}
        for number in range(max(self.first, booked + 1), self.last + 1):
            suspects[number] = suspects.get(number, 0) + 1
        return suspects

    def line(self) -> bytes:
        """Return the line of the file."""
        tries = {str(number): tries for number, tries in self.tries.items()}
        fields = {"spool": self.spool, "first": self.first, "last": self.last, "tries": tries}
        return json.dumps(fields).encode() + b"\n"


class Tries:
    """The file of one spool, by path and the spool's id; `booked` is the last request booked.

    A file that cannot be read or written is one that counts nothing: calls are booked all the same.
    """

    def __init__(self, path: Path, spool: int, booked: int) -> None:
        self._path = path
        self._spool = spool
        self.suspects = _read(path, spool).suspects(booked)
        """How often each request was in work when a process died."""
        self._writing = threading.Lock()
        self._file: int | None = None
        with suppress(OSError):
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        self.end()

    def begin(self, first: int, last: int) -> None:
        """Say that the requests from the first to the last are in work."""
        self._write(_State(self._spool, self.suspects, first, last))

    def end(self) -> None:
        """Say that no request is in work: a process that ends now is no sign against any."""
        self._write(_State(self._spool, self.suspects))

    def forget(self, until: int) -> None:
        """Forget the requests up to this one: they are booked or buried."""
        for number in [number for number in self.suspects if number <= until]:
            del self.suspects[number]

    def close(self) -> None:
        """Say that no request is in work, whatever another thread says after that."""
        self.end()
        with self._writing:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _write(self, state: _State) -> None:
        with self._writing, suppress(OSError):  # a full disk: then a death is not counted
            if self._file is not None:
                os.pwrite(self._file, state.line(), 0)


def hand_over(left: tuple[Path, int], to: tuple[Path, int], numbers: Mapping[int, int]) -> None:
    """Move what is counted of requests from one file to another; both by path and spool's id.

    `numbers` maps the requests to what they are in the other spool. Nobody may use either file.
    """
    suspects = _read(*left).suspects(0)
    state = _read(*to)
    moved = {new: suspects[old] for old, new in numbers.items() if old in suspects}
    with suppress(OSError):  # a full disk: then they are not counted
        if moved:
            to[0].write_bytes(replace(state, tries={**state.tries, **moved}).line())
        left[0].unlink(missing_ok=True)


def _read(path: Path, spool: int) -> _State:
    """Return what an earlier process wrote of this spool; what is longer than its line is older."""
    try:
        fields = json.loads(path.read_bytes().partition(b"\n")[0])
        tries = {int(number): int(count) for number, count in fields["tries"].items()}
        state = _State(int(fields["spool"]), tries, int(fields["first"]), int(fields["last"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return _State(spool, {})
    return state if state.spool == spool else _State(spool, {})
