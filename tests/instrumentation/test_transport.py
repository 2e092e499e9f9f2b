import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import tallyspan
from tallyspan import exchange, guard, semconv
from tallyspan.body import BATCH_BYTES, CHUNK_BYTES
from tallyspan.estimate import estimator
from tallyspan.sampling import CallTracer
from tallyspan_collector.demo import provider, traffic
from tallyspan_collector.demo.recordings import Recording, load

URL = "https://api.openai.com/v1/chat/completions"
BODY = {"model": "gpt-5-mini", "messages": []}
ANSWER = {"id": "c1", "model": "gpt-5-mini", "usage": {"prompt_tokens": 9, "completion_tokens": 4}}
STREAM = [
    b'data: {"id":"c1","model":"gpt-5-mini","choices":[]}\n\n',
    b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n',
    b'data: {"usage":{"prompt_tokens":9,"completion_tokens":4}}\n\n',
    b"data: [DONE]\n\n",
]
LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])


def answering(library: ModuleType, chunks: list[bytes] | None = None) -> Any:
    """A transport of the library that answers with the stream's chunks, or with JSON."""

    class Chunks(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[name-defined,misc]
        def __iter__(self) -> Iterator[bytes]:
            yield from chunks or []

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in chunks or []:
                yield chunk

    def handle(request: Any) -> Any:
        if chunks is None:
            return library.Response(200, json=ANSWER)
        return library.Response(200, headers={"content-type": "text/event-stream"}, stream=Chunks())

    return library.MockTransport(handle)


def only(spans: InMemorySpanExporter) -> dict[str, Any]:
    estimator.flush()
    (span,) = spans.get_finished_spans()
    return dict(span.attributes or {})


@LIBRARIES
def test_a_plain_call_is_one_span_with_its_tokens(
    library: ModuleType, spans: InMemorySpanExporter
) -> None:
    with library.Client(transport=answering(library)) as client:
        assert client.post(URL, json=BODY).json() == ANSWER

    said = only(spans)
    assert (said["gen_ai.usage.input_tokens"], said["gen_ai.usage.output_tokens"]) == (9, 4)
    assert spans.get_finished_spans()[0].name == "chat gpt-5-mini"


@LIBRARIES
def test_a_stream_passes_unchanged_and_its_span_ends_with_it(
    library: ModuleType, spans: InMemorySpanExporter
) -> None:
    with (
        library.Client(transport=answering(library, STREAM)) as client,
        client.stream("POST", URL, json={**BODY, "stream": True}) as response,
    ):
        chunks = []
        for chunk in response.iter_raw():
            assert spans.get_finished_spans() == ()
            chunks.append(chunk)

    assert chunks == STREAM
    assert only(spans)["gen_ai.usage.output_tokens"] == 4
    assert only(spans)[semconv.TIME_TO_FIRST_CHUNK] >= 0


@LIBRARIES
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_of_a_long_stream_no_more_than_a_batch_waits_to_be_read(
    library: ModuleType, kind: type[bytes] | type[bytearray], spans: InMemorySpanExporter
) -> None:
    chunks: list[Any] = [STREAM[0], *[kind(b'data: {"choices":[]}\n\n')] * 9000, *STREAM[1:]]
    waiting = []
    with (
        library.Client(transport=answering(library, chunks)) as client,
        client.stream("POST", URL, json=BODY) as response,
    ):
        body = response.stream._exchange.body
        for number, _ in enumerate(response.iter_raw()):
            if not number % 100:
                waiting.append(sum(len(each) + CHUNK_BYTES for each in body.unread))

    assert BATCH_BYTES * 0.9 < max(waiting) <= BATCH_BYTES
    assert only(spans)["gen_ai.usage.input_tokens"] == 9


@LIBRARIES
def test_async_calls_and_streams_are_seen_too(
    library: ModuleType, spans: InMemorySpanExporter
) -> None:
    async def run() -> list[bytes]:
        async with library.AsyncClient(transport=answering(library)) as client:
            await client.post(URL, json=BODY)
        async with (
            library.AsyncClient(transport=answering(library, STREAM)) as client,
            client.stream("POST", URL, json=BODY) as response,
        ):
            return [chunk async for chunk in response.aiter_raw()]

    assert asyncio.run(run()) == STREAM
    found = [dict(span.attributes or {}) for span in spans.get_finished_spans()]
    assert [said["gen_ai.usage.input_tokens"] for said in found] == [9, 9]


@LIBRARIES
def test_a_stream_closed_early_is_a_span_of_what_was_said(
    library: ModuleType, spans: InMemorySpanExporter
) -> None:
    with (
        library.Client(transport=answering(library, STREAM)) as client,
        client.stream("POST", URL, json=BODY) as response,
    ):
        next(response.iter_raw())

    assert only(spans)[semconv.RESPONSE_ID] == "c1"
    assert only(spans)[semconv.USAGE_SOURCE] == "estimated"


@LIBRARIES
def test_a_connection_error_reaches_the_application_and_the_span(
    library: ModuleType, spans: InMemorySpanExporter
) -> None:
    def refuse(request: Any) -> Any:
        raise library.ConnectError("no route")

    with (
        library.Client(transport=library.MockTransport(refuse)) as client,
        pytest.raises(library.ConnectError, match="no route"),
    ):
        client.post(URL, json=BODY)

    assert only(spans)[semconv.ERROR_TYPE] == "ConnectError"


@LIBRARIES
def test_other_requests_are_no_spans(library: ModuleType, spans: InMemorySpanExporter) -> None:
    with library.Client(transport=answering(library)) as client:
        client.get("https://api.openai.com/v1/models")
        client.post("https://example.com/orders", json={"n": 1})

    assert spans.get_finished_spans() == ()


@LIBRARIES
def test_uninstrument_puts_back_what_was_there(
    library: ModuleType, tracing: tuple[TracerProvider, InMemorySpanExporter]
) -> None:
    before = (
        library.Client.__dict__["_send_single_request"],
        library.AsyncClient.__dict__["_send_single_request"],
    )
    tallyspan.instrument(tracer_provider=tracing[0])
    tallyspan.uninstrument()

    assert before == (
        library.Client.__dict__["_send_single_request"],
        library.AsyncClient.__dict__["_send_single_request"],
    )


def test_attribution_is_on_the_span_and_never_in_the_request(spans: InMemorySpanExporter) -> None:
    seen: list[Any] = []

    def handle(request: Any) -> Any:
        seen.append(dict(request.headers))
        return httpx2.Response(200, json=ANSWER)

    with (
        httpx2.Client(transport=httpx2.MockTransport(handle)) as client,
        tallyspan.attribution(user_id="ada", department="research", tags={"case": "7"}),
        tallyspan.attribution(agent_id="a1", conversation_id="c9"),
    ):
        client.post(URL, json=BODY)

    said = only(spans)
    assert (said["user.id"], said["tallyspan.department"]) == ("ada", "research")
    assert (said["gen_ai.agent.id"], said["gen_ai.conversation.id"]) == ("a1", "c9")
    assert said["tallyspan.tag.case"] == "7"
    assert "ada" not in json.dumps(seen)


def test_the_requests_own_user_counts_when_nobody_else_says(spans: InMemorySpanExporter) -> None:
    with httpx2.Client(transport=answering(httpx2)) as client:
        client.post(URL, json={**BODY, "user": "u-7"})

    assert only(spans)["user.id"] == "u-7"


@pytest.mark.parametrize(
    "step", ["begin", "Exchange.read_headers", "Exchange._facts", "Exchange._write"]
)
def test_a_fault_of_ours_stays_ours(
    step: str,
    monkeypatch: pytest.MonkeyPatch,
    tracing: tuple[TracerProvider, InMemorySpanExporter],
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("ours")

    target, _, name = step.rpartition(".")
    if target:
        monkeypatch.setattr(exchange.Exchange, name, broken)
    else:
        monkeypatch.setattr("tallyspan.transport.httpx.begin", broken)
    guard.failures.clear()
    tallyspan.instrument(tracer_provider=tracing[0])
    try:
        with httpx2.Client(transport=answering(httpx2)) as client:
            answer = client.post(URL, json=BODY).json()
    finally:
        tallyspan.uninstrument()

    assert answer == ANSWER
    assert sum(guard.failures.values()) >= 1
    guard.failures.clear()


@pytest.fixture(scope="module")
def sending() -> Iterator[Callable[[Recording], Exception | None]]:
    recordings = load()
    with provider.serving(recordings) as port, traffic.sdks(port) as clients:

        def send(recording: Recording) -> Exception | None:
            try:
                clients.send(recording)
            except traffic.ERRORS as error:
                return error
            return None

        yield send


@pytest.mark.parametrize("recording", load(), ids=lambda recording: recording.id[-60:])
def test_a_recording_through_its_real_sdk_is_one_call_with_the_tokens_it_states(
    recording: Recording,
    sending: Callable[[Recording], Exception | None],
    spans: InMemorySpanExporter,
) -> None:
    error = sending(recording)

    said = only(spans)
    if said[semconv.USAGE_SOURCE] != "estimated":
        assert said.get("gen_ai.usage.input_tokens") == recording.expected.get("input_tokens")
        assert said.get("gen_ai.usage.output_tokens") == recording.expected.get("output_tokens")
    assert said[semconv.PROVIDER] == recording.expected["provider"]
    assert error is not None or recording.status < 400


def test_beside_the_httpx_instrumentation_its_client_span_is_the_child(
    tracing: tuple[TracerProvider, InMemorySpanExporter],
) -> None:
    recording = next(
        each for each in load() if each.expected["api"] == "openai.chat" and each.status == 200
    )
    HTTPX2ClientInstrumentor().instrument(tracer_provider=tracing[0])
    tallyspan.instrument(tracer_provider=tracing[0])
    try:
        with provider.serving([recording]) as port, traffic.sdks(port) as clients:
            clients.send(recording)
    finally:
        tallyspan.uninstrument()
        HTTPX2ClientInstrumentor().uninstrument()

    finished = tracing[1].get_finished_spans()
    (ours,) = [span for span in finished if "gen_ai.operation.name" in (span.attributes or {})]
    (theirs,) = [span for span in finished if span is not ours]
    assert theirs.parent is not None
    assert ours.context is not None
    assert theirs.parent.span_id == ours.context.span_id


def test_a_span_another_instrumentation_opened_is_completed_not_doubled(
    tracing: tuple[TracerProvider, InMemorySpanExporter], spans: InMemorySpanExporter
) -> None:
    opened = {semconv.OPERATION: "chat", semconv.REQUEST_MODEL: "gpt-5-mini", "user.id": "theirs"}
    with (
        httpx2.Client(transport=answering(httpx2)) as client,
        tracing[0].get_tracer("other").start_as_current_span("chat", attributes=opened),
        tallyspan.attribution(user_id="ours"),
    ):
        client.post(URL, json=BODY)

    said = only(spans)
    assert said["gen_ai.usage.input_tokens"] == 9
    assert said[semconv.ENDPOINT_ID] == "api.openai.com"
    assert said["user.id"] == "theirs"


@pytest.mark.parametrize("is_parallel", [False, True])
def test_a_second_call_inside_anothers_span_is_a_call_of_its_own(
    is_parallel: bool,
    tracing: tuple[TracerProvider, InMemorySpanExporter],
    spans: InMemorySpanExporter,
) -> None:
    opened = {semconv.OPERATION: "chat", semconv.REQUEST_MODEL: "gpt-5-mini"}
    answers = [ANSWER, {**ANSWER, "id": "c2", "usage": {"prompt_tokens": 70, "total_tokens": 75}}]
    tracer = CallTracer(tracing[0], "tests", "1", is_always_on=False)
    url = ("https", "api.openai.com", None, "/v1/chat/completions")
    with tracing[0].get_tracer("other").start_as_current_span("chat", attributes=opened):
        calls = []
        for answer in answers:
            made = exchange.begin(tracer, "POST", url, json.dumps(BODY).encode())
            assert made is not None
            made.read_headers(200, {"content-type": "application/json"})
            made.body.feed(json.dumps(answer).encode())
            calls.append(made)
            if not is_parallel:
                made.end()
        for made in calls:
            made.end()

    second, first = spans.get_finished_spans()
    assert (first.attributes or {})["gen_ai.usage.input_tokens"] == 9
    assert (second.attributes or {})["gen_ai.usage.input_tokens"] == 70
    assert (second.attributes or {})[semconv.RESPONSE_ID] == "c2"
    assert semconv.CALL_ID not in (second.attributes or {})
    assert second.parent is not None
    assert second.parent == first.context


def test_a_parallel_call_without_usage_inside_anothers_span_is_estimated_in_its_own(
    tracing: tuple[TracerProvider, InMemorySpanExporter], spans: InMemorySpanExporter
) -> None:
    opened = {semconv.OPERATION: "chat", semconv.REQUEST_MODEL: "gpt-5-mini"}
    tracer = CallTracer(tracing[0], "tests", "1", is_always_on=False)
    url = ("https", "api.openai.com", None, "/v1/chat/completions")
    with tracing[0].get_tracer("other").start_as_current_span("chat", attributes=opened):
        calls = []
        for answer in (ANSWER, {**ANSWER, "id": "c2", "usage": None}):
            call = exchange.begin(tracer, "POST", url, json.dumps(BODY).encode())
            assert call is not None
            call.read_headers(200, {"content-type": "application/json"})
            call.body.feed(json.dumps(answer).encode())
            calls.append(call)
        for call in calls:
            call.end()
        estimator.flush()

    second, first = spans.get_finished_spans()
    assert (first.attributes or {})[semconv.USAGE_SOURCE] == "provider"
    assert (second.attributes or {})[semconv.RESPONSE_ID] == "c2"
    assert (second.attributes or {})[semconv.USAGE_SOURCE] == "estimated"


def test_a_failed_attempt_inside_anothers_span_leaves_it_to_the_next(
    tracing: tuple[TracerProvider, InMemorySpanExporter], spans: InMemorySpanExporter
) -> None:
    opened = {semconv.OPERATION: "chat", semconv.REQUEST_MODEL: "gpt-5-mini"}
    answers = [httpx2.Response(503), httpx2.Response(200, json=ANSWER)]
    with (
        httpx2.Client(transport=httpx2.MockTransport(lambda _: answers.pop(0))) as client,
        tracing[0].get_tracer("other").start_as_current_span("chat", attributes=opened),
    ):
        client.post(URL, json=BODY)
        client.post(URL, json=BODY)

    assert only(spans)["gen_ai.usage.input_tokens"] == 9


def test_the_calls_of_a_task_that_was_started_while_another_was_sent_are_seen(
    spans: InMemorySpanExporter,
) -> None:
    async def run() -> None:
        is_sent = asyncio.Event()
        tasks: list[asyncio.Task[None]] = []

        async def refresh() -> None:
            await is_sent.wait()
            async with httpx.AsyncClient(transport=answering(httpx)) as client:
                await client.post(URL, json=BODY)

        async def handle(_: httpx.Request) -> httpx.Response:
            if not tasks:
                tasks.append(asyncio.create_task(refresh()))
            return httpx.Response(200, json=ANSWER)

        async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as client:
            await client.post(URL, json=BODY)
        is_sent.set()
        await tasks[0]

    asyncio.run(run())

    assert len(spans.get_finished_spans()) == 2


def test_a_span_of_another_kind_becomes_the_parent(
    tracing: tuple[TracerProvider, InMemorySpanExporter], spans: InMemorySpanExporter
) -> None:
    with (
        httpx2.Client(transport=answering(httpx2)) as client,
        tracing[0]
        .get_tracer("other")
        .start_as_current_span(
            "invoke_agent", attributes={semconv.OPERATION: "invoke_agent"}
        ) as agent,
    ):
        client.post(URL, json=BODY)

    call = spans.get_finished_spans()[0]
    assert call.parent is not None
    assert call.parent.span_id == agent.get_span_context().span_id
