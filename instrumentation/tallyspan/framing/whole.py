"""A body that is one JSON text, which may be an array: Gemini streams one without `alt=sse`.

A stream whose content type was lost in a gateway is recognised by its first bytes.
"""

import re

from tallyspan.framing import EVERYTHING, Interest
from tallyspan.framing.lines import json_lines, server_sent_events

# Of a body that is kept until its end; a larger one is not read.
MAX_BODY_BYTES = 64 << 20
# A body of this size is thinned, for parsing its vectors would take the caller's time.
LARGE_BODY_BYTES = 64 << 10

_VECTOR = re.compile(rb"\[[-+0-9eE.,\s]{256,}\]")
_LOOKS_LIKE_EVENTS = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:data|event|id|retry)?:")
_PACKED = re.compile(rb'"[A-Za-z0-9+/_=-]{4096,}"')


def thinned(body: bytes) -> bytes:
    """Return the JSON text without long vectors and base64 strings, which carry no usage."""
    if len(body) < LARGE_BODY_BYTES:
        return body
    return _PACKED.sub(b'""', _VECTOR.sub(b"[]", body))


class Unread:
    """For sound, pictures and the like: nothing is read, nothing kept."""

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
    """Keeps references to the chunks, and joins them when the body is over."""

    def __init__(self, interest: Interest) -> None:
        self._interest = interest
        self._chunks: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; return nothing before the end."""
        self._size += len(chunk)
        if self._size <= MAX_BODY_BYTES:
            self._chunks.append(chunk)
        else:
            self._chunks.clear()
        return []

    def anew(self) -> "Whole":
        """Return a new one; if the body is a stream after all, every event is of interest."""
        return Whole(EVERYTHING)

    def end(self) -> list[bytes]:
        """Return the body, or the events of interest if it is a stream after all."""
        body = b"".join(self._chunks).strip()
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
