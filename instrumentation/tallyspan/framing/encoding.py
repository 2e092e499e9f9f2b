"""Content codings taken off a copy of the bytes; the application's own stay as they came."""

import zlib
from collections.abc import Callable
from importlib import import_module
from typing import cast

Decoder = Callable[[bytes], bytes]


class UnreadableCodingError(Exception):
    """The body has a content coding that this process has no decoder for."""


def decoder(coding: str) -> Decoder | None:
    """Return an incremental decoder; None: the bytes are plain.

    br and zstd need the packages that the HTTP client needs for them as well; a client without
    them does not ask for these codings. Raises `UnreadableCodingError` if it got one all the same.
    """
    match coding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress
        case "deflate":
            return zlib.decompressobj().decompress
        case "br":
            return _brotli()
        case "zstd":
            return _zstd()
        case other:
            raise UnreadableCodingError(other)


def _brotli() -> Decoder:
    for name in ("brotli", "brotlicffi"):
        try:
            package = import_module(name)
        except ImportError:
            continue
        made = package.Decompressor()
        return cast("Decoder", getattr(made, "process", None) or made.decompress)
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
