"""OTLP bytes -> plain spans; log records too. Source: opentelemetry-proto, trace/v1 and logs/v1.

An attribute is looked up by its serialised bytes first: most of a service's attributes repeat span
by span, and are parsed once. Attributes that hold prompts or answers are left out.
"""

import hashlib
import re
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import DecodeError as ProtobufError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tallyspan.semconv import ERROR_TYPE
from tallyspan_collector.errors import DecodeError
from tallyspan_collector.read import wire

Attributes = dict[str, object]
_CONTENT = (
    "gen_ai.input.", "gen_ai.output.messages", "gen_ai.system_instructions", "gen_ai.prompt.",
    "gen_ai.completion.", "gen_ai.tool.definitions", "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result", "gen_ai.content.", "gen_ai.headers", "llm.prompts",
    "llm.completions", "llm.input_messages", "llm.output_messages", "llm.tools", "llm.headers",
    "llm.openai.", "llm.anthropic.", "llm.invocation_parameters", "llm.request.functions",
    "input.value", "output.value", "ai.prompt", "ai.response.text", "ai.response.toolCalls",
    "ai.response.object", "ai.response.reasoning", "ai.toolCall.", "ai.request.headers.",
    "ai.value", "ai.embedding", "langfuse.observation.input", "langfuse.observation.output",
    "langfuse.trace.input", "langfuse.trace.output", "genkit:input", "gcp.vertex.agent.llm_request",
    "gcp.vertex.agent.data", "traceloop.entity.input", "traceloop.entity.output", "hidden_params",
    "all_messages", "pydantic_ai.all_messages", "final_result", "tool_arguments", "tool_response",
    "http.request.header.", "http.response.header.", "embedding.embeddings", "retrieval.documents",
    "mastra.model_", "mastra.agent_run.", "mastra.tool_call.", "mastra.metadata.headers",
)  # fmt: skip
"""How the names of attributes begin that hold prompts or answers: left out, whoever sends them."""
MAX_MEMO = 50_000
"""Attributes remembered; then all are forgotten."""
MAX_VALUES_OF_A_KEY = 2_000
"""Values of one key remembered: an id has a new value in every span."""
MAX_MEMO_BYTES = 160
"""A longer attribute hardly repeats."""
MAX_ORIGINS, MAX_ORIGIN_BYTES = 2_000, 4_096
"""Resources, and scopes, remembered, and the size of each: together some 30 MB at most."""
TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8
_MIN_BYTES = 6
_VALUE = 0x12
_MAX_INT_BYTES = 8
"""A longer one may be negative."""
_MORE = 0x80
"""Set in every byte of an integer but the last."""
_ERROR = 2
MAX_MESSAGE_BYTES = 256
"""Bytes of an error's message in which its type is looked for."""
_GRPC_STATUS = re.compile(r"\bStatusCode\.([A-Z_]{2,32})\b")
_ERROR_NAME = re.compile(
    r"((?:\w{1,64}\.){0,8}\w{0,64}(?:Error|Exception|Timeout))(?::|\Z)"
    r"|(?:connect|getaddrinfo|read|write) (E[A-Z_]{3,32})\b"
)

unreadable: Counter[str] = Counter()
"""Attributes that were left out because their bytes could not be read."""

_Origin = TypeVar("_Origin")
_scopes: dict[bytes, tuple[str, str]] = {}
_resources: dict[bytes, Attributes] = {}


@dataclass(slots=True)
class Span:
    """A span as it was sent; ids in lower-case hex, times in nanoseconds since 1970.

    `kind` as OTLP numbers it: 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    start_time_ns: int
    end_time_ns: int
    is_error: bool
    attributes: Attributes
    resource: Attributes
    scope_name: str
    name: str = ""
    kind: int = 0
    scope_version: str = ""


def decode(body: bytes) -> list[Span]:
    """Return the spans of an ExportTraceServiceRequest. Raises `DecodeError` if it is none.

    A span without valid ids gets ids computed from its content: sent again it is the same span.
    """
    spans: list[Span] = []
    try:
        for of_resource in wire.Export.FromString(body).of_resources:
            resource = resource_of(of_resource.resource)
            for raw in of_resource.of_scopes:
                of_scope = wire.ScopeSpans.FromString(raw)
                scope_name, scope_version = scope_of(of_scope.scope)
                for span in of_scope.spans:
                    trace_id, span_id = span.trace_id, span.span_id
                    if len(trace_id) != TRACE_ID_BYTES or len(span_id) != SPAN_ID_BYTES:
                        trace_id, span_id = _computed_ids(span)
                    start, end = span.start_time_unix_nano, span.end_time_unix_nano
                    attributes = attributes_of(span.attributes)
                    is_error = span.status.code == _ERROR
                    if (
                        is_error
                        and ERROR_TYPE not in attributes
                        and (name := error_name(span.status.message))
                    ):
                        attributes[ERROR_TYPE] = name
                    spans.append(
                        Span(
                            trace_id.hex(),
                            span_id.hex(),
                            span.parent_span_id.hex(),
                            start or end,
                            max(start, end),
                            is_error,
                            attributes,
                            resource,
                            scope_name,
                            span.name.decode("utf-8", "replace"),
                            span.kind,
                            scope_version,
                        )
                    )
    except (ProtobufError, UnicodeDecodeError) as error:
        raise DecodeError(f"not an OTLP ExportTraceServiceRequest: {error}") from None
    return spans


def error_name(message: bytes) -> str:
    """Return the type of an error from its message, where that begins with one, else "".

    `NotFoundError: ...` is what OpenTelemetry's SDKs for Python write of an exception; gRPC and
    Node.js have a status in it. The rest of a message is not kept: it may quote the request.
    """
    begin = message[:MAX_MESSAGE_BYTES].decode("utf-8", "replace")
    match = _GRPC_STATUS.search(begin) or _ERROR_NAME.match(begin)
    return match[match.lastindex or 0] if match else ""


class _Memo(dict[bytes, tuple[str, object]]):
    """Serialised attribute -> key and value; a new one is parsed. Empty key: left out."""

    def __init__(self) -> None:
        super().__init__()
        self._values: Counter[str] = Counter()

    def __missing__(self, raw: bytes) -> tuple[str, object]:
        pair = _sliced(raw) or _parsed(raw)
        key = pair[0]
        if len(raw) <= MAX_MEMO_BYTES and (seen := self._values[key]) < MAX_VALUES_OF_A_KEY:
            if len(self) >= MAX_MEMO:
                self.clear()
                self._values.clear()
            self._values[key] = seen + 1
            self[raw] = pair
        return pair


class _Keys(dict[bytes, str]):
    """Serialised key -> key; empty: the attribute is left out."""

    def __missing__(self, raw: bytes) -> str:
        key = raw.decode()
        if key.startswith(_CONTENT):
            key = ""
        if len(self) >= MAX_MEMO:
            self.clear()
        self[raw] = key
        return key


_pair_of = _Memo().__getitem__
key_of = _Keys().__getitem__
"""Returns the name of an attribute by its bytes; empty: it holds content and is left out."""
_LEFT_OUT: tuple[str, object] = ("", None)
_STRING, _INT, _DOUBLE = 0x0A, 0x18, 0x21
_double = struct.Struct("<d").unpack_from


def attributes_of(raws: Iterable[bytes]) -> Attributes:
    """Return serialised attributes by name, without content and what cannot be read."""
    attributes = dict(map(_pair_of, raws))
    attributes.pop("", None)
    return attributes


def _sliced(raw: bytes) -> tuple[str, object] | None:
    """Return key and value of an attribute laid out as every encoder does; None: it is not.

    Source: opentelemetry-proto, common/v1: KeyValue {1: key, 2: AnyValue}, lengths below 128.
    """
    size = len(raw)
    if size < _MIN_BYTES or raw[0] != _STRING:
        return None
    end = 2 + raw[1]
    start = end + 3
    if start >= size or raw[end] != _VALUE or end + 2 + raw[end + 1] != size:
        return None
    kind = raw[end + 2]
    try:
        key = key_of(raw[2:end])
        if not key:
            return _LEFT_OUT
        if kind == _STRING and start + 1 + raw[start] == size:
            return key, raw[start + 1 :].decode()
        if kind == _INT and size - start <= _MAX_INT_BYTES and raw[-1] < _MORE:
            number = raw[start] & 0x7F
            for at in range(1, size - start):
                number |= (raw[start + at] & 0x7F) << 7 * at
            return key, number
        if kind == _DOUBLE and start + 8 == size:
            return key, _double(raw, start)[0]
    except UnicodeDecodeError:
        pass
    return None  # the parser decides


def _parsed(raw: bytes) -> tuple[str, object]:
    try:
        pair = KeyValue.FromString(raw)
    except ProtobufError:  # text that is no UTF-8, say: the span is worth more than the attribute
        unreadable["attribute"] += 1
        return _LEFT_OUT
    return _LEFT_OUT if pair.key.startswith(_CONTENT) else (pair.key, _value(pair.value))


def _value(value: AnyValue) -> object:
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "int_value":
            return value.int_value
        case "bool_value":
            return value.bool_value
        case "double_value":
            return value.double_value
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return {pair.key: _value(pair.value) for pair in value.kvlist_value.values}
        case _:
            return None


def resource_of(raw: bytes) -> Attributes:
    """Return the attributes of a serialised resource. Raises protobuf's `DecodeError`."""
    resource = _resources.get(raw)
    if resource is None:
        resource = attributes_of(wire.Resource.FromString(raw).attributes)
        _remember(_resources, raw, resource)
    return resource


def scope_of(raw: bytes) -> tuple[str, str]:
    """Return name and version of a serialised scope. Raises protobuf's `DecodeError`."""
    scope = _scopes.get(raw)
    if scope is None:
        sent = wire.Scope.FromString(raw)
        scope = (sent.name.decode("utf-8", "replace"), sent.version.decode("utf-8", "replace"))
        _remember(_scopes, raw, scope)
    return scope


def _remember(memo: dict[bytes, _Origin], raw: bytes, origin: _Origin) -> None:
    if len(raw) <= MAX_ORIGIN_BYTES:
        if len(memo) >= MAX_ORIGINS:
            memo.clear()
        memo[raw] = origin


def _computed_ids(span: object) -> tuple[bytes, bytes]:
    digest = hashlib.blake2b(span.SerializeToString(deterministic=True), digest_size=24).digest()  # type: ignore[attr-defined]  # a class made at run time
    return digest[:TRACE_ID_BYTES], digest[TRACE_ID_BYTES:]


def decode_logs(body: bytes) -> list[Span]:
    """Return the records of an ExportLogsServiceRequest as spans without duration.

    A span's name is the record's event name, or its body's text. Its span id is computed from the
    record's content, so a record that is sent again is the same span; its parent is the span in
    which the record was written. A record without a trace gets one of its own. Raises
    `DecodeError`.
    """
    spans: list[Span] = []
    try:
        for of_resource in wire.Export.FromString(body).of_resources:
            resource = resource_of(of_resource.resource)
            for raw in of_resource.of_scopes:
                of_scope = wire.ScopeLogs.FromString(raw)
                scope_name, scope_version = scope_of(of_scope.scope)
                for record in of_scope.log_records:
                    time_ns = record.time_unix_nano or record.observed_time_unix_nano
                    digest = _digest(record, time_ns)
                    has_trace = len(record.trace_id) == TRACE_ID_BYTES
                    spans.append(
                        Span(
                            (record.trace_id if has_trace else digest[SPAN_ID_BYTES:]).hex(),
                            digest[:SPAN_ID_BYTES].hex(),
                            record.span_id.hex() if has_trace else "",
                            time_ns,
                            time_ns,
                            is_error=False,
                            attributes=attributes_of(record.attributes),
                            resource=resource,
                            scope_name=scope_name,
                            name=record_name(record),
                            scope_version=scope_version,
                        )
                    )
    except (ProtobufError, UnicodeDecodeError) as error:
        raise DecodeError(f"not an OTLP ExportLogsServiceRequest: {error}") from None
    return spans


def record_name(record: Any) -> str:
    """Return a log record's event name, or its body where that is text."""
    if record.event_name:
        name: bytes = record.event_name
        return name.decode("utf-8", "replace")
    try:
        return AnyValue.FromString(record.body).string_value if record.body else ""
    except ProtobufError:  # no UTF-8, say: its attributes may name it as well
        return ""


def record_attributes(record: Any) -> Attributes:
    """Return a log record's attributes, without those that hold prompts or answers."""
    return attributes_of(record.attributes)


def _digest(record: Any, time_ns: int) -> bytes:
    """Return 24 bytes for the record's ids; a copy that came another way has the same."""
    digest = hashlib.blake2b(digest_size=SPAN_ID_BYTES + TRACE_ID_BYTES)
    for part in (time_ns.to_bytes(8), record.event_name, record.body, *sorted(record.attributes)):
        digest.update(len(part).to_bytes(4))
        digest.update(part)
    return digest.digest()
