"""OTLP bytes -> plain spans. Source: opentelemetry-proto, collector/trace/v1."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from google.protobuf.message import DecodeError as ProtobufError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tallyspan_collector.errors import DecodeError

Attributes = dict[str, object]
_CONTENT = ("gen_ai.input.", "gen_ai.output.messages", "gen_ai.system_instructions")
"""Prompts and answers: never taken over, whatever the emitter sends."""


@dataclass(frozen=True, slots=True)
class Span:
    """A span as it was sent; ids in lower-case hex, times in nanoseconds since 1970."""

    trace_id: str
    span_id: str
    parent_span_id: str
    start_time_ns: int
    end_time_ns: int
    is_error: bool
    attributes: Attributes
    resource: Attributes
    scope_name: str


def decode(body: bytes) -> list[Span]:
    """Return the GenAI spans of an ExportTraceServiceRequest.

    Raises `DecodeError` if the bytes are none, or a GenAI span has no valid ids.
    """
    request = ExportTraceServiceRequest()
    try:
        request.ParseFromString(body)
    except ProtobufError as error:
        raise DecodeError(f"not an OTLP ExportTraceServiceRequest: {error}") from None
    return list(_spans(request))


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for of_resource in request.resource_spans:
        resource = _attributes(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                if any(pair.key.startswith("gen_ai.") for pair in span.attributes):
                    yield _span(span, resource, of_scope.scope.name)


def _span(span: ProtoSpan, resource: Attributes, scope_name: str) -> Span:
    if len(span.trace_id) != 16 or len(span.span_id) != 8:  # noqa: PLR2004  sizes of the protocol
        raise DecodeError(
            f"span {span.name!r}: trace_id must be 16 bytes and span_id 8, "
            f"got {len(span.trace_id)} and {len(span.span_id)}"
        )
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        start_time_ns=span.start_time_unix_nano,
        end_time_ns=span.end_time_unix_nano,
        is_error=span.status.code == Status.STATUS_CODE_ERROR,
        attributes=_attributes(span.attributes),
        resource=resource,
        scope_name=scope_name,
    )


def _attributes(pairs: Iterable[KeyValue]) -> Attributes:
    return {pair.key: _value(pair.value) for pair in pairs if not pair.key.startswith(_CONTENT)}


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
        case _:
            return None
