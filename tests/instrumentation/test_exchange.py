import gzip
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tallyspan import guard, semconv
from tallyspan.estimate import estimator
from tallyspan.exchange import Exchange, begin
from tallyspan.sampling import CallTracer
from tallyspan_collector.demo.recordings import Recording, load

EXPORTER = InMemorySpanExporter()
PROVIDER = TracerProvider()
PROVIDER.add_span_processor(SimpleSpanProcessor(EXPORTER))
TRACER = CallTracer(PROVIDER, "test", "0", is_always_on=True)
RECORDINGS = load()


def open_exchange(url: str, body: bytes) -> Exchange:
    parts = urlsplit(url)
    exchange = begin(
        TRACER,
        "POST",
        (parts.scheme, parts.hostname or "", parts.port, parts.path),
        body,
    )
    assert exchange is not None
    return exchange


def attributes(exchange: Exchange) -> dict[str, Any]:
    exchange.end()
    estimator.flush()
    span = EXPORTER.get_finished_spans()[-1]
    EXPORTER.clear()
    return dict(span.attributes or {})


def replayed(recording: Recording, size: int) -> dict[str, Any]:
    exchange = open_exchange(recording.url, json.dumps(recording.request_body).encode())
    exchange.read_headers(recording.status, recording.response_headers)
    body = recording.response_body.encode()
    for start in range(0, len(body), size):
        exchange.body.feed(body[start : start + size])
    return attributes(exchange)


@given(st.sampled_from(RECORDINGS), st.integers(1, 4000))
def test_the_span_does_not_depend_on_where_the_network_cuts(
    recording: Recording, size: int
) -> None:
    whole, cut = replayed(recording, 1 << 20), replayed(recording, size)
    for said in (whole, cut):
        said.pop(semconv.TIME_TO_FIRST_CHUNK, None)

    assert cut == whole


def test_a_compressed_body_is_read_as_well() -> None:
    exchange = open_exchange("https://api.openai.com/v1/chat/completions", b'{"model":"m"}')
    exchange.read_headers(200, {"content-type": "application/json", "content-encoding": "gzip"})
    packed = gzip.compress(b'{"usage":{"prompt_tokens":7,"completion_tokens":3}}')
    for start in range(len(packed)):
        exchange.body.feed(packed[start : start + 1])

    assert attributes(exchange)["gen_ai.usage.input_tokens"] == 7


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Bad gateway</html>",
        b"",
        b"[1, 2",
        b"null",
        b'{"usage": "many", "choices": 3, "id": 7, "model": null}',
        b'{"usage": {"prompt_tokens": -1, "completion_tokens": 1e99}}',
        b'{"usage": {"prompt_tokens": true, "completion_tokens": 1.5}}',
    ],
)
@pytest.mark.parametrize("status", [200, 302, 503])
def test_a_senseless_answer_is_a_call_of_unknown_usage(body: bytes, status: int) -> None:
    exchange = open_exchange("https://api.openai.com/v1/chat/completions", b'{"model":"m"}')
    exchange.read_headers(status, {"content-type": "application/json"})
    exchange.body.feed(body)
    said = attributes(exchange)
    guard.failures.clear()

    assert said[semconv.USAGE_SOURCE] == "unknown"
    assert said[semconv.HTTP_STATUS] == status
    assert "gen_ai.usage.input_tokens" not in said


def test_a_request_of_unknown_shape_to_an_unknown_host_is_no_call() -> None:
    url = ("http", "crm.example.com", None, "/api/completions")

    assert begin(TRACER, "POST", url, b'{"task": 7}') is None


def test_a_large_request_gives_model_and_stream_without_being_parsed() -> None:
    body = json.dumps({"messages": [{"content": "x" * 50_000}], "model": "gpt-5", "stream": True})
    said = attributes(open_exchange("https://api.openai.com/v1/chat/completions", body.encode()))

    assert (said[semconv.REQUEST_MODEL], said[semconv.REQUEST_STREAM]) == ("gpt-5", True)


def test_an_exchange_nobody_ends_is_a_span_all_the_same() -> None:
    exchange = open_exchange("https://api.openai.com/v1/chat/completions", b'{"model":"m"}')
    del exchange

    assert len(EXPORTER.get_finished_spans()) == 1
    EXPORTER.clear()


MESSAGE = (
    b'data: {"type":"message_start","message":{"type":"message","id":"m1","model":"claude",'
    b'"usage":{"input_tokens":10,"cache_read_input_tokens":5,"output_tokens":1}}}\n\n'
    b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"one two three"}}\n\n'
    b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":" four five"}}\n\n'
    b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}\n\n'
)


def test_a_cut_stream_keeps_what_was_said_and_estimates_the_rest() -> None:
    cut = MESSAGE.index(b'data: {"type":"message_delta"')
    outputs = {}
    for name, body in (("cut", MESSAGE[:cut]), ("whole", MESSAGE)):
        exchange = open_exchange(
            "https://api.anthropic.com/v1/messages", b'{"model":"claude","stream":true}'
        )
        exchange.read_headers(200, {"content-type": "text/event-stream"})
        exchange.body.feed(body)
        said = attributes(exchange)
        assert said["gen_ai.usage.input_tokens"] == 15
        outputs[name] = (said[semconv.USAGE_SOURCE], said["gen_ai.usage.output_tokens"])

    assert outputs == {"cut": ("estimated", 5), "whole": ("provider", 9)}
