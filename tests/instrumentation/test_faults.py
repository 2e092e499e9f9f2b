"""A fault in any step of ours leaves result, exceptions and bytes of a call as they were."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import aiohttp
import httpx
import pytest
import requests
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import tallyspan
from llm_server import ANSWER, STREAM, serving
from tallyspan import (
    body,
    counting,
    ending,
    exchange,
    opening,
    recognise,
    request,
    span,
    stream_usage,
)
from tallyspan.formats import openai_chat
from tallyspan.framing import encoding, lines, whole
from tallyspan.guard import failures

MODULES = (
    counting,
    ending,
    opening,
    recognise,
    request,
    span,
    openai_chat,
    encoding,
    lines,
    whole,
    stream_usage,
)
CORE = ((exchange.Exchange, ("read_headers", "_facts", "_write", "scope")),
        (body.Body, ("open", "_read_batch", "_read", "end")))  # fmt: skip
BODY = {"model": "gpt-5-mini", "messages": []}


def functions(module: ModuleType) -> list[str]:
    return [
        name
        for name, each in vars(module).items()
        if inspect.isfunction(each) and each.__module__ == module.__name__
    ]


FAULTS = [(module, name) for module in MODULES for name in functions(module)]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving() as url:
        yield url + "/v1/chat/completions"


@pytest.fixture
def instrumented(tracing: tuple[TracerProvider, InMemorySpanExporter]) -> Iterator[None]:
    failures.clear()
    tallyspan.instrument(tracer_provider=tracing[0])
    yield
    tallyspan.uninstrument()


def with_httpx(url: str) -> tuple[Any, bytes]:
    with httpx.Client() as client:
        plain = client.post(url, json=BODY).json()
        with client.stream("POST", url, json={**BODY, "stream": True}) as response:
            return plain, b"".join(response.iter_bytes())


def with_async_httpx(url: str) -> tuple[Any, bytes]:
    async def run() -> tuple[Any, bytes]:
        async with httpx.AsyncClient() as client:
            plain = (await client.post(url, json=BODY)).json()
            async with client.stream("POST", url, json={**BODY, "stream": True}) as response:
                return plain, b"".join([chunk async for chunk in response.aiter_bytes()])

    return asyncio.run(run())


def with_requests(url: str) -> tuple[Any, bytes]:
    plain = requests.post(url, json=BODY, timeout=10).json()
    with requests.post(url, json={**BODY, "stream": True}, stream=True, timeout=10) as response:
        return plain, b"".join(response.iter_content(7))


def with_aiohttp(url: str) -> tuple[Any, bytes]:
    async def run() -> tuple[Any, bytes]:
        async with aiohttp.ClientSession() as session:
            async with session.post(url, json=BODY) as response:
                plain = await response.json()
            async with session.post(url, json={**BODY, "stream": True}) as response:
                return plain, b"".join([chunk async for chunk in response.content.iter_any()])

    return asyncio.run(run())


CLIENTS = [with_httpx, with_async_httpx, with_requests, with_aiohttp]


def boom(*_: object, **__: object) -> None:
    raise RuntimeError("a fault of ours")


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("module", "name"), FAULTS, ids=lambda each: getattr(each, "__name__", each)
)
def test_a_fault_in_a_function_stays_ours(
    client: Callable[[str], tuple[Any, bytes]],
    module: ModuleType,
    name: str,
    server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for other in (exchange, *MODULES):
        if getattr(other, name, None) is getattr(module, name):
            monkeypatch.setattr(other, name, boom)

    assert client(server) == (ANSWER, b"".join(STREAM))


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("owner", "name"), [(owner, name) for owner, names in CORE for name in names]
)
def test_a_fault_in_the_core_stays_ours_and_is_counted(
    client: Callable[[str], tuple[Any, bytes]],
    owner: type,
    name: str,
    server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(owner, name, boom)

    assert client(server) == (ANSWER, b"".join(STREAM))
    assert sum(failures.values()) > 0
