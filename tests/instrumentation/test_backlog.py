"""A call whose span nobody sees before it is exported is read a moment after it has ended."""

import contextvars
import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import tallyspan
from llm_server import ANSWER, STREAM, serving
from tallyspan import background, backlog, exchange, semconv
from tallyspan.backlog import MAX_WAITING, MAX_WAITING_BYTES, Backlog
from tallyspan.guard import failures

URL = "https://api.openai.com/v1/chat/completions"
RESPONSES = "https://api.openai.com/v1/responses"
BODY = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}]}
LONG = 3600.0
TIMES = {semconv.TIME_TO_FIRST_CHUNK}


class Pipeline:
    """An instrumented provider whose spans wait, until it is flushed, in a queue."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.processor = BatchSpanProcessor(self.exporter, schedule_delay_millis=LONG * 1000)
        self.provider.add_span_processor(self.processor)

    def exported(self) -> list[ReadableSpan]:
        """Return the spans after a flush of the queue alone."""
        self.processor.force_flush()
        return list(self.exporter.get_finished_spans())

    def settled(self) -> list[dict[str, Any]]:
        """Return the attributes of all spans, but for times that differ each time."""
        self.provider.force_flush()
        spans = [dict(each.attributes or {}) for each in self.exported()]
        return [{key: each[key] for key in each.keys() - TIMES} for each in spans]


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    monkeypatch.setattr(backlog, "DELAY_SECONDS", LONG)
    monkeypatch.setattr("tallyspan.exchange.backlog", Backlog(lambda: None))
    failures.clear()
    made = Pipeline()
    tallyspan.instrument(tracer_provider=made.provider)
    yield made
    tallyspan.uninstrument()
    made.provider.shutdown()
    assert not failures


def client(*answers: httpx2.Response) -> httpx2.Client:
    """Return a client that gets these answers, one after another."""
    left = iter(answers)
    return httpx2.Client(transport=httpx2.MockTransport(lambda _: next(left)))


def call(answer: Any = ANSWER) -> None:
    with client(httpx2.Response(200, json=answer)) as http:
        http.post(URL, json=BODY)


def test_a_flush_of_the_provider_ends_and_exports_what_waits(pipeline: Pipeline) -> None:
    before = time.time_ns()
    call()
    after = time.time_ns()
    waiting = pipeline.exported()
    pipeline.provider.force_flush()

    (span,) = pipeline.exporter.get_finished_spans()
    attributes = span.attributes or {}
    assert waiting == []
    assert (attributes["gen_ai.usage.input_tokens"], attributes[semconv.RESPONSE_ID]) == (9, "c1")
    assert before <= (span.start_time or 0) <= (span.end_time or 0) <= after


def test_whoever_looks_at_spans_as_they_end_sees_them_as_they_end(pipeline: Pipeline) -> None:
    seen = InMemorySpanExporter()
    pipeline.provider.add_span_processor(SimpleSpanProcessor(seen))
    call()

    (span,) = seen.get_finished_spans()
    assert (span.attributes or {})["gen_ai.usage.output_tokens"] == 4


def test_a_subclass_of_the_batch_processor_may_look_too() -> None:
    class Looking(BatchSpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            ended.append(span)

    ended: list[ReadableSpan] = []
    provider = TracerProvider()
    provider.add_span_processor(Looking(InMemorySpanExporter()))
    tallyspan.instrument(tracer_provider=provider)
    call()
    tallyspan.uninstrument()
    provider.shutdown()

    assert len(ended) == 1


def streamed(*, is_cut: bool = False, status: int = 200) -> None:
    answer = httpx2.Response(
        status, headers={"content-type": "text/event-stream"}, content=iter(STREAM)
    )
    with client(answer) as http, http.stream("POST", URL, json=BODY) as response:
        for _ in response.iter_raw():
            if is_cut:
                break


def in_the_background() -> None:
    """Start an answer in the background, and ask for it until it is there, and once more."""
    queued = {"id": "resp_1", "object": "response", "status": "queued", "background": True,
              "model": "gpt-5-mini", "usage": None}  # fmt: skip
    done = {**queued, "status": "completed", "usage": {"input_tokens": 7, "output_tokens": 2}}
    answers = [httpx2.Response(200, json=each) for each in (queued, queued, done, done)]
    with client(*answers) as http:
        http.post(RESPONSES, json={"model": "gpt-5-mini", "input": "hi", "background": True})
        for _ in range(3):
            http.get(RESPONSES + "/resp_1")


def refused() -> None:
    with client(httpx2.Response(429, json={"error": {"code": "rate_limit"}})) as http:
        http.post(URL, json=BODY)


SCENES: dict[str, Callable[[], None]] = {
    "plain": call,
    "streamed": streamed,
    "cut": lambda: streamed(is_cut=True),
    "background": in_the_background,
    "refused": refused,
    "no usage": lambda: call({key: ANSWER[key] for key in ANSWER.keys() - {"usage"}}),
}


@pytest.mark.parametrize("scene", SCENES)
def test_a_call_is_the_same_whether_it_is_read_at_once_or_later(
    scene: str,
    pipeline: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = []
    for is_later in (True, False):
        monkeypatch.setattr(exchange, "background", background.Background())
        if not is_later:
            pipeline.provider.add_span_processor(SpanProcessor())
        SCENES[scene]()
        results.append(pipeline.settled())
        pipeline.exporter.clear()
    later, at_once = results
    ids = {semconv.CALL_ID}  # made anew for each call

    assert later
    assert [{k: v for k, v in each.items() if k not in ids} for each in later] == [
        {k: v for k, v in each.items() if k not in ids} for each in at_once
    ]


def test_a_task_that_was_started_while_a_call_was_sent_makes_calls_of_its_own(
    pipeline: Pipeline,
) -> None:
    contexts = []

    def handle(_: httpx2.Request) -> httpx2.Response:
        contexts.append(contextvars.copy_context())
        return httpx2.Response(200, json=ANSWER)

    with httpx2.Client(transport=httpx2.MockTransport(handle)) as http:
        http.post(URL, json=BODY)
    contexts[0].run(call, {**ANSWER, "id": "c2"})

    assert [each[semconv.RESPONSE_ID] for each in pipeline.settled()] == ["c1", "c2"]


def test_what_waits_is_ended_when_the_instrumentation_is_switched_off(pipeline: Pipeline) -> None:
    call()
    tallyspan.uninstrument()

    assert len(pipeline.exported()) == 1
    assert pipeline.provider._active_span_processor._span_processors == (pipeline.processor,)


def test_what_waits_is_exported_when_the_provider_is_shut_down(pipeline: Pipeline) -> None:
    call()
    pipeline.provider.shutdown()

    assert len(pipeline.exporter.get_finished_spans()) == 1


def test_what_finds_no_room_is_read_at_once(pipeline: Pipeline) -> None:
    call({**ANSWER, "padding": "x" * MAX_WAITING_BYTES})

    assert len(pipeline.exported()) == 1


def test_calls_and_bytes_that_wait_are_bounded_and_read_in_their_order() -> None:
    done: list[int] = []
    waiting = Backlog(lambda: None)
    fits = [waiting.put(lambda n=number: done.append(n), 1) for number in range(MAX_WAITING + 1)]  # type: ignore[misc]  # a default binds the number
    waiting.read()
    too_large = waiting.put(lambda: done.append(-1), MAX_WAITING_BYTES + 1)

    assert fits == [True] * MAX_WAITING + [False]
    assert done == list(range(MAX_WAITING))
    assert not too_large


def test_what_cannot_be_read_costs_nobody_else_anything() -> None:
    failures.clear()
    done: list[int] = []
    waiting = Backlog(lambda: None)
    waiting.put(lambda: done.append(1 // 0), 1)
    waiting.put(lambda: done.append(2), 1)
    waiting.read()

    assert (done, failures) == ([2], {"end a call": 1})
    failures.clear()


def test_the_thread_reads_what_waits_without_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "DELAY_SECONDS", 0.0)
    names: list[str] = []
    done = threading.Event()
    waiting = Backlog(lambda: None)
    waiting.put(lambda: names.append(threading.current_thread().name), 1)
    waiting.put(done.set, 1)

    assert done.wait(10)
    assert names == ["tallyspan-read"]


def test_a_process_that_gets_no_more_threads_reads_at_once(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    call()

    assert len(pipeline.exported()) == 1


def test_a_stream_that_is_collected_while_another_is_put_there_holds_up_nobody() -> None:
    done: list[str] = []

    class Abandoned:
        def __init__(self) -> None:
            self.itself = self  # so that only the garbage collector ends it

        def __del__(self) -> None:
            waiting.put(lambda: done.append("collected"), 1)

    def start_others() -> None:
        gc.collect()

    waiting = Backlog(start_others)
    Abandoned()
    waiting.put(lambda: done.append("put"), 1)
    waiting.read()

    assert "put" in done


PROGRAM = """
import os, sys, httpx, tallyspan
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
provider = TracerProvider()
line = lambda span: span.to_json(indent=None) + "\\n"
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(formatter=line)))
tallyspan.instrument(tracer_provider=provider)
BODY = {"model": "gpt-5-mini", "messages": []}
httpx.post(sys.argv[1], json=BODY)
"""


def spans_of(program: str) -> list[dict[str, Any]]:
    with serving() as url:
        done = subprocess.run(
            [sys.executable, "-c", program, url + "/v1/chat/completions"],
            capture_output=True, text=True, timeout=60, check=True, env=dict(os.environ),
        )  # fmt: skip
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.process
def test_what_waits_when_the_process_ends_is_exported() -> None:
    (span,) = spans_of(PROGRAM)

    assert span["attributes"]["gen_ai.usage.input_tokens"] == 9


@pytest.mark.process
def test_what_waits_at_a_fork_is_read_by_the_parent_alone() -> None:
    spans = spans_of(
        PROGRAM
        + """
pid = os.fork()
if pid:
    os.waitpid(pid, 0)
else:
    httpx.post(sys.argv[1], json={**BODY, "model": "of the child"})
"""
    )

    models = [span["attributes"][semconv.REQUEST_MODEL] for span in spans]
    assert models == ["of the child", "gpt-5-mini"]
