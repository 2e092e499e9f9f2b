"""requests, urllib3, botocore and aiohttp: one call one span, and the bytes as they came."""

import asyncio
import gc
import json
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import boto3
import httpx
import openai
import pytest
import requests
import urllib3
from botocore.config import Config
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import tallyspan
from llm_server import ANSWER, STREAM, bomb, serving
from tallyspan import semconv
from tallyspan.estimate import estimator
from tallyspan.guard import failures

BODY: dict[str, Any] = {"model": "gpt-5-mini", "messages": []}
STREAMED: dict[str, Any] = {**BODY, "stream": True}
PATH = "/v1/chat/completions"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving() as address:
        yield address


def only(spans: InMemorySpanExporter) -> dict[str, Any]:
    estimator.flush()
    (span,) = spans.get_finished_spans()
    return dict(span.attributes or {})


def with_requests(url: str, body: dict[str, Any], **headers: str) -> bytes:
    with requests.Session() as session:
        return session.post(url, json=body, headers=headers, timeout=10).content


def with_requests_streaming(url: str, body: dict[str, Any], **headers: str) -> bytes:
    with (
        requests.Session() as session,
        session.post(url, json=body, headers=headers, stream=True, timeout=10) as response,
    ):
        return b"".join(response.iter_content(7))


def with_urllib3(url: str, body: dict[str, Any], **headers: str) -> bytes:
    with urllib3.PoolManager() as pool:
        return pool.request("POST", url, body=json.dumps(body), headers=headers).data


def with_urllib3_reading(url: str, body: dict[str, Any], **headers: str) -> bytes:
    with urllib3.PoolManager() as pool:
        response = pool.request(
            "POST", url, body=json.dumps(body), headers=headers, preload_content=False
        )
        parts = []
        while part := response.read(11):
            parts.append(part)
        response.release_conn()
        return b"".join(parts)


def with_aiohttp(url: str, body: dict[str, Any], **headers: str) -> bytes:
    async def run() -> bytes:
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, json=body, headers=headers) as response,
        ):
            return await response.read()

    return asyncio.run(run())


def with_aiohttp_chunks(url: str, body: dict[str, Any], **headers: str) -> bytes:
    async def run() -> bytes:
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=json.dumps(body), headers=headers) as response,
        ):
            return b"".join([part async for part in response.content.iter_any()])

    return asyncio.run(run())


def with_aiohttp_lines(url: str, body: dict[str, Any], **headers: str) -> bytes:
    async def run() -> bytes:
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, json=body, headers=headers) as response,
        ):
            return b"".join([line async for line in response.content])

    return asyncio.run(run())


CLIENTS = pytest.mark.parametrize(
    "client",
    [
        with_requests,
        with_requests_streaming,
        with_urllib3,
        with_urllib3_reading,
        with_aiohttp,
        with_aiohttp_chunks,
        with_aiohttp_lines,
    ],
)
Client = Callable[..., bytes]


@CLIENTS
@pytest.mark.parametrize("headers", [{}, {"x-gzip": "1"}], ids=["plain", "gzip"])
def test_a_call_is_one_span_with_its_tokens(
    client: Client, headers: dict[str, str], server: str, spans: InMemorySpanExporter
) -> None:
    assert json.loads(client(server + PATH, BODY, **headers)) == ANSWER

    said = only(spans)
    assert (said["gen_ai.usage.input_tokens"], said["gen_ai.usage.output_tokens"]) == (9, 4)
    assert said[semconv.REQUEST_MODEL] == "gpt-5-mini"


@CLIENTS
def test_a_stream_passes_unchanged(
    client: Client, server: str, spans: InMemorySpanExporter
) -> None:
    assert client(server + PATH, STREAMED) == b"".join(STREAM)
    assert only(spans)["gen_ai.usage.output_tokens"] == 4


@CLIENTS
def test_a_reset_connection_is_the_same_exception_as_without_us(
    client: Client, server: str
) -> None:
    kinds = []
    for is_on in (False, True):
        if is_on:
            tallyspan.instrument(tracer_provider=TracerProvider())
        try:
            with pytest.raises(Exception) as refused:
                client(server + PATH, BODY, **{"x-reset": "1"})
        finally:
            if is_on:
                tallyspan.uninstrument()
        kinds.append(type(refused.value))

    assert kinds[0] is kinds[1]


def test_a_stream_closed_early_is_a_span(server: str, spans: InMemorySpanExporter) -> None:
    with (
        requests.Session() as session,
        session.post(server + PATH, json=STREAMED, stream=True, timeout=10) as response,
    ):
        next(response.iter_content(60))

    assert only(spans)[semconv.RESPONSE_ID] == "c1"


@pytest.mark.parametrize("closing", ["close", "release"])
def test_a_stream_of_aiohttp_ends_with_its_response_though_that_is_kept(
    closing: str, server: str, spans: InMemorySpanExporter
) -> None:
    async def run() -> Any:
        async with aiohttp.ClientSession() as session:
            response = await session.post(server + PATH, json=STREAMED)
            await response.content.readline()
            getattr(response, closing)()
            with pytest.raises(aiohttp.ClientConnectionError, match="Connection closed"):
                await response.read()
            return response

    kept = asyncio.run(run())

    assert only(spans)[semconv.RESPONSE_ID] == "c1"
    assert kept.status == 200


@pytest.mark.parametrize("name", ["json_serialize", "json_serialize_bytes"])
def test_a_session_that_serialises_in_its_own_way_is_seen(
    name: str, server: str, spans: InMemorySpanExporter
) -> None:
    def serialise(body: Any) -> Any:
        made = json.dumps(body, default=str)
        return made.encode() if name == "json_serialize_bytes" else made

    options: dict[str, Any] = {name: serialise}

    async def run() -> None:
        body = {**BODY, "metadata": {"at": datetime.now(tz=UTC)}}
        async with (
            aiohttp.ClientSession(**options) as session,
            session.post(server + PATH, json=body) as response,
        ):
            await response.read()

    asyncio.run(run())

    assert only(spans)[semconv.REQUEST_MODEL] == "gpt-5-mini"


def test_a_response_of_urllib3_that_is_left_goes_at_once(
    server: str, spans: InMemorySpanExporter
) -> None:
    with urllib3.PoolManager() as pool:
        gc.disable()
        try:
            response = pool.request(
                "POST", server + PATH, body=json.dumps(STREAMED), preload_content=False
            )
            response.read(60)
            alive = weakref.ref(response)
            del response
        finally:
            gc.enable()

        assert alive() is None
    assert only(spans)[semconv.RESPONSE_ID] == "c1"


def bedrock(url: str) -> Any:
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"max_attempts": 1}),
    )


def test_bedrock_through_boto3(server: str, spans: InMemorySpanExporter) -> None:
    client = bedrock(server)
    answer = client.converse(
        modelId="us.amazon.nova-lite-v1:0", messages=[{"role": "user", "content": [{"text": "hi"}]}]
    )
    client.close()

    said = only(spans)
    assert answer["usage"]["inputTokens"] == said["gen_ai.usage.input_tokens"] == 9
    assert said[semconv.PROVIDER] == "aws.bedrock"
    assert said[semconv.REQUEST_MODEL] == "us.amazon.nova-lite-v1:0"


def raw_of_httpx(url: str) -> bytes:
    with (
        httpx.Client() as client,
        client.stream("POST", url + PATH, json={**BODY, "model": "bomb"}) as response,
    ):
        return b"".join(response.iter_raw())


def raw_of_requests(url: str) -> bytes:
    with (
        requests.Session() as session,
        session.post(url + PATH, json={**BODY, "model": "bomb"}, stream=True) as response,
    ):
        data: bytes = response.raw.read(decode_content=False)
        return data


def raw_of_aiohttp(url: str) -> bytes:
    async def run() -> bytes:
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.post(url + PATH, json={**BODY, "model": "bomb"}) as response,
        ):
            return await response.read()

    return asyncio.run(run())


def raw_of_botocore(url: str) -> bytes:
    client = bedrock(url)
    try:
        client.converse(modelId="bomb", messages=[{"role": "user", "content": [{"text": "hi"}]}])
    except UnicodeDecodeError as error:  # it does not unpack, and takes the bytes for a text
        return error.object
    finally:
        client.close()
    return b""


@pytest.mark.parametrize("raw", [raw_of_httpx, raw_of_requests, raw_of_aiohttp, raw_of_botocore])
def test_what_the_application_does_not_unpack_costs_it_little(
    raw: Callable[[str], bytes], server: str, spans: InMemorySpanExporter
) -> None:
    bomb()
    tracemalloc.start()
    try:
        assert raw(server) == bomb()
        _, used = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert used < 16 << 20
    assert failures.pop("read all of an answer") == 1
    attributes = only(spans)
    assert attributes[semconv.USAGE_SOURCE] == "unknown"
    assert attributes[semconv.USAGE_UNREAD] == ("[more]",)


@pytest.mark.parametrize("is_stream", [False, True])
def test_an_httpx_client_over_aiohttp_is_seen_once(
    is_stream: bool, server: str, spans: InMemorySpanExporter
) -> None:
    async def run() -> None:
        async with openai.AsyncOpenAI(
            base_url=server + "/v1", api_key="x", http_client=openai.DefaultAioHttpClient()
        ) as client:
            answer = await client.chat.completions.create(
                model="gpt-5-mini", messages=[], stream=is_stream
            )
            if is_stream:
                async for _ in answer:  # type: ignore[union-attr]
                    pass

    asyncio.run(run())

    assert only(spans)["gen_ai.usage.input_tokens"] == 9


def test_uninstrument_puts_back_what_was_there() -> None:
    pool = urllib3.connectionpool.HTTPConnectionPool
    before = (pool.__dict__["urlopen"], aiohttp.ClientSession.__dict__["_request"])
    tallyspan.instrument(tracer_provider=TracerProvider())
    tallyspan.uninstrument()

    assert (pool.__dict__["urlopen"], aiohttp.ClientSession.__dict__["_request"]) == before
