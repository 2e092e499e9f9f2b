"""Decompression of bodies: complete or refused, and never more bytes than allowed."""

import zlib
from collections.abc import Callable
from typing import Any

import zstandard

from tallyspan_collector.errors import DecodeError

CODINGS = ("identity", "gzip", "zstd")
ZSTD_WINDOW_BYTES = 8 << 20
_AT_ONCE = 1 << 10
"""Compressed bytes that are expanded at once: zstd makes at most 32,000 times as many of them."""


class TooLargeError(Exception):
    """The plain body is larger than allowed."""


def unpacked(body: bytes, coding: str, max_bytes: int) -> bytes:
    """Return the plain body; it may be of several gzip members or zstd frames.

    Raises `TooLargeError` above `max_bytes`, `DecodeError` if it is cut off or not of the coding.
    """
    match coding:
        case "gzip":
            return _unpacked(
                body, coding, max_bytes, lambda: zlib.decompressobj(zlib.MAX_WBITS | 16)
            )
        case "zstd":
            frames = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
            return _unpacked(body, coding, max_bytes, frames.decompressobj)
        case _:
            return body


def _gzip_member() -> Any:
    return zlib.decompressobj(zlib.MAX_WBITS | 16)


def _unpacked(body: bytes, coding: str, max_bytes: int, begin: Callable[[], Any]) -> bytes:
    parts: list[bytes] = []
    bytes_left = max_bytes
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
            bytes_left -= len(parts[-1])
            if bytes_left < 0:
                raise TooLargeError
            packed = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise DecodeError(f"the {coding} body ends too early")
    return b"".join(parts)
