"""Decoders of content codings, for our copy of a body; the application's bytes are untouched.

What a few packed bytes become may be of any size, so a decoder yields it in pieces: who takes them
can stop.
"""

import zlib
from collections.abc import Callable, Iterator
from functools import reduce
from importlib import import_module
from typing import Any

Unpack = Callable[[bytes], Iterator[bytes]]
"""Takes the next packed bytes; yields the plain bytes that they complete, in pieces."""

PIECE_BYTES = 64 << 10
MAX_CODINGS = 4
"""Of one body, each around the one before."""
MAX_WINDOW_LOG = 23
"""RFC 9659: a server may not ask for more than 8 MB of window."""
# Packed bytes given at once to a decoder that knows no limit: in zstd 4 bytes are at most 128 kB.
_SLICE_BYTES = 64

_GZIP = zlib.MAX_WBITS | 16
_HEADER_BYTES = 2
_MAGIC = b"\x1f\x8b\x08"


class UnreadableCodingError(Exception):
    """The body has a content coding that this process has no decoder for, or too many of them."""


def unpacker(coding: str) -> Unpack | None:
    """Return an incremental decoder; None: the bytes are plain.

    Several codings, as in `deflate, gzip`, are decoded in reverse order. br and zstd need the same
    packages as the HTTP client does; a client without them does not accept these codings. Raises
    `UnreadableCodingError` if a body has one all the same.
    """
    names = [name for each in coding.split(",") if (name := each.strip().lower())]
    if len(names) > MAX_CODINGS:
        raise UnreadableCodingError(f"{len(names)} codings around each other")
    needed = [_unpacker(name) for name in reversed(names) if name != "identity"]
    return reduce(_then, needed) if needed else None


def _then(first: Unpack, second: Unpack) -> Unpack:
    return lambda packed: (plain for piece in first(packed) for plain in second(piece))


def _unpacker(coding: str) -> Unpack:
    match coding:
        case "gzip" | "x-gzip":
            return Gzip().unpack
        case "deflate":
            return Deflate().unpack
        case "br":
            return _brotli()
        case "zstd":
            return _zstd()
        case other:
            raise UnreadableCodingError(other)


def _inflated(stream: Any, packed: bytes) -> Iterator[bytes]:
    """Yield what a stream of zlib makes of the bytes."""
    size = PIECE_BYTES
    while packed or size == PIECE_BYTES:  # a full piece may have left something inside
        plain = stream.decompress(packed, PIECE_BYTES)
        size, packed = len(plain), stream.unconsumed_tail
        if plain:
            yield plain


class Gzip:
    """Decodes gzip of one member or several; other bytes behind the last member are dropped.

    `_rest`: bytes behind a member that may be the beginning of another.
    """

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._rest = b""

    def unpack(self, packed: bytes) -> Iterator[bytes]:
        """Take the next packed bytes; yield the plain bytes that they complete."""
        while packed:
            if self._member.eof:
                packed = self._rest + packed
                self._rest = packed[: len(_MAGIC)]
                if not packed.startswith(_MAGIC):
                    return
                self._member, self._rest = zlib.decompressobj(_GZIP), b""
            yield from _inflated(self._member, packed)
            packed = self._member.unused_data


class Deflate:
    """Decodes deflate in its zlib wrapping, or bare, as some servers send it."""

    def __init__(self) -> None:
        self._stream: Any = None
        self._head = b""

    def unpack(self, packed: bytes) -> Iterator[bytes]:
        """Take the next packed bytes; yield the plain bytes that they complete."""
        if self._stream is None:
            packed = self._head + packed
            if len(packed) < _HEADER_BYTES:
                self._head = packed
                return
            # RFC 1950: the method is 8, and both bytes together are a multiple of 31.
            header = int.from_bytes(packed[:_HEADER_BYTES])
            is_wrapped = header >> 8 & 15 == zlib.DEFLATED and header % 31 == 0
            self._stream = zlib.decompressobj(zlib.MAX_WBITS if is_wrapped else -zlib.MAX_WBITS)
        yield from _inflated(self._stream, packed)


class _Zstd:
    """Decodes zstd of one frame or several, with the package of the standard library."""

    def __init__(self, package: Any) -> None:
        options = {package.DecompressionParameter.window_log_max: MAX_WINDOW_LOG}
        self._open: Callable[[], Any] = lambda: package.ZstdDecompressor(options=options)
        self._frame = self._open()

    def unpack(self, packed: bytes) -> Iterator[bytes]:
        while packed or not (self._frame.needs_input or self._frame.eof):
            if self._frame.eof:
                self._frame = self._open()
            plain = self._frame.decompress(packed, PIECE_BYTES)
            packed = self._frame.unused_data
            if plain:
                yield plain


def _brotli() -> Unpack:
    for name in ("brotli", "brotlicffi"):
        try:
            package = import_module(name)
        except ImportError:
            continue
        unpacker = package.Decompressor()
        process = getattr(unpacker, "process", None) or unpacker.decompress
        has_limit = hasattr(unpacker, "can_accept_more_data")
        return _limited(process) if has_limit else _sliced(process)
    raise UnreadableCodingError("br")


def _limited(process: Callable[..., bytes]) -> Unpack:
    """Return what decodes with brotli 1.2 and later, which stops at a limit."""

    def unpack(packed: bytes) -> Iterator[bytes]:
        while plain := process(packed, output_buffer_limit=PIECE_BYTES):
            packed = b""
            yield plain

    return unpack


def _sliced(decompress: Callable[[bytes], bytes]) -> Unpack:
    """Return what decodes a few bytes at a time, for packages that know no limit."""

    def unpack(packed: bytes) -> Iterator[bytes]:
        for start in range(0, len(packed), _SLICE_BYTES):
            yield decompress(packed[start : start + _SLICE_BYTES])

    return unpack


def _zstd() -> Unpack:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return _Zstd(import_module(name)).unpack
        except ImportError:
            continue
    try:
        package = import_module("zstandard")
    except ImportError:
        raise UnreadableCodingError("zstd") from None
    return _sliced(
        package.ZstdDecompressor(max_window_size=1 << MAX_WINDOW_LOG).decompressobj().decompress
    )
