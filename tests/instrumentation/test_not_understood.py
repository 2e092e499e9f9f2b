"""Requests to a provider's own host that no format knows are counted, and nothing private is told."""

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any, cast

import aiohttp
import httpx
import openai
import pytest
import requests
import urllib3
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llm_server import serving
from tallyspan import semconv
from tallyspan.not_understood import MAX_DIFFERENT, SPAN_NAME, Sightings, pattern_of, sightings
from tallyspan.sampling import CallTracer


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The local provider, under the name of a real one."""
    resolve = socket.getaddrinfo

    def locally(host: Any, *args: Any, **kwargs: Any) -> Any:
        return resolve("127.0.0.1" if host == "api.openai.com" else host, *args, **kwargs)

    with serving() as local:
        monkeypatch.setattr(socket, "getaddrinfo", locally)
        sightings.reset()
        yield f"http://api.openai.com:{local.rpartition(':')[2]}"
        sightings.reset()


def with_httpx(url: str) -> None:
    httpx.post(url, json={})


def with_requests(url: str) -> None:
    requests.post(url, json={}, timeout=10)


def with_urllib3(url: str) -> None:
    with urllib3.PoolManager() as pool:
        pool.request("POST", url, body=b"{}")


def with_aiohttp(url: str) -> None:
    async def run() -> None:
        async with aiohttp.ClientSession() as session, session.post(url, json={}) as response:
            await response.read()

    asyncio.run(run())


class OverAiohttp(httpx.AsyncBaseTransport):
    """Sends what comes from httpx by a session of aiohttp, to another path if there is one."""

    def __init__(self, other_path: str = "") -> None:
        self._other_path = other_path

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url.copy_with(raw_path=self._other_path.encode() or request.url.raw_path)
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, str(url), data=await request.aread()) as response,
        ):
            return httpx.Response(response.status, content=await response.read())


def with_httpx_over_aiohttp(url: str, other_path: str = "") -> None:
    async def run() -> None:
        async with httpx.AsyncClient(transport=OverAiohttp(other_path)) as client:
            await client.post(url, json={})

    asyncio.run(run())


def with_openai_over_aiohttp(url: str) -> None:
    async def run() -> None:
        async with openai.DefaultAioHttpClient() as client:
            await client.post(url, json={})

    asyncio.run(run())


def told(spans: InMemorySpanExporter) -> list[Any]:
    return [
        line
        for each in spans.get_finished_spans()
        for line in cast("tuple[str, ...]", (each.attributes or {}).get(semconv.NOT_UNDERSTOOD, ()))
    ]


@pytest.mark.parametrize(
    "send",
    [
        with_httpx,
        with_requests,
        with_urllib3,
        with_aiohttp,
        with_httpx_over_aiohttp,
        with_openai_over_aiohttp,
    ],
)
def test_a_new_api_is_told_of_with_its_path_and_nothing_else(
    address: str,
    spans: InMemorySpanExporter,
    tracing: tuple[TracerProvider, InMemorySpanExporter],
    send: Any,
) -> None:
    with tracing[0].get_tracer("app").start_as_current_span("a request of the application"):
        send(f"{address}/v1/holograms/acme-merger/render?key=secret")

    sightings.tell()
    span, _ = spans.get_finished_spans()
    assert told(spans) == ["1 POST api.openai.com/v1/holograms/*/render"]
    assert (span.name, span.parent) == (SPAN_NAME, None)
    assert set(span.attributes or {}) == {semconv.NOT_UNDERSTOOD}
    assert "secret" not in json.dumps(dict(span.attributes or {}))


def test_what_a_transport_sends_elsewhere_or_later_is_another_request(
    address: str, spans: InMemorySpanExporter
) -> None:
    with_httpx_over_aiohttp(f"{address}/v1/a%20b", "/v1/holograms")
    with_httpx_over_aiohttp(f"{address}/v1/a%20b")
    with_aiohttp(f"{address}/v1/a%20b")
    sightings.tell()

    assert sorted(told(spans)) == [
        "1 POST api.openai.com/v1/*",
        "1 POST api.openai.com/v1/holograms",
        "2 POST api.openai.com/v1/*",
    ]


def test_what_bills_nothing_and_other_hosts_are_not_told_of(
    address: str, spans: InMemorySpanExporter
) -> None:
    for path in ("/v1/models", "/v1/models/gpt-5", "/v1/files", "/v1/files/file-1/content"):
        httpx.get(address + path)
    httpx.post(address.replace("api.openai.com", "127.0.0.1") + "/v1/holograms", json={})

    assert told(spans) == []


def test_the_first_request_is_told_at_once_the_others_once_a_minute(
    spans: InMemorySpanExporter, tracing: tuple[TracerProvider, InMemorySpanExporter]
) -> None:
    tracer = CallTracer(tracing[0], "test", "", is_always_on=False)
    clock = [0.0]
    counted = Sightings(lambda: clock[0])
    for second in (0.0, 1.0, 59.0, 60.0, 61.0):
        clock[0] = second
        counted.note(tracer, "POST", "api.openai.com", "/v1/hologram")
    before = told(spans)
    counted.tell()
    counted.tell()

    hologram = "POST api.openai.com/v1/hologram"
    assert before == [f"1 {hologram}", f"3 {hologram}"]
    assert told(spans) == [*before, f"1 {hologram}"]


def test_however_many_paths_there_are_a_bounded_number_is_told_apart(
    spans: InMemorySpanExporter, tracing: tuple[TracerProvider, InMemorySpanExporter]
) -> None:
    tracer = CallTracer(tracing[0], "test", "", is_always_on=False)
    counted = Sightings(lambda: 0.0)
    counted.note(tracer, "POST", "api.openai.com", "/first")  # is told at once
    words = [f"{one}{other}{third}" for one in "abcde" for other in "abcde" for third in "abcde"]
    for word in words:
        counted.note(tracer, "POST", "api.openai.com", f"/v1/{word}")
    counted.tell()

    lines = told(spans)[1:]
    assert len(lines) == MAX_DIFFERENT + 1
    assert f"{len(words) - MAX_DIFFERENT} POST api.openai.com/*" in lines


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("/v1/hologram", "/v1/hologram"),
        ("/v1/holograms/holo_8fe2a1/frames", "/v1/holograms/*/frames"),
        ("/openai/deployments/acme-merger/hologram", "/openai/deployments/*/hologram"),
        ("/v1beta/models/ada:renderHologram", "/v1beta/models/*:renderHologram"),
        ("/v1/projects/acme/locations/us/agents/7:ask", "/v1/projects/*/locations/*/agents/*:ask"),
        ("/v1/chat/completions/hologram", "/v1/chat/completions/*"),
        ("/v1/ada@example.com/0b5c2f", "/v1/*/*"),
        ("/a/b/" + "c/" * 20, "/*" * 8 + "/*"),
    ],
)
def test_of_a_path_only_the_words_of_an_api_are_told(path: str, pattern: str) -> None:
    assert pattern_of(path) == pattern
