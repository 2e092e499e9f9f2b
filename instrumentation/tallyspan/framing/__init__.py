"""Bytes in any cut -> whole JSON texts worth parsing. No I/O, so sync and async share them."""

from typing import Protocol


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
