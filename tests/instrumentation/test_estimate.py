import json
import threading

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tallyspan import estimate, semconv, tokenizer
from tallyspan.estimate import Estimator
from tallyspan.exchange import begin
from tallyspan.formats import FORMATS
from tallyspan.guard import failures
from tallyspan.sampling import CallTracer
from tallyspan_collector.demo.recordings import Recording, load

CHAT = FORMATS["openai_chat"]
PLAIN = [
    each
    for each in load()
    if each.expected["api"] == "openai.chat"
    and each.expected["provider"] in {"openai", "azure.ai.openai"}
    and each.expected.get("usage_reported")
    and not each.expected.get("reasoning")
    and not {"tools", "response_format"} & set(each.request_body)
    and all(isinstance(m.get("content"), str) for m in each.request_body["messages"])
]


@pytest.mark.parametrize("recording", PLAIN, ids=lambda each: each.id[-50:])
def test_an_estimate_of_plain_chat_is_within_a_few_tokens_of_the_bill(recording: Recording) -> None:
    model = recording.expected["model"]
    body = json.dumps(recording.request_body).encode()
    estimated = estimate.input_tokens(body, CHAT, model)

    assert estimated is not None
    assert abs(estimated - recording.expected["input_tokens"]) <= max(
        12, 0.25 * recording.expected["input_tokens"]
    )


def test_streamed_text_is_counted_exactly() -> None:
    text = "The quick brown fox jumps over the lazy dog."
    events = [{"choices": [{"delta": {"content": word}}]} for word in text.split(" ")]
    joined = text.replace(" ", "")

    assert estimate.output_tokens(events, CHAT, "gpt-5") == tokenizer.count(joined, "gpt-5")


@pytest.mark.parametrize(
    ("wire_format", "event"),
    [
        (
            "openai_chat",
            {"choices": [{"delta": {"tool_calls": [{"function": {"arguments": "hello"}}]}}]},
        ),
        ("openai_responses", {"type": "response.output_text.delta", "delta": "hello"}),
        (
            "anthropic_messages",
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "hello"}},
        ),
        ("gemini", {"candidates": [{"content": {"parts": [{"text": "hello"}]}}]}),
    ],
)
def test_each_format_says_its_text_in_its_own_place(
    wire_format: str, event: dict[str, object]
) -> None:
    assert estimate.output_tokens([event], FORMATS[wire_format], "gpt-5") == 1


@pytest.mark.parametrize("model", ["gpt-4", "gpt-5-mini", "claude-sonnet-4-5", "", "openai/gpt-4o"])
def test_the_vocabulary_is_there_offline(model: str) -> None:
    assert tokenizer.count("hello world", model) == 2


def test_pictures_are_no_text() -> None:
    content = [
        {"type": "image_url", "image_url": {"url": "data:" + "A" * 10_000}},
        {"type": "text", "text": "hi"},
    ]
    body = json.dumps({"messages": [{"role": "user", "content": content}]}).encode()

    assert (estimate.input_tokens(body, CHAT, "gpt-5") or 0) < 20


@pytest.mark.parametrize("body", [b"", b"[]", b"not json", b'"text"', b"\xff"])
def test_an_unreadable_request_has_no_estimate(body: bytes) -> None:
    assert estimate.input_tokens(body, CHAT, "gpt-5") is None


def test_jobs_run_in_a_thread_of_their_own_and_flush_waits_for_them() -> None:
    ran: list[str] = []
    made = Estimator()
    made.submit(lambda: ran.append(threading.current_thread().name))
    made.flush()

    assert ran == ["tallyspan"]


def test_a_process_that_gets_no_more_threads_says_that_the_tokens_are_unknown(
    monkeypatch: pytest.MonkeyPatch, tracing: tuple[TracerProvider, InMemorySpanExporter]
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("tallyspan.exchange.estimate.estimator", Estimator())
    monkeypatch.setattr(threading.Thread, "start", refuse)
    failures.clear()
    cut_stream(tracing[0])

    (span,) = tracing[1].get_finished_spans()
    assert (span.attributes or {})[semconv.USAGE_SOURCE] == "unknown"
    assert failures == {"estimate tokens: no thread": 1}
    failures.clear()


def test_a_stream_that_is_collected_while_another_is_handed_over_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch, tracing: tuple[TracerProvider, InMemorySpanExporter]
) -> None:
    made = Estimator()
    start = threading.Thread.start

    def collecting(thread: threading.Thread) -> None:
        monkeypatch.undo()
        monkeypatch.setattr("tallyspan.exchange.estimate.estimator", made)
        cut_stream(tracing[0])
        start(thread)

    monkeypatch.setattr("tallyspan.exchange.estimate.estimator", made)
    monkeypatch.setattr(threading.Thread, "start", collecting)
    cut_stream(tracing[0])
    made.flush()

    assert len(tracing[1].get_finished_spans()) == 2


def cut_stream(provider: TracerProvider) -> None:
    tracer = CallTracer(provider, "tests", "1", is_always_on=False)
    url = ("https", "api.openai.com", None, "/v1/chat/completions")
    opened = begin(tracer, "POST", url, b'{"model":"gpt-5-mini","stream":true,"messages":[]}')
    assert opened is not None
    opened.read_headers(200, {"content-type": "text/event-stream"})
    opened.body.feed(b'data: {"id":"c1","choices":[]}\n\n')
    opened.end()
