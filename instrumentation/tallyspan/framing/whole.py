"""A body that is one JSON text; Gemini streams an array of answers without `alt=sse`.

A stream behind a gateway that lost its content type is found by what it looks like.
"""

import re

from tallyspan.framing import EVERYTHING, Interest
from tallyspan.framing.lines import json_lines, server_sent_events

BODY_LIMIT = 64 << 20
"""Bytes of a JSON body that are kept for reading its usage; what is larger is not read."""

LARGE_BODY = 64 << 10
"""Bytes from which a body is thinned: parsing vectors would take the caller's time."""
_VECTOR = re.compile(rb"\[[-+0-9eE.,\s]{256,}\]")
_LOOKS_LIKE_EVENTS = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:data|event|id|retry)?:")
_PACKED = re.compile(rb'"[A-Za-z0-9+/_=-]{4096,}"')


def thinned(body: bytes) -> bytes:
    """Return the JSON text without long vectors and base64 strings: they say nothing of usage."""
    if len(body) < LARGE_BODY:
        return body
    return _PACKED.sub(b'""', _VECTOR.sub(b"[]", body))


class Unread:
    """Sound, pictures and the like: nothing to read, nothing kept."""

    def feed(self, chunk: bytes) -> list[bytes]:  # noqa: ARG002  the protocol's
        """Let the bytes pass."""
        return []

    def anew(self) -> "Unread":
        """Return itself."""
        return self

    def end(self) -> list[bytes]:
        """Return nothing."""
        return []


class Whole:
    """Keeps references to the chunks as they pass and joins them when the body is over."""

    def __init__(self, interest: Interest) -> None:
        self._interest = interest
        self._chunks: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; nothing is whole before the end."""
        self._size += len(chunk)
        if self._size <= BODY_LIMIT:
            self._chunks.append(chunk)
        else:
            self._chunks.clear()
        return []

    def anew(self) -> "Whole":
        """Return one that finds every event interesting, should there be several."""
        return Whole(EVERYTHING)

    def end(self) -> list[bytes]:
        """Return the body, or what is of interest in it if it is a stream after all."""
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
