"""The part of a trace request that may be calls, without parsing the spans.

One function of bytes: a compiled one with the same results can take its place.
"""

from dataclasses import replace
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError as ProtobufError

from tallyspan_collector.errors import DecodeError
from tallyspan_collector.read import wire
from tallyspan_collector.read.envelope import (
    Part,
    Resource,
    Search,
    check_items,
    has_any,
    items,
    joined,
    pieces,
    resources,
)

MAX_ATTRIBUTES = 2_000_000
"""Attributes of all spans of a request: 32 bytes each of the 64 MiB that a request may have."""
_UNCOUNTED_BYTES = 2 * MAX_ATTRIBUTES
"""A request of so many bytes at most has no more attributes than that: an empty one takes two."""
_TIMED_BYTES = 20
"""A span of two times and nothing else: its tag and length, and twice a tag and eight bytes."""


class Admitted(NamedTuple):
    """`blob` is an OTLP request with the spans or records that may be calls; empty: there are none.

    `spans` counts those in the blob, `untimed` those refused because they have no time at all: the
    answer to the sender has their number (OTLP partial success).
    """

    blob: bytes
    spans: int = 0
    untimed: int = 0


def glance(body: bytes, needles: tuple[bytes, ...], search: Search = has_any) -> Admitted:
    """Return the part of an ExportTraceServiceRequest that may be calls.

    A scope none of whose bytes are one of the `needles` is left out. A span has no time if its
    start and end are absent or 0. The content of a span's fields is not read. Raises
    `DecodeError`: the layers down to those fields are unsound, or there is more in the request
    than `envelope.py` and `MAX_ATTRIBUTES` allow.
    """
    spans = untimed = attributes = 0
    is_whole = True
    kept: list[Resource] = []
    for resource in resources(body):
        scopes = []
        for scope in resource.scopes:
            if not search(body, scope.content, scope.end, needles):
                is_whole = False
                continue
            left_out: list[Part] = []
            for start, end in pieces(body, scope.content, scope.end):
                piece = body[start:end]
                parsed = _parsed(piece)
                spans += len(parsed.spans)
                check_items(spans, end, "spans")
                left_out += [
                    (start + at, start + stop) for at, stop in _without_time(parsed, piece)
                ]
                if len(body) > _UNCOUNTED_BYTES:
                    attributes += len(wire.Merged.FromString(piece).spans.attributes)
                    if attributes > MAX_ATTRIBUTES:
                        raise DecodeError(f"more than {MAX_ATTRIBUTES} attributes in a request")
            untimed += len(left_out)
            scopes.append(replace(scope, left_out=left_out) if left_out else scope)
        if scopes:
            kept.append(Resource(resource.others, scopes))
    spans -= untimed
    if not spans:
        return Admitted(b"", 0, untimed)
    return Admitted(body if is_whole and not untimed else joined(body, kept), spans, untimed)


def _parsed(piece: bytes) -> Any:
    try:
        return wire.Times.FromString(piece)
    except ProtobufError as error:
        raise DecodeError(str(error)) from None


def _without_time(parsed: Any, piece: bytes) -> list[Part]:
    """Return where those spans of a piece are that have no time."""
    # Their length tells it for all at once: to look at each span takes longer than to parse it.
    parsed.DiscardUnknownFields()
    if parsed.ByteSize() == len(parsed.spans) * _TIMED_BYTES:
        return []
    has_time = [span.start_time_unix_nano or span.end_time_unix_nano for span in parsed.spans]
    if all(has_time):
        return []
    return [place for place, time in zip(items(piece), has_time, strict=True) if not time]
