"""Bytes in any cut -> whole JSON texts worth parsing. No I/O, so sync and async share them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Interest:
    """Which events of a stream are worth parsing, by what stands in their bytes.

    Most events cannot carry usage. `needles`: an event with one of these is read. `latest`: of the
    events at hand in which this pattern finds a count only the last is read, for each says what all
    before it said; `latest_needle` is a part of whatever the pattern finds. An event read without
    need costs time and changes nothing.
    """

    needles: tuple[bytes, ...]
    latest_needle: bytes = b""
    latest: re.Pattern[bytes] | None = None

    def is_in(self, data: bytes) -> bool:
        """Whether the event is to be read whatever comes after it."""
        return any(needle in data for needle in self.needles)


EVERYTHING = Interest((b"{",))


def spelled(key: str, *values: str) -> Iterator[bytes]:
    """Yield what `"key": value` can begin with, by the white space around the colon."""
    name = f'"{key}"'.encode()
    for space in (b" ", b"\t"):
        yield name + space
    for space in (b"  ", b"\t", b"\n"):
        yield name + b":" + space
    for value in values:
        yield name + b":" + value.encode()
        yield name + b": " + value.encode()


class Framing(Protocol):
    """Cuts a body into the JSON texts that may say something about usage."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; return the texts they complete."""
        ...

    def end(self) -> list[bytes]:
        """Return what is left when the body is over."""
        ...

    def anew(self) -> "Framing":
        """Return one of the same kind that finds every event interesting."""
        ...
