"""What a client may send before it is known, how long it may take, and how many there may be."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tallyspan_collector.server import descriptors, http_protocol, listener
from tallyspan_collector.server.listener import HttpServer

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Streams]]
HEAD = b"POST / HTTP/1.1\r\nhost: x\r\n"


async def answer(request: Request) -> PlainTextResponse:
    assert request.client is not None
    return PlainTextResponse(f"{request.client.host} {len(await request.body())}")


@asynccontextmanager
async def listening(trusted_proxies: str = "") -> AsyncIterator[Connect]:
    app = Starlette(routes=[Route("/", answer, methods=["POST"])])
    server = HttpServer(app, trusted_proxies=trusted_proxies)
    host, _, port = (await server.start("--admin", "127.0.0.1:0")).rpartition(":")
    writers: list[asyncio.StreamWriter] = []

    async def connect() -> Streams:
        streams = await asyncio.open_connection(host, int(port))
        writers.append(streams[1])
        return streams

    yield connect
    for writer in writers:
        writer.close()
    await server.stop(1)


async def sent(connect: Connect, *parts: bytes) -> bytes:
    """All that the server answers until it closes the connection."""
    reader, writer = await connect()
    answers = asyncio.create_task(rest(reader))
    with suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
    return await answers


async def rest(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the connection is closed, in whichever way."""
    answers = []
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            answers.append(data)
    return b"".join(answers)


def run(*parts: bytes, trusted_proxies: str = "") -> bytes:
    async def main() -> bytes:
        async with listening(trusted_proxies) as connect:
            return await sent(connect, *parts)

    return asyncio.run(main())


CLOSE = b"connection: close\r\n"
CHUNKED = HEAD + CLOSE + b"transfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        [HEAD + b"x: ", *[b"a" * 65_536] * 16],  # one header, in parts
        [HEAD + b"x: " + b"a" * 70_000 + b"\r\n\r\n"],  # at once
        [HEAD + b"a: b\r\n" * 30_000],  # many small ones
        [b"POST /", *[b"a" * 65_536] * 16],  # the path
        [CHUNKED + b"1\r\na\r\n0\r\n", b"x: ", *[b"a" * 65_536] * 16],  # behind the body
        [CHUNKED + b"1;", *[b"a" * 65_536] * 16],  # of a part of the body
    ],
    ids=["long", "at once", "many", "path", "trailer", "extension"],
)
def test_headers_are_refused_above_64_kib(parts: list[bytes]) -> None:
    assert b" 431 " in run(*parts)


def test_headers_below_it_and_a_body_in_any_number_of_parts_are_taken() -> None:
    small_parts = b"1\r\na\r\n" * 30_000
    parts = [small_parts[at : at + 4_096] for at in range(0, len(small_parts), 4_096)]

    assert run(CHUNKED, *parts, b"0\r\n\r\n").endswith(b" 30000")
    assert run(HEAD + CLOSE + b"x: " + b"a" * 60_000 + b"\r\n\r\n").endswith(b" 0")


@pytest.mark.parametrize(
    ("limit", "parts"),
    [
        ("HEADER_SECONDS", []),
        ("HEADER_SECONDS", [HEAD]),
        ("HEADER_SECONDS", [HEAD + b"\r\n", b"POST"]),  # the second request of a connection
        ("BODY_SECONDS", [HEAD + b"content-length: 9\r\n\r\nhalf"]),
    ],
    ids=["nothing", "headers", "next headers", "body"],
)
def test_a_client_that_takes_too_long_is_disconnected(
    monkeypatch: pytest.MonkeyPatch, limit: str, parts: list[bytes]
) -> None:
    monkeypatch.setattr(http_protocol, limit, 0.02)
    monkeypatch.setattr(listener, "CHECK_SECONDS", 0.01)

    assert b" 200 " not in run(*parts) or len(parts) == 2


def test_above_the_limit_the_connection_goes_that_has_waited_longest_for_its_headers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listener, "MAX_CONNECTIONS", 2)

    async def main() -> tuple[bytes, bytes]:
        async with listening() as connect:
            in_body, to_body = await connect()
            to_body.write(HEAD + CLOSE + b"content-length: 1\r\n\r\n")
            await asyncio.sleep(0)
            idle, _ = await connect()
            served = await sent(connect, HEAD + CLOSE + b"\r\n")
            assert await rest(idle) == b""
            to_body.write(b"x")
            return served, await in_body.read()

    served, in_body = asyncio.run(main())
    assert served.endswith(b" 0")
    assert in_body.endswith(b" 1")


@pytest.mark.parametrize(
    ("trusted_proxies", "client"),
    [("", b"127.0.0.1"), ("192.0.2.1", b"127.0.0.1"), ("127.0.0.1", b"198.51.100.7")],
)
def test_the_address_of_a_client_is_what_a_trusted_proxy_says_and_no_other(
    trusted_proxies: str, client: bytes
) -> None:
    request = HEAD + CLOSE + b"x-forwarded-for: 198.51.100.7\r\n\r\n"

    assert run(request, trusted_proxies=trusted_proxies).endswith(client + b" 0")


@pytest.mark.parametrize(("limit", "connections"), [(1_024, 256), (65_536, 10_000), (-1, 10_000)])
def test_connections_leave_descriptors_for_all_else(
    monkeypatch: pytest.MonkeyPatch, limit: int, connections: int
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (limit, limit))

    assert descriptors.max_connections(10_000) == connections
