"""Answers in every spelling that is still one: the counts are those that were meant."""

import gzip
import json
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tallyspan import guard, semconv
from tallyspan.estimate import estimator
from tallyspan.exchange import begin
from tallyspan.sampling import CallTracer

OPENAI = ("https", "api.openai.com", None, "/v1/chat/completions")
ASKED = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}'
SSE = "text/event-stream"
FIRST = 'data: {"id":"c1","model":"m","choices":[{"delta":{"content":"a"},"finish_reason":null}],"usage":null}\n\n'
SAID = 'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":null}\n\n'
USAGE = (
    'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}\n\n'
)
DONE = "data: [DONE]\n\n"
STREAM = FIRST + SAID + USAGE + DONE
ANSWER = {"id": "c1", "choices": [{"finish_reason": "stop"}],
          "usage": {"prompt_tokens": 9, "completion_tokens": 4}}  # fmt: skip

STREAMS = {
    "as it is": STREAM,
    "CRLF": STREAM.replace("\n", "\r\n"),
    "CR": STREAM.replace("\n", "\r"),
    "no space after data": STREAM.replace("data: ", "data:"),
    "no last line end": FIRST + SAID + USAGE.rstrip(),
    "no DONE": FIRST + SAID + USAGE,
    "byte order mark": "\ufeff" + STREAM,
    "comments between": STREAM.replace("data: {", ": keep-alive\n\n: OPENROUTER PROCESSING\n\ndata: {"),
    "event and id lines": STREAM.replace("data: {", "event: chunk\nid: 7\ndata: {"),
    "data in several lines": STREAM.replace('"usage":', '\ndata: "usage":\ndata: '),
    "spaces around colons": STREAM.replace('":', '"  :  '),
    "tabs around colons": STREAM.replace('":', '"\t:\t'),
    "spaces after colons": STREAM.replace('":', '": '),
    "counts as floats": STREAM.replace("9,", "9.0,").replace("4,", "4.0,"),
    "counts as text": STREAM.replace("9,", '"9",').replace("4,", '"4",'),
    "keys escaped": STREAM.replace("usage", "\\u0075sage").replace("_tokens", "\\u005ftokens"),
    "usage beside a choice": FIRST + SAID.replace("null", USAGE[USAGE.index('{"prompt') : -3]) + DONE,
    "usage first": FIRST + SAID + 'data: {"usage":{"prompt_tokens":9,"completion_tokens":4},"choices":[]}\n\n',
    "empty usage after it": STREAM.replace(DONE, 'data: {"choices":[],"usage":{}}\n\n' + DONE),
    "null usage after it": STREAM.replace(DONE, 'data: {"choices":[],"usage":null}\n\n' + DONE),
    "senseless usage after it": STREAM.replace(
        DONE, 'data: {"usage":{"prompt_tokens":-1,"completion_tokens":null}}\n\n' + DONE
    ),
    "usage in each event": STREAM.replace(
        '"usage":null', '"usage":{"prompt_tokens":9,"completion_tokens":1}'
    ),
    "broken event between": STREAM.replace(SAID, 'data: {"choices":[\n\n' + SAID),
    "text that looks like usage": STREAM.replace('"a"', r'"\"usage\":{\"prompt_tokens\":77}"'),
}  # fmt: skip
JSONS = {
    "as it is": json.dumps(ANSWER),
    "byte order mark": "\ufeff" + json.dumps(ANSWER),
    "blank lines before": "\n\n \n" + json.dumps(ANSWER) + "\n",
    "indented": json.dumps(ANSWER, indent=4),
    "keys in another order": json.dumps(dict(reversed(ANSWER.items()))),
    "counts as floats": json.dumps(ANSWER).replace("9", "9.0"),
    "counts as text": json.dumps(ANSWER).replace("9", '"9"'),
    "keys escaped": json.dumps(ANSWER).replace("usage", "\\u0075sage"),
    "a stream after all": STREAM,
    "lines of JSON after all": "\n".join(json.dumps(each) for each in ({"id": "c1"}, ANSWER)),
}


def read(
    exporter: InMemorySpanExporter,
    provider: TracerProvider,
    body: bytes,
    headers: dict[str, str],
    size: int,
) -> dict[str, Any]:
    exchange = begin(CallTracer(provider, "test", "0", is_always_on=False), "POST", OPENAI, ASKED)
    assert exchange is not None
    exchange.read_headers(200, headers)
    for start in range(0, len(body), size):
        exchange.body.feed(body[start : start + size])
    exchange.end()
    estimator.flush()
    (span,) = exporter.get_finished_spans()
    exporter.clear()
    guard.failures.clear()
    return dict(span.attributes or {})


def counts(said: dict[str, Any]) -> tuple[object, ...]:
    return (
        said[semconv.USAGE_SOURCE],
        said.get("gen_ai.usage.input_tokens"),
        said.get("gen_ai.usage.output_tokens"),
    )


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_states_its_usage_in_any_spelling(
    name: str, size: int, tracing: tuple[TracerProvider, InMemorySpanExporter]
) -> None:
    said = read(tracing[1], tracing[0], STREAMS[name].encode(), {"content-type": SSE}, size)

    assert counts(said) == ("provider", 9, 4)
    assert said[semconv.FINISH_REASONS] == ("stop",)


@pytest.mark.parametrize("kind", ["application/json", "text/plain; charset=utf-8", ""])
@pytest.mark.parametrize("name", JSONS)
def test_an_answer_states_its_usage_in_any_spelling(
    name: str, kind: str, tracing: tuple[TracerProvider, InMemorySpanExporter]
) -> None:
    said = read(tracing[1], tracing[0], JSONS[name].encode(), {"content-type": kind}, 11)

    assert counts(said) == ("provider", 9, 4)


@pytest.mark.parametrize("size", [1, 50, 1 << 20])
@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(STREAM.encode()) + b"behind",
        b"".join(gzip.compress(part.encode()) for part in (FIRST, SAID, USAGE)),
    ],
    ids=["something behind", "a member an event"],
)
def test_a_packed_stream_is_read_as_its_packer_meant_it(
    packed: bytes, size: int, tracing: tuple[TracerProvider, InMemorySpanExporter]
) -> None:
    headers = {"content-type": SSE, "content-encoding": "gzip"}

    assert counts(read(tracing[1], tracing[0], packed, headers, size)) == ("provider", 9, 4)


def test_a_stream_damaged_in_its_packing_is_a_call_all_the_same(
    tracing: tuple[TracerProvider, InMemorySpanExporter],
) -> None:
    packed = gzip.compress(STREAM.encode())
    damaged = packed[: len(packed) // 2] + b"\x00" * 40
    headers = {"content-type": SSE, "content-encoding": "gzip"}
    said = read(tracing[1], tracing[0], damaged, headers, 10)

    assert said[semconv.USAGE_SOURCE] in {"estimated", "unknown"}
    assert said[semconv.HTTP_STATUS] == 200
