"""A body that is one JSON text, which may be an array: Gemini streams one without `alt=sse`.

A stream whose content type was lost in a gateway is recognised by its first bytes.
"""

import re

from tallyspan.framing import EVERYTHING, Interest
from tallyspan.framing.bounded import Kept
from tallyspan.framing.lines import json_lines, server_sent_events

_LOOKS_LIKE_EVENTS = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:data|event|id|retry)?:")


class Unread:
    """For sound, pictures and the like: nothing is read, nothing kept."""

    is_cut = False

    def feed(self, chunk: bytes) -> list[bytes]:  # noqa: ARG002  the protocol's
        """Return nothing, whatever the bytes."""
        return []

    def anew(self) -> "Unread":
        """Return itself."""
        return self

    def end(self) -> list[bytes]:
        """Return nothing."""
        return []


class Whole:
    """Keeps the body until it is over; of one that is too large the beginning and the end."""

    def __init__(self, interest: Interest) -> None:
        self._interest = interest
        self._kept = Kept()

    @property
    def is_cut(self) -> bool:
        """Whether the middle of the body was left out."""
        return self._kept.is_cut

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; return nothing before the end."""
        self._kept.add(chunk)
        return []

    def anew(self) -> "Whole":
        """Return a new one; if the body is a stream after all, every event is of interest."""
        return Whole(EVERYTHING)

    def end(self) -> list[bytes]:
        """Return the body, or the events of interest if it is a stream after all."""
        body = self._kept.text()
        if body.startswith(b"{") and b"\n" not in body:
            return [body]  # as most are
        body = body.strip()
        if _LOOKS_LIKE_EVENTS.match(body):
            events = server_sent_events(self._interest)
        elif _looks_like_lines(body):
            events = json_lines(self._interest)
        else:
            return [body] if body else []
        return [*events.feed(body), *events.end()]


def _looks_like_lines(body: bytes) -> bool:
    end = body.find(b"\n")
    return (
        end > 0 and body[end - 2 : end].rstrip().endswith(b"}") and body[end + 1 : end + 2] == b"{"
    )
