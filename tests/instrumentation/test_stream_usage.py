"""TALLYSPAN_INCLUDE_STREAM_USAGE: the usage is asked for, and the application sees none of it."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import aiohttp
import pytest
import requests
import urllib3
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI, OpenAI
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tallyspan import recognise, semconv
from tallyspan.estimate import estimator
from tallyspan.formats import FORMATS
from tallyspan.recognise import OwnRule
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
OPTION = FORMATS["openai_chat"].usage_option
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
        recognise.use([OwnRule(host="127.0.0.1", endpoint_id="e", provider="mistral_ai")])
        stream(url)

    assert "stream_options" not in asked[0]
    assert only(spans)[semconv.PROVIDER] == "mistral_ai"


@given(st.lists(st.sampled_from([*TEXT, USAGE_TEXT, DONE, b": ping\r\n\r\n"])), st.data())
def test_only_usage_events_are_taken_off_however_the_network_cuts(
    events: list[bytes], data: st.DataObject
) -> None:
    assert OPTION is not None
    body = b"".join(events)
    hidden, got, start = HiddenUsage(OPTION), b"", 0
    while start < len(body):
        size = data.draw(st.integers(1, len(body)))
        got += hidden.feed(body[start : start + size])
        start += size

    assert got + hidden.end() == b"".join(event for event in events if event != USAGE_TEXT)


ASKED: dict[str, Any] = {
    "model": "gpt-5-mini",
    "messages": [{"role": "user", "content": "hi"}],
    "stream": True,
}
SHOWN = b"".join([*TEXT, DONE])


def with_requests(url: str) -> bytes:
    with requests.post(url, json=ASKED, stream=True, timeout=10) as response:
        return b"".join(response.iter_content(7))


def with_requests_at_once(url: str) -> bytes:
    return requests.post(url, json=ASKED, timeout=10).content


def with_urllib3(read: Callable[[Any], bytes]) -> Callable[[str], bytes]:
    def run(url: str) -> bytes:
        with urllib3.PoolManager() as pool:
            headers = {"content-type": "application/json", "Accept-Encoding": "gzip"}
            body = json.dumps(ASKED)
            response = pool.request("POST", url, body=body, headers=headers, preload_content=False)
            got = read(response)
            response.release_conn()
            return got

    return run


def in_reads_of_five(response: Any) -> bytes:
    parts = list(iter(lambda: response.read(5), b""))
    assert all(len(part) == 5 for part in parts[:-1])
    return b"".join(parts)


def in_short_reads(response: Any) -> bytes:
    return b"".join(iter(lambda: response.read1(5), b""))


def with_aiohttp(read: Callable[[Any], Any], **kwargs: Any) -> Callable[[str], bytes]:
    def run(url: str) -> bytes:
        async def send() -> bytes:
            sent = kwargs or {"json": ASKED}
            async with aiohttp.ClientSession() as session, session.post(url, **sent) as response:
                got = await read(response)
                assert response.content.at_eof()
                return b"".join(got)

        return asyncio.run(send())

    return run


async def lines(response: Any) -> list[bytes]:
    got = [line async for line in response.content]
    assert all(line.count(b"\n") == 1 for line in got)
    return got


async def chunks(response: Any) -> list[bytes]:
    return [chunk async for chunk in response.content.iter_any()]


async def chunks_of_five(response: Any) -> list[bytes]:
    got = [chunk async for chunk in response.content.iter_chunked(5)]
    assert all(len(chunk) <= 5 for chunk in got)
    return got


async def chunks_and_ends(response: Any) -> list[bytes]:
    return [chunk async for chunk, _ in response.content.iter_chunks()]


async def exactly(response: Any) -> list[bytes]:
    got = [await response.content.readexactly(len(SHOWN))]
    with pytest.raises(asyncio.IncompleteReadError):
        await response.content.readexactly(1)
    return got


async def at_once(response: Any) -> list[bytes]:
    return [await response.read()]


READERS = {
    "requests": with_requests,
    "requests at once": with_requests_at_once,
    "urllib3 stream": with_urllib3(lambda response: b"".join(response.stream(9))),
    "urllib3 read": with_urllib3(lambda response: response.read()),
    "urllib3 read n": with_urllib3(in_reads_of_five),
    "urllib3 read1": with_urllib3(in_short_reads),
    "aiohttp lines": with_aiohttp(lines),
    "aiohttp chunks": with_aiohttp(chunks),
    "aiohttp chunks of n": with_aiohttp(chunks_of_five),
    "aiohttp chunks and ends": with_aiohttp(chunks_and_ends),
    "aiohttp exactly": with_aiohttp(exactly),
    "aiohttp at once": with_aiohttp(at_once),
    "aiohttp data": with_aiohttp(lines, data=json.dumps(ASKED)),
}


@pytest.mark.parametrize("client", READERS.values(), ids=READERS)
def test_other_clients_get_the_bytes_they_would_have_had(
    client: Callable[[str], bytes], spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALLYSPAN_INCLUDE_STREAM_USAGE", "1")
    with openai_like() as (url, asked):
        got = client(url + "/chat/completions")

    assert got == SHOWN
    assert asked == [ASKED | {"stream_options": {"include_usage": True}}]
    said = only(spans)
    assert (said[semconv.USAGE_SOURCE], said["gen_ai.usage.output_tokens"]) == ("provider", 4)


def test_a_body_that_urllib3_reads_at_once_is_not_asked_for_more(
    spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALLYSPAN_INCLUDE_STREAM_USAGE", "1")
    with openai_like() as (url, asked), urllib3.PoolManager() as pool:
        response = pool.request("POST", url + "/chat/completions", body=json.dumps(ASKED))

    assert response.data == SHOWN
    assert asked == [ASKED]
    assert only(spans)[semconv.USAGE_SOURCE] == "estimated"
