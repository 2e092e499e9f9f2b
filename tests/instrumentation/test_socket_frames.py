"""Whatever frames a message comes in, the application gets it unchanged, and its usage is read."""

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from threading import Thread
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import trio
import websockets.asyncio.client
import websockets.sync.client
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

import tallyspan
from tallyspan import __version__, semconv
from tallyspan.guard import failures
from tallyspan.sampling import CallTracer
from tallyspan.session import Frames, open_session


def response(number: int) -> list[dict[str, Any]]:
    """Return the events of a response with so many input tokens."""
    about = {"id": f"resp_{number}", "status": "completed", "note": "é😀" * number}
    usage = {"input_tokens": number, "output_tokens": 1}
    return [
        {"type": "response.created", "response": about},
        {"type": "response.output_text.delta", "response_id": about["id"], "delta": "é😀"},
        {"type": "response.done", "response": about | {"usage": usage}},
    ]


MESSAGES = [
    json.dumps(event, ensure_ascii=False) for number in (1, 2) for event in response(number)
]
CUTS = st.lists(st.lists(st.integers(0, 80), max_size=4), min_size=6, max_size=6)
"""For each message the places where it is cut into frames."""


def cut(message: Any, places: list[int]) -> list[Any]:
    borders = [0, *sorted({min(place, len(message)) for place in places}), len(message)]
    return [message[start:end] for start, end in itertools.pairwise(borders)]


def told(exporter: InMemorySpanExporter) -> list[tuple[Any, Any]]:
    """Return id and input tokens of each call; None: they are unknown."""
    spans = (dict(span.attributes or {}) for span in exporter.get_finished_spans())
    return [(each[semconv.RESPONSE_ID], each.get("gen_ai.usage.input_tokens")) for each in spans]


@contextmanager
def tracing() -> Iterator[tuple[TracerProvider, InMemorySpanExporter]]:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider, exporter


@given(CUTS, st.integers(0, len(MESSAGES)), st.booleans())
def test_usage_does_not_depend_on_frames_and_what_has_no_end_is_not_read(
    cuts: list[list[int]], whole: int, is_view: bool
) -> None:
    with tracing() as (provider, exporter):
        tracer = CallTracer(provider, "test", __version__, is_always_on=True)
        session = open_session(tracer, ("wss", "api.openai.com", None, "/v1/realtime", ""))
        assert session is not None
        frames = Frames(session)
        for number, (message, places) in enumerate(zip(MESSAGES, cuts, strict=True)):
            parts = cut(message.encode(), places)
            for at, part in enumerate(parts):
                is_last = number < whole and at == len(parts) - 1
                data = memoryview(part) if is_view else part
                frames.feed(data, begins=at == 0, ends=is_last)
        session.end("lost")

    expected: list[tuple[Any, Any]] = []
    for number in (1, 2):
        first, last = 3 * number - 3, 3 * number - 1
        if whole > first:
            expected.append((f"resp_{number}", number if whole > last else None))
    assert told(exporter) == expected


Receive = Callable[[str], tuple[list[Any], str]]
"""Reads a socket to its end; returns what came, and with which exception it ended."""


def by_threads(address: str) -> tuple[list[Any], str]:
    got: list[Any] = []
    with websockets.sync.client.connect(address) as connection:
        try:
            while True:
                got.append(connection.recv(decode=False))
        except ConnectionClosed as error:
            return got, type(error).__name__


def by_threads_in_parts(address: str) -> tuple[list[Any], str]:
    got: list[Any] = []
    with websockets.sync.client.connect(address) as connection:
        try:
            while True:
                got.append(list(connection.recv_streaming()))
        except ConnectionClosed as error:
            return got, type(error).__name__


def by_asyncio(address: str) -> tuple[list[Any], str]:
    async def run() -> tuple[list[Any], str]:
        got: list[Any] = []
        async with websockets.asyncio.client.connect(address) as connection:
            try:
                while True:
                    got.append(await connection.recv())
            except ConnectionClosed as error:
                return got, type(error).__name__

    return asyncio.run(run())


def by_trio(address: str) -> tuple[list[Any], str]:
    async def run() -> tuple[list[Any], str]:
        got: list[Any] = []
        async with import_module("websockets.trio.client").connect(address) as connection:
            try:
                while True:
                    got.append(await connection.recv())
            except ConnectionClosed as error:
                return got, type(error).__name__

    return trio.run(run)


def by_aiohttp(address: str) -> tuple[list[Any], str]:
    async def run() -> tuple[list[Any], str]:
        async with aiohttp.ClientSession() as session, session.ws_connect(address) as socket:
            got: list[Any] = []
            async for message in socket:
                if message.type is aiohttp.WSMsgType.ERROR:
                    return got, type(message.data).__name__
                got.append(message.data)
            return got, str(socket.close_code)

    return asyncio.run(run())


def by_websocket_client(address: str) -> tuple[list[Any], str]:
    module = import_module("websocket")
    got: list[Any] = []
    ws = module.create_connection(address, timeout=10)
    while (message := ws.recv_data(control_frame=True))[0] != module.ABNF.OPCODE_CLOSE:
        if message[0] != module.ABNF.OPCODE_PING:
            got.append(message)
    ws.shutdown()
    return got, str(message)


def by_httpx(library: str) -> Receive:
    def receive(address: str) -> tuple[list[Any], str]:
        got: list[Any] = []
        ending = ""
        module = import_module("httpx2.websockets" if library == "httpx2" else library)
        with (httpx2 if library == "httpx2" else httpx).Client(verify=False) as http:
            of_httpx2 = getattr(http, "websocket", None)
            opening = of_httpx2(address) if of_httpx2 else module.connect_ws(address, http)
            with opening as socket:
                try:
                    while True:
                        got.append(socket.receive_text())
                except module.HTTPXWSException as error:
                    ending = repr(error)
        return got, ending

    return receive


def by_httpx_with_asyncio(library: str) -> Receive:
    async def receive(address: str) -> tuple[list[Any], str]:
        got: list[Any] = []
        ending = ""
        module = import_module("httpx2.websockets" if library == "httpx2" else library)
        async with (httpx2 if library == "httpx2" else httpx).AsyncClient(verify=False) as http:
            of_httpx2 = getattr(http, "websocket", None)
            opening = of_httpx2(address) if of_httpx2 else module.aconnect_ws(address, http)
            async with opening as socket:
                try:
                    while True:
                        got.append(await socket.receive_text())
                except module.HTTPXWSException as error:
                    ending = repr(error)
        return got, ending

    return lambda address: asyncio.run(receive(address))


class InterruptedMessageError(Exception):
    """Ends a message in its middle, and with it the socket."""


@contextmanager
def sending(cuts: list[list[int]], whole: int) -> Iterator[str]:
    """Yield the address of a server that sends so many messages whole, and a part of the next."""

    def answer(connection: ServerConnection) -> None:
        for message, places in itertools.islice(zip(MESSAGES, cuts, strict=True), whole):
            connection.send(iter(cut(message, places)))
            connection.ping()
        if whole < len(MESSAGES):

            def beginning() -> Iterator[str]:
                yield MESSAGES[whole][:5]
                yield MESSAGES[whole][5:9]
                raise InterruptedMessageError

            with suppress(InterruptedMessageError):
                connection.send(beginning())

    with serve(answer, "127.0.0.1", 0) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield "ws://{}:{}/v1/realtime".format(*server.socket.getsockname()[:2])
        finally:
            server.shutdown()
            thread.join()


CLIENTS = {
    "websockets": by_threads,
    "websockets in parts": by_threads_in_parts,
    "websockets with asyncio": by_asyncio,
    "websockets with trio": by_trio,
    "aiohttp": by_aiohttp,
    "websocket-client": by_websocket_client,
    **{library: by_httpx(library) for library in ("httpx_ws", "httpx2")},
    **{
        f"{library} with asyncio": by_httpx_with_asyncio(library)
        for library in ("httpx_ws", "httpx2")
    },
}


def needs(client: str) -> list[pytest.MarkDecorator]:
    wanted = {"httpx_ws": "httpx_ws", "httpx2": "wsproto", "websocket-client": "websocket"}
    wanted |= {"websockets with trio": "websockets.trio"}
    module = wanted.get(client) or wanted.get(client.partition(" ")[0])
    is_lacking = module is not None and find_spec(module) is None
    return [pytest.mark.skipif(is_lacking, reason="install the extra dev")]


@pytest.mark.parametrize(
    "receive", [pytest.param(each, id=name, marks=needs(name)) for name, each in CLIENTS.items()]
)
@settings(max_examples=4)
@given(cuts=CUTS, whole=st.sampled_from([1, 2, 3, 5, 6]))
def test_an_application_gets_what_it_would_get_without_us_and_usage_is_the_same(
    receive: Receive, cuts: list[list[int]], whole: int
) -> None:
    failures.clear()
    with sending(cuts, whole) as address, tracing() as (provider, exporter):
        without_us = receive(address)
        tallyspan.instrument(tracer_provider=provider)
        try:
            got = receive(address)
        finally:
            tallyspan.uninstrument()

    assert got == without_us
    assert len(got[0]) == whole
    calls: list[tuple[Any, Any]] = [
        (f"resp_{number}", number) for number in (1, 2) if whole >= 3 * number
    ]
    if whole % 3:
        calls.append((f"resp_{whole // 3 + 1}", None))
    assert told(exporter) == calls
    assert not failures


KEYS = st.sampled_from([
    "type", "response", "id", "event", "decision", "usage", "usageMetadata", "serverContent", "turnComplete", "session",
    "model", "modelTurn", "toolCall", "toolResponse", "setup", "error", "event_id", "stream_id",
    "item_id", "content_index", "input_tokens", "input_token_details", "promptTokenCount",
    "responseTokenCount", "groundingMetadata", "groundingChunks", "status", "status_details",
])  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    | st.sampled_from([
        "response.create", "response.created", "response.done", "response.failed", "error",
        "session.updated", "session.closed", "response.event", "decision.event", "conversation.item.input_audio_transcription.completed",
    ])
)  # fmt: skip
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
ADDRESSES = [
    ("api.openai.com", "/v1/realtime"),
    ("api.openai.com", "/v1/responses"),
    ("api.openai.com", "/v1/live/sessions"),
    ("generativelanguage.googleapis.com",
     "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"),
]  # fmt: skip


@settings(max_examples=max(30, settings().max_examples - 100))  # `make fuzz` tries many more
@given(
    address=st.sampled_from(ADDRESSES),
    messages=st.lists(st.tuples(st.booleans(), st.dictionaries(KEYS, JSON)), max_size=8),
)
def test_whatever_is_said_nothing_fails_and_there_are_no_more_calls_than_messages(
    address: tuple[str, str], messages: list[tuple[bool, dict[str, Any]]]
) -> None:
    failures.clear()
    with tracing() as (provider, exporter):
        tracer = CallTracer(provider, "test", __version__, is_always_on=True)
        session = open_session(tracer, ("wss", address[0], None, address[1], ""))
        assert session is not None
        for is_sent, message in messages:
            (session.sent if is_sent else session.received)(json.dumps(message))
        session.end("lost")

    assert len(exporter.get_finished_spans()) <= len(messages)
    assert not failures
