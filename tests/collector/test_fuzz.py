"""Whatever bytes come: an error of ours with a sentence, or an answer; never anything else."""

import copy
import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import otlp_logs
from otlp_spans import CHAT, request, span
from tallyspan import answer, semconv
from tallyspan.formats import FORMATS
from tallyspan_collector.dialects import Kind, Reader
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.errors import DecodeError
from tallyspan_collector.ingest.door import admit, admit_logs
from tallyspan_collector.ledger import entry
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.read import otlp
from tallyspan_collector.read.call import columns_of
from tallyspan_collector.receiver.otlp_json import to_protobuf

pytestmark = pytest.mark.slow

SOUND = request(span(1, {**CHAT, "user.id": "ada"}), span(2, {"http.route": "/"}))
SOUND_LOGS = otlp_logs.request(otlp_logs.record(otlp_logs.CLAUDE, "claude_code.api_request"))
SOUND_JSON = MessageToDict(ExportTraceServiceRequest.FromString(SOUND))
EXAMPLES = settings(max_examples=4 * settings().max_examples)
CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=25,
)
KEYS = st.sampled_from(
    ["usage", "usageMetadata", "choices", "message", "delta", "response", "type", "model", "id",
     "input_tokens", "prompt_tokens", "completion_tokens", "output_tokens", "total_tokens",
     "prompt_tokens_details", "cached_tokens", "iterations", "tool_usage", "image_gen", "output",
     "billed_units", "meta", "bytes", "metadata", "promptTokenCount", "candidatesTokenCount",
     "promptTokensDetails", "modality", "tokenCount", "interaction", "cost", "status", "error",
     "message_start", "message_delta", "server_tool_use", "cache_creation", "data", "predictions"]
)  # fmt: skip
ANSWERS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=40,
)


def varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number: int, wire_type: int, value: bytes) -> bytes:
    return varint(number << 3 | wire_type) + (varint(len(value)) if wire_type == 2 else b"") + value


NUMBERS = st.integers(1, 16)
WIRE = st.recursive(
    st.builds(field, NUMBERS, st.just(0), st.integers(0, 2**64 - 1).map(varint))
    | st.builds(field, NUMBERS, st.just(1), st.binary(min_size=8, max_size=8))
    | st.builds(
        field,
        NUMBERS,
        st.just(2),
        st.sampled_from([each.encode() for each in CHAT]) | st.binary(max_size=20),
    )
    | st.builds(field, NUMBERS, st.sampled_from([3, 4, 5]), st.binary(max_size=4)),
    lambda inner: st.builds(field, NUMBERS, st.just(2), st.lists(inner, max_size=6).map(b"".join)),
    max_leaves=30,
)
"""Protobuf of any fields in any order, nested: sound to a parser, never what it should be."""


def changed(body: bytes, changes: list[tuple[float, int]]) -> bytes:
    made = bytearray(body)
    for place, byte in changes:
        made[int(place * len(made))] = byte
    return bytes(made)


BOOK, DIRECTORY = PriceBook.load(), Directory()


def through(body: bytes, *, is_logs: bool = False) -> None:
    """Take the way of a request: the door, the decoder, the dialects, prices, columns."""
    try:
        admitted = admit_logs(body) if is_logs else admit(body)
        decode = otlp.decode_logs if is_logs else otlp.decode
        spans = decode(admitted.blob) if admitted.blob else []
    except DecodeError:
        return
    reader = Reader()
    readings = [reader.read_log(each) if is_logs else reader.read(each) for each in spans]
    calls = [each.call for each in readings if each.call is not None]
    assert all(len(call.trace_id) == 32 and len(call.span_id) == 16 for call in calls)
    if calls:
        costs = entry.costs(calls, BOOK, DIRECTORY)
        columns = entry.columns(columns_of(calls), costs, 1, 1)
        assert {len(values) for values in columns.values()} == {len(calls)}


@EXAMPLES
@given(st.binary(max_size=400))
def test_any_bytes(body: bytes) -> None:
    through(body)


@EXAMPLES
@given(st.lists(WIRE, max_size=5).map(b"".join), st.booleans())
def test_any_protobuf(body: bytes, is_logs: bool) -> None:
    through(body, is_logs=is_logs)
    # and where spans and records are, in a scope that has what the door looks for
    scope = field(1, 2, field(1, 2, b"gen_ai.")) + field(2, 2, body)
    through(field(1, 2, field(2, 2, scope)), is_logs=is_logs)


@EXAMPLES
@given(CHANGES)
def test_a_sound_request_with_bytes_changed(changes: list[tuple[float, int]]) -> None:
    through(changed(SOUND, changes))


@EXAMPLES
@given(CHANGES)
def test_sound_logs_with_bytes_changed(changes: list[tuple[float, int]]) -> None:
    through(changed(SOUND_LOGS, changes), is_logs=True)


@EXAMPLES
@given(st.integers(0, len(SOUND)), st.integers(0, len(SOUND_LOGS)))
def test_a_sound_request_cut_short(size: int, size_of_logs: int) -> None:
    through(SOUND[:size])
    through(SOUND_LOGS[:size_of_logs], is_logs=True)


def test_the_sound_requests_are_calls() -> None:
    reader = Reader()
    (record,) = otlp.decode_logs(admit_logs(SOUND_LOGS).blob)

    assert reader.read_log(record).kind is Kind.CALL
    assert reader.read(otlp.decode(admit(SOUND).blob)[0]).kind is Kind.CALL


@EXAMPLES
@given(
    st.dictionaries(
        st.sampled_from(sorted({*CHAT, *semconv.USAGE_ATTRIBUTES.values(), semconv.CALL_ID}))
        | st.text(max_size=30).map(lambda text: f"gen_ai.{text}"),
        st.text(max_size=30) | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.booleans(),
        max_size=12,
    )
)
def test_any_attributes_of_a_genai_span(attributes: dict[str, Any]) -> None:
    through(request(span(1, {"gen_ai.operation.name": "chat", **attributes})))


@EXAMPLES
@given(JSON | st.dictionaries(st.just("resourceSpans"), JSON))
def test_any_json(said: Any) -> None:
    try:
        body = to_protobuf(json.dumps(said).encode(), ExportTraceServiceRequest())
    except DecodeError:
        return
    through(body)


def places(said: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(said, dict):
        for key, value in said.items():
            yield from places(value, (*path, key))
    elif isinstance(said, list):
        for number, value in enumerate(said):
            yield from places(value, (*path, number))


@EXAMPLES
@given(st.sampled_from([path for path in places(SOUND_JSON) if path]), JSON)
def test_sound_json_with_something_else_at_a_place(path: tuple[Any, ...], other: Any) -> None:
    said = copy.deepcopy(SOUND_JSON)
    at = said
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = other
    try:
        body = to_protobuf(json.dumps(said).encode(), ExportTraceServiceRequest())
    except DecodeError:
        return
    through(body)


@EXAMPLES
@given(st.sampled_from(sorted(FORMATS)), st.lists(ANSWERS, max_size=4))
def test_any_answer_of_a_provider_gives_plausible_counts_or_none(
    name: str, bodies: list[Any]
) -> None:
    read, reading = FORMATS[name].reader(), answer.Answer()
    for body in bodies:
        if not isinstance(body, dict):
            continue
        try:
            read(body, reading)
        except (ValueError, TypeError, AttributeError, KeyError):
            continue  # guarded and counted where it is called
    if reading.usage is not None:
        for field in semconv.USAGE_ATTRIBUTES:
            tokens = getattr(reading.usage, field)
            assert tokens is None or 0 <= tokens < 4 * answer.MAX_TOKENS


@given(st.binary(max_size=200))
def test_a_compressed_request_is_no_different(body: bytes) -> None:
    through(gzip.decompress(gzip.compress(body)))
