"""TALLYSPAN_INCLUDE_STREAM_USAGE: the usage is asked for, and the application sees none of it."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI, OpenAI
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tallyspan import endpoints, semconv
from tallyspan.endpoints import OwnRule
from tallyspan.estimate import estimator
from tallyspan.stream_usage import HiddenUsage

CHUNK = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5-mini"}
SAID = [
    CHUNK | {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}]},
    CHUNK | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
]
USAGE = CHUNK | {
    "choices": [],
    "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
}
TEXT = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in SAID]
DONE = b"data: [DONE]\n\n"
USAGE_TEXT = b"data: " + json.dumps(USAGE).encode() + b"\n\n"


class Handler(BaseHTTPRequestHandler):
    """Answers as OpenAI does: usage only if asked for. Keeps what was asked."""

    asked: list[dict[str, Any]]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append(asked)
        wants = asked.get("stream_options", {}).get("include_usage")
        body = b"".join([*TEXT, *([USAGE_TEXT] if wants else []), DONE])
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


@contextmanager
def openai_like() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    asked: list[dict[str, Any]] = []
    handler = type("Own", (Handler,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked
    finally:
        server.shutdown()
        server.server_close()


def only(spans: InMemorySpanExporter) -> dict[str, Any]:
    estimator.flush()
    (span,) = spans.get_finished_spans()
    return dict(span.attributes or {})


def stream(url: str, **options: Any) -> list[Any]:
    with OpenAI(base_url=url, api_key="k") as client:
        return list(
            client.chat.completions.create(
                model="gpt-5-mini",
                messages=[{"role": "user", "content": "hi"}],
                stream=True,
                **options,
            )
        )


def test_it_is_off_by_default(spans: InMemorySpanExporter) -> None:
    with openai_like() as (url, asked):
        stream(url)

    assert "stream_options" not in asked[0]
    assert only(spans)[semconv.USAGE_SOURCE] == "estimated"


def test_the_provider_says_usage_and_the_application_gets_the_chunks_it_would_have_had(
    spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALLYSPAN_INCLUDE_STREAM_USAGE", "1")
    with openai_like() as (url, asked):
        chunks = stream(url)

    assert asked[0]["stream_options"] == {"include_usage": True}
    assert [chunk.to_dict() for chunk in chunks] == SAID
    assert only(spans)[semconv.USAGE_SOURCE] == "provider"
    assert only(spans)["gen_ai.usage.output_tokens"] == 4


def test_async_clients_too(spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLYSPAN_INCLUDE_STREAM_USAGE", "1")

    async def run(url: str) -> list[Any]:
        async with AsyncOpenAI(base_url=url, api_key="k") as client:
            made = await client.chat.completions.create(
                model="gpt-5-mini", messages=[{"role": "user", "content": "hi"}], stream=True
            )
            return [chunk.to_dict() async for chunk in made]

    with openai_like() as (url, _):
        assert asyncio.run(run(url)) == SAID
    assert only(spans)["gen_ai.usage.input_tokens"] == 9


@pytest.mark.parametrize("wants", [True, False])
def test_an_application_that_said_what_it_wants_is_left_alone(
    spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch, wants: bool
) -> None:
    monkeypatch.setenv("TALLYSPAN_INCLUDE_STREAM_USAGE", "1")
    with openai_like() as (url, asked):
        chunks = stream(url, stream_options={"include_usage": wants})

    assert asked[0]["stream_options"] == {"include_usage": wants}
    assert (chunks[-1].usage is not None) == wants
    assert len(spans.get_finished_spans()) <= 1


def test_providers_that_would_refuse_the_option_are_not_asked(
    spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALLYSPAN_INCLUDE_STREAM_USAGE", "1")
    with openai_like() as (url, asked):
        endpoints.use([OwnRule(host="127.0.0.1", endpoint_id="e", provider="mistral_ai")])
        stream(url)

    assert "stream_options" not in asked[0]
    assert only(spans)[semconv.PROVIDER] == "mistral_ai"


@given(st.lists(st.sampled_from([*TEXT, USAGE_TEXT, DONE, b": ping\r\n\r\n"])), st.data())
def test_only_usage_events_are_taken_off_however_the_network_cuts(
    events: list[bytes], data: st.DataObject
) -> None:
    body = b"".join(events)
    hidden, got, start = HiddenUsage(), b"", 0
    while start < len(body):
        size = data.draw(st.integers(1, len(body)))
        got += hidden.feed(body[start : start + size])
        start += size

    assert got + hidden.end() == b"".join(event for event in events if event != USAGE_TEXT)
