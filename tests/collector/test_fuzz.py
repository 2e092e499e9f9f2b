"""Whatever bytes come: an error of ours with a sentence, or an answer; never anything else."""

import gzip
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otlp_spans import CHAT, request, span
from tallyspan import answer, semconv
from tallyspan.providers import FORMATS, open_format
from tallyspan_collector import otlp
from tallyspan_collector.dialects import Reader
from tallyspan_collector.errors import DecodeError
from tallyspan_collector.ingest.door import admit
from tallyspan_collector.receiver.otlp_json import to_protobuf

SOUND = request(span(1, {**CHAT, "user.id": "ada"}), span(2, {"http.route": "/"}))
EXAMPLES = settings(max_examples=400)
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


def through(body: bytes) -> None:
    """Take the way of a request: the door, the decoder, the dialects."""
    try:
        admitted = admit(body)
        spans = otlp.decode(admitted.blob) if admitted.blob else []
    except DecodeError:
        return
    reader = Reader()
    for each in spans:
        reading = reader.read(each)
        if reading.call is not None:
            assert len(reading.call.trace_id) == 32


@EXAMPLES
@given(st.binary(max_size=400))
def test_any_bytes(body: bytes) -> None:
    through(body)


@EXAMPLES
@given(st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), max_size=12))
def test_a_sound_request_with_bytes_changed(changes: list[tuple[int, int]]) -> None:
    body = bytearray(SOUND)
    for place, byte in changes:
        body[place] = byte
    through(bytes(body))


@EXAMPLES
@given(st.integers(0, len(SOUND)))
def test_a_sound_request_cut_short(size: int) -> None:
    through(SOUND[:size])


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


@EXAMPLES
@given(st.sampled_from(sorted(FORMATS)), st.lists(ANSWERS, max_size=4))
def test_any_answer_of_a_provider_gives_plausible_counts_or_none(
    name: str, bodies: list[Any]
) -> None:
    wire, made = open_format(name), answer.Answer()
    for body in bodies:
        if not isinstance(body, dict):
            continue
        try:
            wire.read(body, made)
        except (ValueError, TypeError, AttributeError, KeyError):
            continue  # guarded and counted where it is called
    if made.usage is not None:
        for field in semconv.USAGE_ATTRIBUTES:
            tokens = getattr(made.usage, field)
            assert tokens is None or 0 <= tokens < 4 * answer.TOKENS_LIMIT


@given(st.binary(max_size=200))
def test_a_compressed_request_is_no_different(body: bytes) -> None:
    through(gzip.decompress(gzip.compress(body)))
