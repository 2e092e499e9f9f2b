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


MAX_RATIO, UNMEASURED_BYTES = 100, 1 << 20
"""How many times as large a body may become, if it becomes larger than that; spans: 10 to 40."""


class TooLargeError(Exception):
    """The plain body is larger than allowed."""


def unpacked(body: bytes, coding: str, max_bytes: int, count: Callable[[int], None]) -> bytes:
    """Return the plain body; it may be of several gzip members or zstd frames.

    `count` is called with the bytes of each part, and may raise. Raises `TooLargeError` above
    `max_bytes` or `MAX_RATIO`, `DecodeError` if it is cut off or not of the coding.
    """
    match coding:
        case "gzip":
            return _unpacked(body, coding, max_bytes, count, _gzip_member)
        case "zstd":
            frames = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
            return _unpacked(body, coding, max_bytes, count, frames.decompressobj)
        case _:
            return body


def _gzip_member() -> Any:
    return zlib.decompressobj(zlib.MAX_WBITS | 16)


def _unpacked(
    body: bytes,
    coding: str,
    max_bytes: int,
    count: Callable[[int], None],
    begin: Callable[[], Any],
) -> bytes:
    parts: list[bytes] = []
    bytes_left = min(max_bytes, max(UNMEASURED_BYTES, MAX_RATIO * len(body)))
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
            count(len(parts[-1]))
            bytes_left -= len(parts[-1])
            if bytes_left < 0:
                raise TooLargeError
            packed = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise DecodeError(f"the {coding} body ends too early")
    return b"".join(parts)
