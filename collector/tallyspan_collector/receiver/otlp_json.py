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


def to_protobuf(body: bytes, message: Message) -> bytes:
    """Return the JSON request as the bytes of the message. Raises `DecodeError`."""
    name = message.DESCRIPTOR.name
    try:
        said = json.loads(body)
        if not isinstance(said, dict):
            raise DecodeError(f"not an OTLP {name}: the JSON is no object")
        return ParseDict(
            _with_ids(said, 0), message, ignore_unknown_fields=True
        ).SerializeToString()
    except (ValueError, ParseError, RecursionError) as error:
        raise DecodeError(f"not an OTLP {name} in JSON: {error}") from None


def _with_ids(value: Any, depth: int) -> Any:
    if depth > DEPTH_LIMIT:
        raise ValueError(f"nested deeper than {DEPTH_LIMIT} levels")
    if isinstance(value, list):
        return [_with_ids(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {
            key: base64.b64encode(bytes.fromhex(item)).decode()
            if key in _IDS and isinstance(item, str)
            else _with_ids(item, depth + 1)
            for key, item in value.items()
        }
    return value
