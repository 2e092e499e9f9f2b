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
from tallyspan_collector.read.envelope import check_items

_IDS = {"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"}
MAX_DEPTH = 60
"""Levels of nesting; a normal request has about 15."""
MAX_VALUES = 2_000_000
"""Objects, lists and items in a request, which take about 250 MB and 3 s; texts count too."""


def to_protobuf(body: bytes, message: Message) -> bytes:
    """Return the JSON request as the bytes of the message. Raises `DecodeError`."""
    name = message.DESCRIPTOR.name
    if sum(map(body.count, (b"{", b"[", b","))) > MAX_VALUES:
        raise DecodeError(f"not an OTLP {name} that can be read: above {MAX_VALUES} values")
    try:
        content = json.loads(body)
        if not isinstance(content, dict):
            raise DecodeError(f"not an OTLP {name}: the JSON is no object")
        _check_items(content, len(body))
        return ParseDict(
            _repaired(content, 0), message, ignore_unknown_fields=True
        ).SerializeToString()
    except (ValueError, ParseError, RecursionError) as error:
        raise DecodeError(f"not an OTLP {name} in JSON: {error}") from None


def _check_items(content: dict[str, Any], size: int) -> None:
    """Raise `DecodeError` if there are more resources, scopes, spans or records than may be."""
    messages: list[Any] = [content]
    for name in ("resources", "scopes", "spans or records"):
        messages = [
            item
            for message in messages
            if isinstance(message, dict)
            for value in message.values()
            if isinstance(value, list)
            for item in value
        ]
        check_items(len(messages), size, name)


def _repaired(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, list):
        return [_repaired(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {
            key: base64.b64encode(bytes.fromhex(item)).decode()
            if key in _IDS and isinstance(item, str)
            else _repaired(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, str) and not value.isascii():
        # Half of a surrogate pair, from JavaScript that cut an emoji: protobuf cannot hold it.
        return value.encode("utf-8", "replace").decode()
    return value
