"""Answers that break off, redirect or come late: bytes and exceptions are those without us."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import tallyspan
from llm_server import ANSWER, STREAM
from scripted_server import Script, chunked, serving, sized
from tallyspan import guard, semconv
from tallyspan.estimate import estimator

PATH = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}]}
SSE = b"content-type: text/event-stream\r\n"
JSON = b"content-type: application/json\r\n"
PLAIN = json.dumps(ANSWER).encode()
GOOD = Script(sized(PLAIN, JSON))
Seen = tuple[list[bytes], str]
"""The bytes an application got, and what it caught at the end."""
Client = Callable[[str], Seen]


def caught(error: Exception) -> str:
    """The exception with its causes, without addresses of objects and ports."""
    return type(error).__module__ + "." + type(error).__qualname__ + ": " + str(error).split("(")[0]


def with_httpx(library: ModuleType) -> Client:
    def run(url: str) -> Seen:
        got: list[bytes] = []
        try:
            with (
                library.Client(follow_redirects=True) as client,
                client.stream("POST", url, json=BODY) as response,
            ):
                got.extend(response.iter_raw())
        except library.HTTPError as error:
            return got, caught(error)
        return got, ""

    return run


def with_async_httpx(library: ModuleType) -> Client:
    def run(url: str) -> Seen:
        got: list[bytes] = []

        async def read() -> None:
            async with (
                library.AsyncClient(follow_redirects=True) as client,
                client.stream("POST", url, json=BODY) as response,
            ):
                async for chunk in response.aiter_raw():
                    got.append(chunk)  # noqa: PERF401  what came before an exception counts

        try:
            asyncio.run(read())
        except library.HTTPError as error:
            return got, caught(error)
        return got, ""

    return run


def with_aiohttp(url: str) -> Seen:
    got: list[bytes] = []

    async def read() -> None:
        async with aiohttp.ClientSession() as session, session.post(url, json=BODY) as response:
            async for line in response.content:
                got.append(line)  # noqa: PERF401  as above

    try:
        asyncio.run(read())
    except aiohttp.ClientError as error:
        return got, caught(error)
    return got, ""


def with_requests(url: str) -> Seen:
    got: list[bytes] = []
    try:
        with requests.post(url, json=BODY, stream=True, timeout=10) as response:
            got.extend(response.iter_content(20))
    except requests.RequestException as error:
        return got, caught(error)
    return got, ""


CLIENTS: dict[str, Client] = {
    "httpx": with_httpx(httpx),
    "httpx2": with_httpx(httpx2),
    "async httpx": with_async_httpx(httpx),
    "async httpx2": with_async_httpx(httpx2),
    "aiohttp": with_aiohttp,
    "requests": with_requests,
}
BROKEN = {
    "stream ends early": Script(chunked(*STREAM[:2], headers=SSE, is_ended=False)),
    "stream is reset": Script(chunked(*STREAM[:2], headers=SSE, is_ended=False), is_reset=True),
    "reset after the usage": Script(chunked(*STREAM, headers=SSE, is_ended=False), is_reset=True),
    "JSON ends early": Script(sized(PLAIN[:-30], JSON, missing=30)),
    "JSON is reset": Script(sized(PLAIN[:-30], JSON, missing=30), is_reset=True),
    "no answer": Script(b"", is_reset=True),
    "no HTTP": Script(b"SSH-2.0-OpenSSH_9.7\r\n\r\n"),
}
ENDS = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)


@contextmanager
def instrumented(provider: TracerProvider) -> Iterator[None]:
    guard.failures.clear()
    tallyspan.instrument(tracer_provider=provider)
    try:
        yield
    finally:
        tallyspan.uninstrument()
        estimator.flush()


def attributes(spans: InMemorySpanExporter) -> list[dict[str, Any]]:
    return [dict(span.attributes or {}) for span in spans.get_finished_spans()]


@ENDS
@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN)
def test_an_answer_that_breaks_off_is_the_same_bytes_and_exception_and_one_span(
    client: Client, script: Script, tracing: tuple[TracerProvider, InMemorySpanExporter]
) -> None:
    with serving(script) as address:
        without_us = client(address + PATH)
        with instrumented(tracing[0]):
            with_us = client(address + PATH)

    assert b"".join(with_us[0]) == b"".join(without_us[0])
    assert with_us[1] == without_us[1] != ""
    (said,) = attributes(tracing[1])
    assert said[semconv.ERROR_TYPE]
    if script is BROKEN["reset after the usage"]:
        assert (said[semconv.USAGE_SOURCE], said["gen_ai.usage.output_tokens"]) == ("provider", 4)
    if script is BROKEN["stream is reset"]:
        assert (said[semconv.USAGE_SOURCE], said[semconv.RESPONSE_ID]) == ("estimated", "c1")


@ENDS
def test_interim_answers_are_passed_over(
    client: Client, tracing: tuple[TracerProvider, InMemorySpanExporter]
) -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\n"
    with serving(Script(early + GOOD.answer)) as address, instrumented(tracing[0]):
        got, error = client(address + PATH)

    assert (b"".join(got), error) == (PLAIN, "")
    (said,) = attributes(tracing[1])
    assert said[semconv.HTTP_STATUS] == 200
    assert said["gen_ai.usage.input_tokens"] == 9


@ENDS
def test_of_a_redirected_call_only_the_last_hop_has_tokens(
    client: Client, tracing: tuple[TracerProvider, InMemorySpanExporter]
) -> None:
    moved = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /eu/v1/chat/completions\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    with serving(Script(moved), GOOD) as address, instrumented(tracing[0]):
        got, error = client(address + PATH)

    assert (b"".join(got), error) == (PLAIN, "")
    said = attributes(tracing[1])
    assert [each.get("gen_ai.usage.input_tokens") for each in said][-1] == 9
    assert sum(each.get("gen_ai.usage.input_tokens", 0) for each in said) == 9
    assert {each[semconv.HTTP_STATUS] for each in said} <= {200, 307}
