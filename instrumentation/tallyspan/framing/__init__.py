"""Bytes in any cut -> whole JSON texts worth parsing. No I/O, so sync and async share them."""

import re
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Interest:
    """Which events of a stream are worth parsing, by what stands in their bytes.

    Most events cannot carry usage. `needles`: an event with one of these is read. `odd_needles` are
    looked for too if the first event has unusual white space around its colons: one program writes
    all events of a stream, and each needle costs a search. `latest`: of the events at hand in which
    this pattern finds a count only the last is read, for each says what all before it said;
    `latest_needle` is a part of whatever the pattern finds. An event read without need costs time
    and changes nothing.
    """

    needles: tuple[bytes, ...]
    latest_needle: bytes = b""
    latest: re.Pattern[bytes] | None = None
    odd_needles: tuple[bytes, ...] = ()

    def needles_by(self, first_event: bytes) -> tuple[bytes, ...]:
        """Return what to look for in the stream that begins with this event."""
        is_odd = _ODD_COLON.search(first_event) is not None
        return (*self.needles, *self.odd_needles) if is_odd else self.needles

    def is_in(self, data: bytes) -> bool:
        """Whether the event is to be read whatever comes after it."""
        return any(needle in data for needle in (*self.needles, *self.odd_needles))


_ODD_COLON = re.compile(rb'"\s+:|":(?:\s\s|[\t\r\n])')
EVERYTHING = Interest((b"{",))


def spelled(key: str, *values: str) -> tuple[bytes, ...]:
    """Return what `"key": value` begins with as programs write it."""
    return tuple(f'"{key}":{space}{value}'.encode() for value in values for space in ("", " "))


def spelled_oddly(key: str) -> tuple[bytes, ...]:
    """Return what `"key": value` begins with where the white space around the colon is unusual."""
    return tuple(
        f'"{key}"{odd}'.encode() for odd in (" ", "\t", ":  ", ":\t", ":\r", ":\n", ": \t")
    )


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
