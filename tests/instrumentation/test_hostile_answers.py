"""What an answer may cost the application, whatever its provider sends: 16 MB, and no long work."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from backports import zstd
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tallyspan import guard, semconv, tokenizer
from tallyspan.body import MAX_UNPACKED_A_BYTE, MAX_UNPACKED_BYTES
from tallyspan.estimate import estimator
from tallyspan.exchange import begin
from tallyspan.framing import bounded
from tallyspan.framing.encoding import PIECE_BYTES, UnreadableCodingError, unpacker
from tallyspan.sampling import CallTracer

MB = 1 << 20
MAX_COST_BYTES = 16 * MB
ADDRESS = ("https", "api.openai.com", None, "/v1/chat/completions")
REQUEST = b'{"model": "gpt-5-mini", "messages": [{"role": "user", "content": "one two"}]}'
USAGE = '"usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}'
TOO_LARGE = "read all of an answer"


def answered(
    body: bytes, content_type: str = "application/json", coding: str = "", chunk_bytes: int = 65_536
) -> tuple[dict[str, Any], int]:
    """Return the span of a call with such an answer, and how many bytes were in use at most."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    exchange = begin(CallTracer(provider, "test", "0", is_always_on=True), "POST", ADDRESS, REQUEST)
    assert exchange is not None
    tokenizer.count("", "gpt-5-mini")  # its table is loaded once in a process
    tracemalloc.start()
    exchange.read_headers(200, {"content-type": content_type, "content-encoding": coding})
    for start in range(0, len(body), chunk_bytes):
        exchange.body.feed(body[start : start + chunk_bytes])
    exchange.end()
    estimator.flush()
    _, used = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    (span,) = exporter.get_finished_spans()
    return dict(span.attributes or {}), used


def brotli(plain: bytes) -> bytes:
    packed: bytes = pytest.importorskip("brotli").compress(plain)
    return packed


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli,
    "zstd": zstd.compress,
    "gzip, gzip": lambda plain: gzip.compress(gzip.compress(plain)),
    "zstd, gzip, zstd": lambda plain: zstd.compress(gzip.compress(zstd.compress(plain))),
}


@pytest.fixture
def counted() -> Iterator[dict[str, int]]:
    """The failures of ours that a test is about."""
    before = dict(guard.failures)
    yield guard.failures
    guard.failures.clear()
    guard.failures.update(before)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
def test_what_a_few_bytes_unpack_to_is_read_up_to_a_limit(
    coding: str, content_type: str, counted: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = CODINGS[coding](b'data: {"id":"c1","choices":[]}\n\n' + bytes(32 * MB))
    sizes: list[int] = []
    unpack = unpacker(coding)
    assert unpack is not None

    def spied(part: bytes) -> Iterator[bytes]:
        for piece in unpack(part):
            sizes.append(len(piece))
            yield piece

    monkeypatch.setattr("tallyspan.body.unpacker", lambda _: spied)
    attributes, used = answered(packed, content_type, coding)

    assert sum(sizes) <= MAX_UNPACKED_BYTES + MAX_UNPACKED_A_BYTE * len(packed) + PIECE_BYTES
    assert max(sizes) <= 2 * PIECE_BYTES
    assert used < MAX_COST_BYTES
    assert counted[TOO_LARGE] == 1
    # The id of the stream came before the limit, so its tokens are counted.
    assert attributes[semconv.USAGE_SOURCE] in {"unknown", "estimated"}


def test_codings_around_each_other_are_few() -> None:
    with pytest.raises(UnreadableCodingError, match="5 codings"):
        unpacker("gzip, gzip, gzip, gzip, gzip")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_an_ordinary_answer_is_unpacked_whole(coding: str) -> None:
    content = " ".join(map(str, range(100_000)))
    body = json.dumps({"id": "c1", "choices": [{"message": {"content": content}}]})
    packed = CODINGS[coding]((body[:-1] + ", " + USAGE + "}").encode())
    attributes, _ = answered(packed, coding=coding, chunk_bytes=100)

    assert attributes["gen_ai.usage.output_tokens"] == 4


VALUES = {
    "empty objects": b"{}," * (4 * MB),
    "objects": b'{"a":1},' * (2 * MB),
    "lists": b"[[]]," * (3 * MB),
    "one text": b'"' + "\N{GRINNING FACE} ".encode() * (3 * MB) + b'",',
    "open brackets": b"[" * (4 * MB),
    "text that looks like a picture": (b'"' + b"A" * 4095 + b'",') * 3000,
    "numbers": (b"[" + b"1," * 200 + b"x") * 30_000,
}


@pytest.mark.parametrize("values", VALUES)
def test_an_answer_of_many_values_is_read_at_its_ends(values: str, counted: dict[str, int]) -> None:
    head = b'{"id": "c1", "model": "m, [1]", "service_tier": "default", "choices": ['
    body = head + VALUES[values] + b"0], " + USAGE.encode() + b', "created": 7}'
    attributes, used = answered(body)

    assert used < MAX_COST_BYTES
    assert counted[TOO_LARGE] == 1
    assert attributes["gen_ai.usage.input_tokens"] == 9
    assert attributes[semconv.USAGE_SOURCE] == "provider"
    assert attributes[semconv.RESPONSE_ID] == "c1"
    assert attributes[semconv.USAGE_UNREAD] == ("[more]",)


@pytest.mark.parametrize("values", VALUES)
def test_an_event_of_many_values_is_bounded_too_and_the_next_one_is_read(
    values: str, counted: dict[str, int]
) -> None:
    large = b'data: {"finish_reason": "stop", "choices": [' + VALUES[values] + b"0]}\n\n"
    stream = b'data: {"id": "c1"}\n\n' + large + b"data: {" + USAGE.encode() + b"}\n\n"
    attributes, used = answered(stream, "text/event-stream")

    assert used < MAX_COST_BYTES
    assert counted[TOO_LARGE] == 1
    assert attributes["gen_ai.usage.output_tokens"] == 4


def test_a_usage_further_inside_is_not_taken_for_that_of_a_large_answer(
    counted: dict[str, int],
) -> None:
    inner = b'{"tool": {"x": 1, ' + USAGE.encode() + b', "y": "}"}, "z": 2}]'
    attributes, _ = answered(b'{"id": "c1", "choices": [' + b"{}," * MB + inner + b"}")

    assert counted[TOO_LARGE] >= 1
    assert attributes[semconv.USAGE_SOURCE] == "estimated"


def test_vectors_and_pictures_of_any_size_are_left_out_and_the_rest_is_read() -> None:
    vector = "[" + ", ".join(["-0.0123456"] * 3072) + "]"
    picture = '"' + "iVBORw0K" * 100_000 + '"'
    parts = [f'{{"embedding": {vector}, "b64_json": {picture}, "n": {n}}}' for n in range(24)]
    body = f'{{"id": "c1", "data": [{", ".join(parts)}], {USAGE}}}'
    attributes, used = answered(body.encode())

    assert used < MAX_COST_BYTES
    assert len(body) > 16 * MB
    assert attributes["gen_ai.usage.input_tokens"] == 9
    assert semconv.USAGE_UNREAD not in attributes


def test_how_often_what_is_kept_is_searched_does_not_grow_with_its_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searched: list[int] = []
    thinned = bounded.thinned

    def spied(body: bytes) -> bytes:
        searched.append(len(body))
        return thinned(body)

    monkeypatch.setattr(bounded, "thinned", spied)
    kept = bounded.Kept()
    kept.add(b'"' + b"x " * (bounded.MAX_KEPT_BYTES // 2 - 1000))
    for _ in range(300):  # each goes again when it is thinned
        kept.add(b"[" + b"1," * 30_000 + b"1]")

    assert not kept.is_cut
    assert sum(searched) < 3 * 300 * 60_003
