"""Each recorded exchange over a socket, through each HTTP client: the same spans as through httpx.

`test_recordings.py` compares the spans of httpx with what an independent reader sees. Here the
other clients are compared with those, at the recording's own host: the server is their proxy.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx
import pytest
import requests
import urllib3
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import recording_files
from tallyspan import semconv
from tallyspan.background import Background
from tallyspan.estimate import estimator

RECORDINGS = [recording_files.load(path) for path in recording_files.files()]
WHICH = "x-recording"
OF_THE_WIRE = {"content-length", "transfer-encoding", "connection", "date", "server"}
"""Headers that a server sets by what it really sends."""
NOT_COMPARED = {semconv.TIME_TO_FIRST_CHUNK, semconv.SERVER_PORT}
Send = Callable[[str, recording_files.Exchange, dict[str, str]], object]


class Replaying(BaseHTTPRequestHandler):
    """Answers with the recording that the request names."""

    protocol_version = "HTTP/1.1"
    wbufsize = 4_000
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        """Acknowledge each packet at once: some clients send a body only then."""
        if hasattr(socket, "TCP_QUICKACK"):
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        super().handle_one_request()

    def do(self) -> None:
        """Read the request whole, then answer it."""
        self.rfile.read(int(self.headers.get("content-length") or 0))
        recording = RECORDINGS[int(self.headers[WHICH])]
        self.send_response(recording.status)
        for name, value in recording.response_headers.items():
            if name.lower() not in OF_THE_WIRE:
                self.send_header(name, value)
        body = recording.response_body
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = do  # noqa: N815  named by http.server

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def replaying() -> Iterator[str]:
    """Yield the address of a proxy that answers for all hosts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Replaying)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def proxy() -> Iterator[str]:
    with replaying() as address:
        yield address


def with_httpx(proxy: str) -> Iterator[Send]:
    with httpx.Client(proxy=proxy, trust_env=False) as client:

        def send(url: str, recording: recording_files.Exchange, headers: dict[str, str]) -> None:
            body = recording.request_body
            with client.stream(recording.method, url, content=body, headers=headers) as answer:
                for _ in answer.iter_raw():
                    pass

        yield send


def with_httpx_async(proxy: str) -> Iterator[Send]:
    with asyncio.Runner() as runner:
        client = httpx.AsyncClient(proxy=proxy, trust_env=False)

        async def send_one(
            url: str, recording: recording_files.Exchange, headers: dict[str, str]
        ) -> None:
            await client.request(
                recording.method, url, content=recording.request_body, headers=headers
            )

        yield lambda *each: runner.run(send_one(*each))
        runner.run(client.aclose())


def with_aiohttp(proxy: str) -> Iterator[Send]:
    with asyncio.Runner() as runner:
        session = runner.run(_session())

        async def send_one(
            url: str, recording: recording_files.Exchange, headers: dict[str, str]
        ) -> None:
            body = recording.request_body
            async with session.request(
                recording.method, url, data=body, headers=headers, proxy=proxy
            ) as answer:
                await answer.read()

        yield lambda *each: runner.run(send_one(*each))
        runner.run(session.close())


async def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession()


def with_requests(proxy: str) -> Iterator[Send]:
    with requests.Session() as session:
        session.trust_env = False

        def send(url: str, recording: recording_files.Exchange, headers: dict[str, str]) -> None:
            with session.request(
                recording.method,
                url,
                data=recording.request_body,
                headers=headers,
                stream=True,
                proxies={"http": proxy},
                timeout=10,
            ) as answer:
                for _ in answer.iter_content(1_000):
                    pass

        yield send


def with_urllib3(proxy: str) -> Iterator[Send]:
    with urllib3.ProxyManager(proxy) as pool:
        yield lambda url, recording, headers: pool.request(
            recording.method, url, body=recording.request_body, headers=headers, redirect=False
        )


def seen(spans: InMemorySpanExporter) -> list[dict[str, Any]]:
    """Return the attributes of the spans so far, and forget them."""
    estimator.flush()
    attributes = [dict(span.attributes or {}) for span in spans.get_finished_spans()]
    spans.clear()
    return [
        {name: value for name, value in each.items() if name not in NOT_COMPARED}
        for each in attributes
    ]


@pytest.fixture
def expected(spans: InMemorySpanExporter) -> list[list[dict[str, Any]]]:
    """Of each recording the spans of httpx, without a socket."""
    if not _EXPECTED:
        _EXPECTED.extend(of_httpx(spans))
    return _EXPECTED


_EXPECTED: list[list[dict[str, Any]]] = []


def of_httpx(spans: InMemorySpanExporter) -> list[list[dict[str, Any]]]:
    of_each = []
    answers = iter(RECORDINGS)

    def answer(_: httpx.Request) -> httpx.Response:
        recording = next(answers)
        body = httpx.ByteStream(recording.response_body)
        return httpx.Response(recording.status, headers=recording.response_headers, stream=body)

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        for recording in RECORDINGS:
            with nothing_remembered():
                client.request(
                    recording.method,
                    url_of(recording),
                    content=recording.request_body,
                    headers=headers_of(recording),
                )
            of_each.append(seen(spans))
    return of_each


@contextmanager
def nothing_remembered() -> Iterator[None]:
    """Forget the background answers that other recordings began."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tallyspan.exchange.background", Background())
        yield


def url_of(recording: recording_files.Exchange) -> str:
    return urlsplit(recording.url)._replace(scheme="http").geturl()


def headers_of(recording: recording_files.Exchange) -> dict[str, str]:
    return {
        name: value
        for name, value in recording.request_headers.items()
        if name.lower() not in {*OF_THE_WIRE, "host", "accept-encoding"}
    }


@pytest.mark.parametrize(
    "client", [with_httpx, with_httpx_async, with_aiohttp, with_requests, with_urllib3]
)
def test_each_client_gives_the_spans_that_httpx_gives(
    client: Callable[[str], Iterator[Send]],
    proxy: str,
    spans: InMemorySpanExporter,
    expected: list[list[dict[str, Any]]],
) -> None:
    different: list[str] = []
    with contextmanager(client)(proxy) as send:
        for number, recording in enumerate(RECORDINGS):
            with nothing_remembered():
                send(url_of(recording), recording, headers_of(recording) | {WHICH: str(number)})
            if (got := seen(spans)) != expected[number]:
                name = f"{recording.format}/{recording.name}"
                different.append(f"{name}: {got} != {expected[number]}")
    assert different == []
