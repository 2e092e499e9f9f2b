"""100 MB in or out: the application gets its bytes, and we keep a bounded part of them."""

import json
import resource
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tallyspan import semconv
from tallyspan.estimate import estimator

pytestmark = pytest.mark.slow

URL = "https://api.openai.com/v1/chat/completions"
MB = 1 << 20


def test_a_huge_request_is_not_parsed_on_the_way(
    spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse = json.JSONDecoder.raw_decode
    sizes: list[int] = []

    def counted(decoder: json.JSONDecoder, text: str, idx: int = 0) -> Any:
        sizes.append(len(text))
        return parse(decoder, text, idx)

    monkeypatch.setattr(json.JSONDecoder, "raw_decode", counted)
    answer = {"id": "c1", "model": "m", "usage": {"prompt_tokens": 9, "completion_tokens": 4}}
    body = b'{"model": "gpt-5-mini", "messages": [{"role": "user", "content": "' + (
        b"word " * (20 * MB) + b'"}]}'
    )
    with httpx.Client(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
    ) as client:
        assert client.post(URL, content=body).json() == answer
    estimator.flush()

    (span,) = spans.get_finished_spans()
    assert (span.attributes or {})[semconv.REQUEST_MODEL] == "gpt-5-mini"
    assert 0 < max(sizes) < MB  # the answer is parsed, by us and by the application


def test_a_huge_stream_of_one_event_is_passed_on_and_not_kept(spans: InMemorySpanExporter) -> None:
    class Endless(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b'data: {"id":"c1","choices":[{"delta":{"content":"'
            for _ in range(100):
                yield b"x" * MB
            yield b'"}}]}\n\ndata: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4}}\n\n'

    def handle(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Endless())

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    got = 0
    with (
        httpx.Client(transport=httpx.MockTransport(handle)) as client,
        client.stream("POST", URL, json={"model": "m", "messages": [], "stream": True}) as response,
    ):
        for chunk in response.iter_raw():
            got += len(chunk)
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    estimator.flush()
    (span,) = spans.get_finished_spans()
    assert got > 100 * MB
    assert (span.attributes or {})["gen_ai.usage.output_tokens"] == 4
    assert grown_kb < 90 * 1024
