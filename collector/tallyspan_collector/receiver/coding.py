"""Compressed bodies -> plain ones, whole or not at all, and never more than may be in memory."""

import zlib
from collections.abc import Callable
from typing import Any

import zstandard

from tallyspan_collector.errors import DecodeError

CODINGS = ("identity", "gzip", "zstd")
ZSTD_WINDOW_BYTES = 8 << 20
_AT_ONCE = 1 << 10
"""Packed bytes: zstd makes 32,000 times as much of them at most."""


class TooLargeError(Exception):
    """The plain body is above the limit."""


def unpacked(body: bytes, coding: str, limit: int) -> bytes:
    """Return the plain body; it may be of several gzip members or zstd frames.

    Raises `TooLargeError` above `limit` bytes, `DecodeError` if it is cut off or something else.
    """
    match coding:
        case "gzip":
            return _unpacked(body, coding, limit, lambda: zlib.decompressobj(zlib.MAX_WBITS | 16))
        case "zstd":
            frames = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
            return _unpacked(body, coding, limit, frames.decompressobj)
        case _:
            return body


def _unpacked(body: bytes, coding: str, limit: int, begin: Callable[[], Any]) -> bytes:
    parts: list[bytes] = []
    frame = begin()
    for start in range(0, len(body), _AT_ONCE):
        packed = body[start : start + _AT_ONCE]
        while packed:
            if frame.eof:
                frame = begin()
            try:
                parts.append(frame.decompress(packed))
            except (zlib.error, zstandard.ZstdError) as error:
                raise DecodeError(f"not {coding}: {error}") from None
            limit -= len(parts[-1])
            if limit < 0:
                raise TooLargeError
            packed = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise DecodeError(f"the {coding} body ends too early")
    return b"".join(parts)
