"""A body that is one JSON text; Gemini streams an array of answers without `alt=sse`."""

import re

BODY_LIMIT = 64 << 20
"""Bytes of a JSON body that are kept for reading its usage; what is larger is not read."""

LARGE_BODY = 64 << 10
"""Bytes from which a body is thinned: parsing vectors would take the caller's time."""
_VECTOR = re.compile(rb"\[[-+0-9eE.,\s]{256,}\]")
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

    def __init__(self) -> None:
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
        """Return a new one: there is but one text to find."""
        return Whole()

    def end(self) -> list[bytes]:
        """Return the body."""
        return [b"".join(self._chunks)] if self._chunks else []
