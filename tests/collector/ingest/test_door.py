"""What of a request goes on to the disk, and what is refused before it is parsed."""

import json
from typing import Any

import pytest
from google.protobuf.message import DecodeError as ProtobufError
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

import otlp_logs
from otlp_spans import CHAT, pairs, request, span
from tallyspan_collector.dialects import NEEDLES
from tallyspan_collector.errors import DecodeError
from tallyspan_collector.ingest.door import admit, admit_logs, admit_metrics
from tallyspan_collector.read import envelope, wire
from tallyspan_collector.read.glance import Admitted
from tallyspan_collector.receiver.otlp_json import to_protobuf

TIMED = span(1, CHAT)
UNTIMED = Span(span_id=b"12345678", attributes=pairs(CHAT))
ENDED = Span(span_id=b"12345678", end_time_unix_nano=7)
HTTP = span(2, {"http.route": "/"})


def varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(tag: int, content: bytes) -> bytes:
    return bytes([tag]) + varint(len(content)) + content


def in_scope(items: bytes, scope: bytes = field(0x0A, b"gen_ai.")) -> bytes:
    return field(0x0A, field(0x12, field(0x0A, scope) + items))


def parsed(body: bytes) -> Admitted:
    """The same by protobuf's parser, which makes an object of each layer and of each span."""
    export = wire.Export.FromString(body)
    spans = untimed = 0
    for of_resource in export.of_resources:
        kept = []
        for raw in of_resource.of_scopes:
            if not any(needle in raw for needle in NEEDLES):
                continue
            scope = wire.Times.FromString(raw)
            timed = [s for s in scope.spans if s.start_time_unix_nano or s.end_time_unix_nano]
            untimed += len(scope.spans) - len(timed)
            spans += len(timed)
            del scope.spans[:]
            scope.spans.extend(timed)
            kept.append(scope.SerializeToString())
        del of_resource.of_scopes[:]
        of_resource.of_scopes.extend(kept)
    return Admitted(export.SerializeToString() if spans else b"", spans, untimed)


def contents(admitted: Admitted) -> tuple[list[Any], int, int]:
    """The spans of each resource and scope, however the layers around them are written."""
    scopes = [
        (of_resource.resource, scope.SerializeToString())
        for of_resource in wire.Export.FromString(admitted.blob).of_resources
        for scope in map(wire.Times.FromString, of_resource.of_scopes)
    ]
    return scopes, admitted.spans, admitted.untimed


SPANS = st.sampled_from([TIMED, UNTIMED, ENDED, HTTP, Span(), Span(start_time_unix_nano=1)])
SCOPES = st.builds(
    ScopeSpans,
    scope=st.sampled_from([None, InstrumentationScope(name="s" * 200)]),
    spans=st.lists(SPANS, max_size=4),
    schema_url=st.sampled_from(["", "https://opentelemetry.io/schemas/1.40.0"]),
)
RESOURCES = st.builds(
    ResourceSpans,
    resource=st.sampled_from([None, Resource(attributes=pairs({"service.name": "shop"}))]),
    scope_spans=st.lists(SCOPES, max_size=3),
)
REQUESTS = st.builds(ExportTraceServiceRequest, resource_spans=st.lists(RESOURCES, max_size=3)).map(
    lambda message: message.SerializeToString()
)
CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=3)), max_size=4)


@given(REQUESTS, CHANGES, st.booleans())
def test_a_request_is_walked_to_what_protobufs_parser_makes_of_it(
    body: bytes, changes: list[tuple[float, bytes]], is_in_pieces: bool
) -> None:
    changed = bytearray(body)
    for where, value in changes:
        at = int(where * len(changed))
        changed[at : at + len(value)] = value
    with pytest.MonkeyPatch.context() as patch:
        if is_in_pieces:
            patch.setattr(envelope, "WHOLE_BYTES", 0)
            patch.setattr(envelope, "PIECE_BYTES", 300)
            patch.setattr(envelope, "LARGE_BYTES", 300)
        try:
            expected = contents(parsed(bytes(changed)))
        except ProtobufError:
            with pytest.raises(DecodeError):
                admit(bytes(changed))
        else:
            assert contents(admit(bytes(changed))) == expected


@pytest.mark.parametrize(
    ("body", "is_sound"),
    [
        (b"\x0a\x00", True),
        (b"\x8a\x00\x00", True),  # a tag of two bytes, the same number
        (b"\x0a\x80\x00", True),  # a length of two bytes, the same number
        (b"\x13\x0b\x0c\x14", True),  # groups, which no sender writes
        (b"\x15\x00\x00\x00\x00\x19" + bytes(8) + b"\x20\x01", True),
        (b"\x13\x14\x14", False),
        (b"\x13\x1c", False),
        (b"\x13" * 200, False),
        (b"\x13", False),
        (b"\x14", False),
        (b"\x16", False),
        (b"\x02\x00", False),
        (b"\x0a", False),
        (b"\x0a\x05\x00", False),
        (b"\x0a\x80", False),
        (b"\x15\x00", False),
        (b"\x20" + b"\xff" * 11, False),
        (b"\x8a\x80\x80\x80\x10\x00", False),  # the fifth byte of a tag has four bits
    ],
    ids=range(18),
)
def test_layers_are_sound_where_protobufs_parser_says_so(body: bytes, is_sound: bool) -> None:
    try:
        wire.Export.FromString(body)
    except ProtobufError:
        assert not is_sound
        with pytest.raises(DecodeError):
            admit(body)
    else:
        assert is_sound
        assert admit(body) == Admitted(b"")


def test_only_scopes_that_may_hold_calls_are_kept_and_no_span_without_a_time() -> None:
    message = ExportTraceServiceRequest.FromString(request(TIMED, UNTIMED, TIMED))
    message.resource_spans[0].scope_spans.add(spans=[HTTP])
    message.resource_spans.add(scope_spans=[ScopeSpans(spans=[HTTP])])

    blob, spans, untimed = admit(message.SerializeToString())

    assert (spans, untimed) == (2, 1)
    assert blob == request(TIMED, TIMED)


def test_a_needle_is_found_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "_WINDOW_BYTES", 8)
    for before in range(20):
        body = request(span(1, {"x" * before + "gen_ai.model": "m"}))
        assert admit(body).spans == 1


@pytest.mark.parametrize(
    ("name", "body", "walked_bytes"),
    [
        ("spans", in_scope(b"\x12\x00" * 1_200_000), envelope.PIECE_BYTES + 100),
        ("resources and scopes", b"\x0a\x00" * 1_200_000, 4_000),
        ("resources and scopes", field(0x0A, b"\x12\x00" * 1_200_000), 4_000),
    ],
    ids=["spans", "resources", "scopes"],
)
def test_a_request_of_empty_messages_is_refused_before_it_is_walked_to_its_end(
    name: str, body: bytes, walked_bytes: int
) -> None:
    with pytest.raises(DecodeError, match=f"{name} in .* bytes: they are empty") as refused:
        admit(body)

    assert int(str(refused.value).split(" bytes: ")[0].split()[-1]) <= walked_bytes


def test_the_spans_of_a_request_are_bounded() -> None:
    small = field(
        0x12, field(0x0A, bytes(16)) + b"\x39" + bytes(7) + b"\x01" + bytes([0x70, 0]) * 4
    )
    at_most = in_scope(small * envelope.MAX_ITEMS)

    assert admit(at_most).spans == envelope.MAX_ITEMS
    with pytest.raises(DecodeError, match="more than 100000 spans in a request: send smaller"):
        admit(at_most + in_scope(small))


def test_the_attributes_of_a_request_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallyspan_collector.read.glance.MAX_ATTRIBUTES", 10)
    monkeypatch.setattr("tallyspan_collector.read.glance._UNCOUNTED_BYTES", 20)
    five = span(1, dict.fromkeys(map(str, range(5)), "gen_ai."))

    assert admit(request(five, five)).spans == 2
    with pytest.raises(DecodeError, match="more than 10 attributes in a request"):
        admit(request(five, five, five))


def test_the_fields_of_a_large_span_are_bounded() -> None:
    large = field(0x12, field(0x39, b"")[:1] + bytes([1] * 8) + b"\x4a\x00" * 600_000)

    with pytest.raises(DecodeError, match="more than 50000 fields in a span or record"):
        admit(in_scope(large))


CALL = otlp_logs.record(otlp_logs.CLAUDE, "claude_code.api_request")
PROMPT = otlp_logs.record({"event.name": "user_prompt", "prompt": "secret " * 100})


@pytest.mark.parametrize("is_in_pieces", [False, True])
def test_of_log_records_only_the_calls_are_kept(
    monkeypatch: pytest.MonkeyPatch, is_in_pieces: bool
) -> None:
    if is_in_pieces:
        monkeypatch.setattr(envelope, "WHOLE_BYTES", 0)
        monkeypatch.setattr(envelope, "PIECE_BYTES", 1_000)
    body = otlp_logs.request(PROMPT, CALL, PROMPT, CALL, scope="agent")
    other = otlp_logs.request(PROMPT, scope="none of ours")

    assert admit_logs(body + other) == Admitted(otlp_logs.request(CALL, CALL, scope="agent"), 2, 0)
    assert admit_logs(other) == Admitted(b"")


def test_log_records_and_metrics_are_bounded_too() -> None:
    records = in_scope(b"\x12\x00" * 500_000, field(0x0A, b"api_request"))
    with pytest.raises(DecodeError, match=r"ExportLogsServiceRequest .* log records in .* bytes"):
        admit_logs(records)
    with pytest.raises(DecodeError, match=r"ExportMetricsServiceRequest .* resources and scopes"):
        admit_metrics(b"\x0a\x00" * 500_000)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("resources", {"resourceSpans": [{}] * 20_000}),
        ("scopes", {"resourceSpans": [{"scopeSpans": [{}] * 20_000}]}),
        ("spans or records", {"resourceSpans": [{"scopeSpans": [{"spans": [{}] * 20_000}]}]}),
    ],
    ids=["resources", "scopes", "spans"],
)
def test_a_request_of_empty_messages_in_json_is_refused(name: str, content: dict[str, Any]) -> None:
    with pytest.raises(DecodeError, match=rf"^20000 {name} in \d+ bytes: they are empty"):
        to_protobuf(json.dumps(content).encode(), ExportTraceServiceRequest())
