"""What is kept of a body until it can be read, and what of it is parsed: both are bounded.

Parsing makes up to 28 bytes of a byte of JSON (`{},{},`). A sender decides what an answer is like,
so a text that is too large or has too many values is read at its ends only: there providers have
their usage.
"""

import json
import re
from itertools import islice
from typing import Any

MAX_KEPT_BYTES = 1 << 20
"""Of an event, or of a body that is one JSON text; vectors and base64 are not counted."""
LARGE_BYTES = 64 << 10
"""A text of this size is thinned before it is parsed."""
MAX_VALUES = 1 << 16
"""Values in a text that is parsed whole: 10 MB of objects."""
END_BYTES = 16 << 10
"""Of each end of a text that is not parsed whole."""
MAX_TRIES = 100
"""Commas of an end at which a key of the outermost object may begin."""

_VECTOR = re.compile(rb"\[[-+0-9eE.,\s]{256,}\]")
_PACKED = re.compile(rb'"(?:data:[^",]{0,80},)?[A-Za-z0-9+/_=-]{4096,}')
_KEY = re.compile(rb',\s*(?=")')


def thinned(body: bytes) -> bytes:
    """Return the JSON text without long vectors and base64, which carry no usage."""
    return _PACKED.sub(b'"', _VECTOR.sub(b"[]", body)) if len(body) >= LARGE_BYTES else body


class Kept:
    """The bytes of a text so far, thinned as they grow; `is_cut`: they became too many."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self._thin_at = MAX_KEPT_BYTES
        self._head = b""
        self.is_cut = False

    def add(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._size > self._thin_at:
            self._shrink()

    def _shrink(self) -> None:
        body = b"".join(self._chunks)
        if not self.is_cut:
            body = thinned(body)
            if len(body) > MAX_KEPT_BYTES:
                self.is_cut = True
                self._head = body[:END_BYTES]
        if self.is_cut:
            body = body[-END_BYTES:]
        self._chunks, self._size = [body], len(body)
        # Not at once again, or a sender could make each chunk cost a search of all that is kept.
        self._thin_at = max(MAX_KEPT_BYTES, self._size + MAX_KEPT_BYTES // 2)

    def text(self) -> bytes:
        """Return all bytes, or the JSON object that the ends of what was cut make."""
        body = b"".join(self._chunks)
        return ends(self._head, body) if self.is_cut else body


def readable(text: bytes) -> tuple[bytes, bool]:
    """Return the JSON text to parse, and whether that is only a part of it."""
    if len(text) < LARGE_BYTES:
        return text, False
    thin = thinned(text)
    if sum(map(thin.count, (b",", b"{", b"["))) <= MAX_VALUES:
        return thin, False
    return ends(thin[:END_BYTES], thin[-END_BYTES:]), True


def ends(head: bytes, tail: bytes) -> bytes:
    """Return a JSON object with the keys that an object has at its beginning and at its end.

    Up to a comma, and from a comma on, the text is an object once a brace is put there; but only if
    the comma stands in the outermost object: further inside there are braces too few or too many.
    """
    first: dict[str, Any] = {}
    last: dict[str, Any] = {}
    for comma in islice(_KEY.finditer(head), MAX_TRIES):
        first = _object(head[: comma.start()] + b"}") or first
    for comma in list(_KEY.finditer(tail))[: -MAX_TRIES - 1 : -1]:
        last = _object(b"{" + tail[comma.end() :]) or last
    return json.dumps({**first, **last}).encode()


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
