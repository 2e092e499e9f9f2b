"""Clients that read streams in their own way: boto3's event streams, google-genai over aiohttp."""

import asyncio
import base64
import json
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import EventStreamError
from google import genai
from google.genai.types import HttpOptions
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from scripted_server import Script, chunked, serving
from tallyspan import semconv
from tallyspan.estimate import estimator

EVENT_STREAM = b"content-type: application/vnd.amazon.eventstream\r\n"
ASKED = {"role": "user", "content": [{"text": "hi"}]}
CONVERSE = [
    ("messageStart", {"role": "assistant"}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hello"}}),
    ("contentBlockStop", {"contentBlockIndex": 0}),
    ("messageStop", {"stopReason": "end_turn"}),
    ("metadata", {"usage": {"inputTokens": 9, "outputTokens": 4, "totalTokens": 113,
                            "cacheReadInputTokens": 100, "cacheWriteInputTokens": 0},
                  "metrics": {"latencyMs": 7}}),
]  # fmt: skip
INVOKE = [
    {"type": "message_start", "message": {"type": "message", "id": "m1", "model": "claude",
                                          "usage": {"input_tokens": 9, "output_tokens": 1}}},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
    {"type": "message_stop", "amazon-bedrock-invocationMetrics": {
        "inputTokenCount": 9, "outputTokenCount": 4, "firstByteLatency": 5}},
]  # fmt: skip


def frame(payload: Any, **headers: str) -> bytes:
    """One message of an event stream, with checksums, for boto3 checks them."""
    named = {":" + name.replace("_", "-"): value.encode() for name, value in headers.items()}
    packed = b"".join(
        struct.pack(">B", len(name))
        + name.encode()
        + b"\x07"
        + struct.pack(">H", len(value))
        + value
        for name, value in named.items()
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", len(packed) + len(body) + 16, len(packed))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + packed + body
    return message + struct.pack(">I", zlib.crc32(message))


def events(said: list[tuple[str, Any]]) -> list[bytes]:
    return [frame(body, message_type="event", event_type=kind) for kind, body in said]


@contextmanager
def bedrock(*frames: bytes) -> Iterator[Any]:
    with serving(Script(chunked(*frames, headers=EVENT_STREAM))) as address:
        client = boto3.client(
            "bedrock-runtime",
            endpoint_url=address,
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=Config(retries={"max_attempts": 1}),
        )
        yield client
        client.close()


def converse(client: Any) -> list[Any]:
    return list(client.converse_stream(modelId="nova", messages=[ASKED])["stream"])


def only(spans: InMemorySpanExporter) -> dict[str, Any]:
    estimator.flush()
    (span,) = spans.get_finished_spans()
    return dict(span.attributes or {})


def test_converse_stream_through_boto3(spans: InMemorySpanExporter) -> None:
    with bedrock(*events(CONVERSE)) as client:
        got = converse(client)

    assert [next(iter(event)) for event in got] == [kind for kind, _ in CONVERSE]
    said = only(spans)
    assert (said["gen_ai.usage.input_tokens"], said["gen_ai.usage.output_tokens"]) == (109, 4)
    assert said["gen_ai.usage.cache_read.input_tokens"] == 100
    assert said[semconv.REQUEST_MODEL] == "nova"
    assert said[semconv.FINISH_REASONS] == ("end_turn",)


def test_invoke_with_response_stream_through_boto3(spans: InMemorySpanExporter) -> None:
    chunks = [{"bytes": base64.b64encode(json.dumps(each).encode()).decode()} for each in INVOKE]
    with bedrock(*events([("chunk", each) for each in chunks])) as client:
        answer = client.invoke_model_with_response_stream(modelId="claude", body=b'{"messages":[]}')
        got = [json.loads(event["chunk"]["bytes"]) for event in answer["body"]]

    assert got == INVOKE
    said = only(spans)
    assert (said["gen_ai.usage.input_tokens"], said["gen_ai.usage.output_tokens"]) == (9, 4)
    assert said[semconv.REQUEST_MODEL] == "claude"


def test_an_exception_in_an_event_stream_is_the_calls_error(spans: InMemorySpanExporter) -> None:
    refused = frame(
        {"message": "slow down"}, message_type="exception", exception_type="throttlingException"
    )
    with (
        bedrock(*events(CONVERSE[:2]), refused) as client,
        closing(client.converse_stream(modelId="nova", messages=[ASKED])["stream"]) as stream,
        pytest.raises(EventStreamError, match="throttlingException"),
    ):
        list(stream)

    assert only(spans)[semconv.ERROR_TYPE] == "throttlingException"


GEMINI = [
    {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hello"}]}}],
     "usageMetadata": {"promptTokenCount": 15}, "modelVersion": "gemini-3", "responseId": "r1"},
    {"candidates": [{"content": {"role": "model", "parts": [{"text": " you"}]},
                     "finishReason": "STOP"}],
     "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 3, "thoughtsTokenCount": 1},
     "modelVersion": "gemini-3", "responseId": "r1"},
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
@pytest.mark.parametrize("is_stream", [False, True])
def test_google_genai_over_aiohttp(is_stream: bool, spans: InMemorySpanExporter) -> None:
    async def run(address: str) -> str:
        options = HttpOptions(base_url=address)
        async with genai.Client(api_key="k", http_options=options).aio as client:
            if not is_stream:
                answer = await client.models.generate_content(model="gemini-3", contents="hi")
                return answer.text or ""
            made = await client.models.generate_content_stream(model="gemini-3", contents="hi")
            return "".join([part.text or "" async for part in made])

    parts = [b"data: " + json.dumps(each).encode() + b"\r\n\r\n" for each in GEMINI]
    script = chunked(*parts, headers=b"content-type: text/event-stream\r\n")
    if not is_stream:
        body = json.dumps(GEMINI[1]).encode()
        script = chunked(body, headers=b"content-type: application/json\r\n")
    with serving(Script(script)) as address:
        text = asyncio.run(run(address))

    assert text == ("Hello you" if is_stream else " you")
    said = only(spans)
    assert (said["gen_ai.usage.input_tokens"], said["gen_ai.usage.output_tokens"]) == (9, 4)
    assert said["gen_ai.usage.reasoning.output_tokens"] == 1
    assert said[semconv.PROVIDER] == "gcp.gemini"
