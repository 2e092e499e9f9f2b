"""A body that is one JSON text; Gemini streams an array of answers without `alt=sse`."""

BODY_LIMIT = 64 << 20
"""Bytes of a JSON body that are kept for reading its usage; what is larger is not read."""


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
