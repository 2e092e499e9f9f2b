"""Bytes, however the network cuts them -> whole JSON texts worth parsing. No I/O."""

import re
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Interest:
    """Which events of a stream are worth parsing, by the bytes in them.

    Most events cannot carry usage. `needles`: an event with one of these is read. `odd_needles`:
    these too, if the first event has unusual white space around its colons (one program writes all
    events of a stream, and each needle costs a search). `latest`: of the events at hand that match
    this pattern only the last is read, for each repeats the counts of those before it;
    `latest_needle`: bytes that are part of every match. Reading an event without need costs time
    and changes nothing.
    """

    needles: tuple[bytes, ...]
    latest_needle: bytes = b""
    latest: re.Pattern[bytes] | None = None
    odd_needles: tuple[bytes, ...] = ()

    def needles_by(self, first_event: bytes) -> tuple[bytes, ...]:
        """Return the needles for the stream that begins with this event."""
        is_odd = _ODD_COLON.search(first_event) is not None
        return (*self.needles, *self.odd_needles) if is_odd else self.needles

    def is_in(self, data: bytes) -> bool:
        """Whether the event is to be read, even if later ones are too."""
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
    """Cuts a body into its JSON texts, and returns those that may carry usage."""

    @property
    def is_cut(self) -> bool:
        """Whether something was left out because it was too large."""
        ...

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; return the texts they complete."""
        ...

    def end(self) -> list[bytes]:
        """Return what is left when the body is over."""
        ...

    def anew(self) -> "Framing":
        """Return a new one of the same kind, for which every event is of interest."""
        ...
