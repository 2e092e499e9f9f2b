"""Decoders of content codings, for our copy of a body; the application's bytes are untouched."""

import struct
import zlib
from collections.abc import Callable
from functools import reduce
from importlib import import_module
from typing import cast

Decoder = Callable[[bytes], bytes]
_GZIP = zlib.MAX_WBITS | 16
_ZLIB_HEADER = struct.Struct(">H")
_MAGIC = b"\x1f\x8b\x08"


class UnreadableCodingError(Exception):
    """The body has a content coding that this process has no decoder for."""


def decoder(coding: str) -> Decoder | None:
    """Return an incremental decoder; None: the bytes are plain.

    Several codings, as in `deflate, gzip`, are decoded in reverse order. br and zstd need the same
    packages as the HTTP client does; a client without them does not accept these codings. Raises
    `UnreadableCodingError` if a body has one all the same.
    """
    decoders = [_decoder(each) for each in reversed(coding.split(","))]
    needed = [decode for decode in decoders if decode is not None]
    return reduce(_then, needed) if needed else None


def _then(first: Decoder, second: Decoder) -> Decoder:
    return lambda packed: second(first(packed))


def _decoder(coding: str) -> Decoder | None:
    match coding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return Gzip().decompress
        case "deflate":
            return Deflate().decompress
        case "br":
            return _brotli()
        case "zstd":
            return _zstd()
        case other:
            raise UnreadableCodingError(other)


class Gzip:
    """Decodes gzip of one member or several; other bytes behind the last member are dropped.

    `_rest`: bytes behind a member that may be the beginning of another.
    """

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._rest = b""

    def decompress(self, packed: bytes) -> bytes:
        """Take the next packed bytes; return the plain bytes that they complete."""
        plain = []
        while packed:
            if self._member.eof:
                packed = self._rest + packed
                self._rest = packed[: len(_MAGIC)]
                if not packed.startswith(_MAGIC):
                    break
                self._member, self._rest = zlib.decompressobj(_GZIP), b""
            plain.append(self._member.decompress(packed))
            packed = self._member.unused_data
        return b"".join(plain)


class Deflate:
    """Decodes deflate in its zlib wrapping, or bare, as some servers send it."""

    def __init__(self) -> None:
        self._stream: Decoder | None = None
        self._head = b""

    def decompress(self, packed: bytes) -> bytes:
        """Take the next packed bytes; return the plain bytes that they complete."""
        if self._stream is None:
            packed = self._head + packed
            if len(packed) < _ZLIB_HEADER.size:
                self._head = packed
                return b""
            # RFC 1950: the method is 8, and both bytes together are a multiple of 31.
            (header,) = _ZLIB_HEADER.unpack_from(packed)
            is_wrapped = header >> 8 & 15 == zlib.DEFLATED and header % 31 == 0
            bits = zlib.MAX_WBITS if is_wrapped else -zlib.MAX_WBITS
            self._stream = zlib.decompressobj(bits).decompress
        return self._stream(packed)


def _brotli() -> Decoder:
    for name in ("brotli", "brotlicffi"):
        try:
            package = import_module(name)
        except ImportError:
            continue
        unpacker = package.Decompressor()
        return cast("Decoder", getattr(unpacker, "process", None) or unpacker.decompress)
    raise UnreadableCodingError("br")


def _zstd() -> Decoder:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return cast("Decoder", import_module(name).ZstdDecompressor().decompress)
        except ImportError:
            continue
    try:
        return cast(
            "Decoder", import_module("zstandard").ZstdDecompressor().decompressobj().decompress
        )
    except ImportError:
        raise UnreadableCodingError("zstd") from None
