"""OTLP/JSON -> OTLP/protobuf.

protobuf's own JSON, but trace and span ids are hex. Source: opentelemetry-proto, "JSON Protobuf
Encoding".
"""

import base64
import json
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from tallyspan_collector.errors import DecodeError

_IDS = {"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"}
DEPTH_LIMIT = 60
"""Levels of nesting; a request has about 15, and values can nest."""
VALUES_LIMIT = 2_000_000
"""Objects, lists and their items in a request: some 250 MB and 3 s; counted also inside texts."""


def to_protobuf(body: bytes, message: Message) -> bytes:
    """Return the JSON request as the bytes of the message. Raises `DecodeError`."""
    name = message.DESCRIPTOR.name
    if sum(map(body.count, (b"{", b"[", b","))) > VALUES_LIMIT:
        raise DecodeError(f"not an OTLP {name} that can be read: above {VALUES_LIMIT} values")
    try:
        said = json.loads(body)
        if not isinstance(said, dict):
            raise DecodeError(f"not an OTLP {name}: the JSON is no object")
        return ParseDict(_mended(said, 0), message, ignore_unknown_fields=True).SerializeToString()
    except (ValueError, ParseError, RecursionError) as error:
        raise DecodeError(f"not an OTLP {name} in JSON: {error}") from None


def _mended(value: Any, depth: int) -> Any:
    if depth > DEPTH_LIMIT:
        raise ValueError(f"nested deeper than {DEPTH_LIMIT} levels")
    if isinstance(value, list):
        return [_mended(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {
            key: base64.b64encode(bytes.fromhex(item)).decode()
            if key in _IDS and isinstance(item, str)
            else _mended(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, str) and not value.isascii():
        # half of a pair, as JavaScript writes a text it cut within an emoji: protobuf has none
        return value.encode("utf-8", "replace").decode()
    return value
