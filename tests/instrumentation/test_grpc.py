"""gRPC: one call one span by whatever way a method is called, and the messages as they came."""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import grpc_services as services
import tallyspan
from grpc_services import CHAT, CHUNK, DEFER, FETCH, GENERATE, HEALTH, MESSAGES, PREDICT, STREAM
from tallyspan import semconv
from tallyspan.exchange import settle
from tallyspan.grpc_methods import MAX_CHARACTERS, MAX_FIELDS, as_json
from tallyspan.guard import failures
from tallyspan.not_understood import sightings

VERTEX_MODEL = "projects/p/locations/us-central1/publishers/google/models/gemini-2.5-pro"
USAGE = MESSAGES["Usage"](
    prompt_tokens=1500, prompt_text_tokens=1500, cached_prompt_text_tokens=1024,
    completion_tokens=9, reasoning_tokens=320, total_tokens=1829,
    server_side_tools_used=[1, 1], cost_in_usd_ticks=137_756_000,
)  # fmt: skip
ANSWER = MESSAGES["Completion"](
    id="r-1", model="grok-4-0709", usage=USAGE, outputs=[{"finish_reason": 1}]
)
FIRST = MESSAGES["Completion"](
    id="r-1", model="grok-4-0709", outputs=[{"delta": {"content": "Hi"}}],
    usage={"prompt_tokens": 1500, "completion_tokens": 1, "total_tokens": 1501},
)  # fmt: skip
GENERATED = MESSAGES["Generated"](
    candidates=[{"finish_reason": 1, "content": {"content": "Hi"}}],
    usage_metadata={
        "prompt_token_count": 1200, "candidates_token_count": 80, "thoughts_token_count": 320,
        "cached_content_token_count": 1024, "total_token_count": 1600,
        "prompt_tokens_details": [{"modality": 1, "token_count": 1200}],
    },
    model_version="gemini-2.5-pro", response_id="v-1",
)  # fmt: skip
EMBEDDING = {"embeddings": {"values": [0.1] * 8, "statistics": {"token_count": 4}}}
PREDICTION = ParseDict(
    {"predictions": [EMBEDDING, EMBEDDING], "metadata": {"billableCharacterCount": 11}},
    MESSAGES["Prediction"](),
)


def refuse(_: Any, context: grpc.ServicerContext) -> Any:
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many")


def chunks(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
    if request.model == "refused":
        refuse(request, context)
    yield FIRST
    if request.model == "cut":
        context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
    yield ANSWER


def fetched(request: Any, _: grpc.ServicerContext) -> Any:
    is_done = request.request_id == "d-1" and next(POLLS) >= 1
    return MESSAGES["Fetched"](status=1 if is_done else 2, response=ANSWER if is_done else None)


POLLS = iter(range(100))
SERVED = {
    CHAT: lambda request, context: refuse(request, context) if request.model == "refused" else ANSWER,
    CHUNK: chunks,
    DEFER: lambda _request, _context: MESSAGES["Deferred"](request_id="d-1"),
    FETCH: fetched,
    GENERATE: lambda _request, _context: GENERATED,
    STREAM: lambda _request, _context: iter([GENERATED]),
    PREDICT: lambda _request, _context: PREDICTION,
    HEALTH: lambda _request, _context: ANSWER,
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with services.serving(SERVED) as address:
        yield address


def attributes(spans: InMemorySpanExporter) -> dict[str, Any]:
    settle(2)
    (span,) = spans.get_finished_spans()
    return dict(span.attributes or {})


CASES = [
    *((caller, CHAT) for caller in services.CALLERS),
    *((caller, GENERATE) for caller in services.CALLERS),
    *((caller, CHUNK) for caller in services.STREAM_CALLERS),
    *((caller, STREAM) for caller in services.STREAM_CALLERS),
]
NAMES = [f"{caller.__name__} {name.rpartition('/')[2]}" for caller, name in CASES]


@pytest.mark.parametrize(("caller", "name"), CASES, ids=NAMES)
def test_a_call_is_one_span_with_the_counts_of_its_answer(
    server: str, spans: InMemorySpanExporter, caller: services.Caller, name: str
) -> None:
    is_xai = name in {CHAT, CHUNK}
    request = services.request_of(name, model="grok-4" if is_xai else VERTEX_MODEL, user="u-7")
    messages = caller(server, name, request)

    assert messages[-1] == (ANSWER if is_xai else GENERATED)
    call = attributes(spans)
    counts = {each: call.get(semconv.USAGE_ATTRIBUTES[f"{each}_tokens"])
              for each in ("input", "output", "cache_read", "reasoning")}  # fmt: skip
    # xAI: 9 and 320 beside it; Vertex: 80 candidates and 320 thoughts
    assert counts == {
        "input": 1500 if is_xai else 1200, "output": 329 if is_xai else 400,
        "cache_read": 1024, "reasoning": 320,
    }  # fmt: skip
    assert call[semconv.RESPONSE_ID] == ("r-1" if is_xai else "v-1")
    assert call[semconv.REQUEST_MODEL] == ("grok-4" if is_xai else "gemini-2.5-pro")
    assert call.get(semconv.REQUEST_STREAM, False) == (name in services.STREAMS)
    assert call.get(semconv.REPORTED_COST_USD) == ("0.0137756000" if is_xai else None)
    assert call.get("tallyspan.meter.web_search") == (2 if is_xai else None)
    assert call[semconv.HTTP_STATUS] == 200
    assert call[semconv.PROVIDER] == ("x_ai" if is_xai else "gcp.vertex_ai")
    assert not failures


def test_a_prediction_has_its_tokens_and_the_characters_that_are_billed(
    server: str, spans: InMemorySpanExporter
) -> None:
    endpoint = VERTEX_MODEL.replace("gemini-2.5-pro", "text-embedding-005")
    services.blocking(server, PREDICT, services.request_of(PREDICT, endpoint=endpoint))

    call = attributes(spans)
    assert call[semconv.USAGE_ATTRIBUTES["input_tokens"]] == 8  # 4 of each of the two texts
    assert call["tallyspan.meter.characters"] == 11
    assert call["tallyspan.condition.region"] == "us-central1"


def test_what_is_deferred_is_one_call_once_it_is_done_however_often_it_is_fetched(
    server: str, spans: InMemorySpanExporter
) -> None:
    with tallyspan.attribution(user_id="ann"):
        services.blocking(server, DEFER, services.request_of(DEFER, model="grok-4"))
    for _ in range(4):  # pending, done, done again
        services.blocking(server, FETCH, services.request_of(FETCH, request_id="d-1"))

    settle(2)
    posted, retrieved = spans.get_finished_spans()
    deferred, call = (dict(span.attributes or {}) for span in (posted, retrieved))
    assert (deferred[semconv.USAGE_SOURCE], call[semconv.USAGE_SOURCE]) == ("deferred", "provider")
    assert (deferred[semconv.RESPONSE_ID], call[semconv.RESPONSE_ID]) == ("d-1", "r-1")
    assert posted.context is not None
    assert str(call[semconv.CALL_ID]).endswith(f"-{posted.context.span_id:016x}")
    assert call[semconv.USER_ID] == "ann"
    assert call[semconv.REPORTED_COST_USD] == "0.0137756000"


@pytest.mark.parametrize("caller", services.CALLERS, ids=lambda each: each.__name__)
def test_a_refused_call_has_the_status_that_the_code_is_in_http(
    server: str, spans: InMemorySpanExporter, caller: services.Caller
) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        caller(server, CHAT, services.request_of(CHAT, model="refused"))

    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    call = attributes(spans)
    assert (call[semconv.ERROR_TYPE], call[semconv.HTTP_STATUS]) == ("429", 429)


@pytest.mark.parametrize("caller", services.STREAM_CALLERS, ids=lambda each: each.__name__)
@pytest.mark.parametrize(
    ("model", "error", "output"), [("refused", "429", None), ("cut", "UNAVAILABLE", 1)]
)
def test_a_stream_that_fails_has_the_counts_that_came_before(
    server: str, spans: InMemorySpanExporter, caller: services.Caller, model: str, error: str,
    output: int | None,
) -> None:  # fmt: skip
    with pytest.raises(grpc.RpcError):
        caller(server, CHUNK, services.request_of(CHUNK, model=model))

    call = attributes(spans)
    assert call[semconv.ERROR_TYPE] == error
    assert call.get(semconv.USAGE_ATTRIBUTES["output_tokens"]) == output


@pytest.mark.parametrize("tail", [0, 1, 3, 200])
def test_counts_are_those_of_the_last_chunk_that_has_any(
    spans: InMemorySpanExporter, tail: int
) -> None:
    text = MESSAGES["Completion"](id="r-1", outputs=[{"delta": {"content": "Hi"}}])
    sent = [FIRST, *[text] * 100, ANSWER, *[text] * tail]
    with services.serving({CHUNK: lambda _request, _context: iter(sent)}) as address:
        assert services.blocking(address, CHUNK, services.request_of(CHUNK, model="m")) == sent

    call = attributes(spans)
    assert call[semconv.USAGE_ATTRIBUTES["output_tokens"]] == 329
    assert call[semconv.FINISH_REASONS] == ("REASON_STOP",)


def leave(stream: Any) -> None:
    del stream
    gc.collect()


@pytest.mark.parametrize(
    ("end", "error"), [(lambda stream: stream.cancel(), "CANCELLED"), (leave, None)]
)
def test_a_stream_that_is_left_early_is_a_call_with_the_counts_so_far(
    server: str, spans: InMemorySpanExporter, end: Callable[[Any], None], error: str | None
) -> None:
    with grpc.insecure_channel(server) as channel:
        stream = services.stub(channel, CHUNK)(services.request_of(CHUNK, model="grok-4"))
        assert next(stream) == FIRST
        end(stream)
        del stream
        call = attributes(spans)

    assert call[semconv.USAGE_ATTRIBUTES["input_tokens"]] == 1500
    assert call.get(semconv.ERROR_TYPE) == error


def test_a_call_beside_the_span_of_its_sdk_is_a_span_below_it(
    server: str, spans: InMemorySpanExporter, tracing: tuple[TracerProvider, InMemorySpanExporter]
) -> None:
    # xai-sdk writes its own counts into its span after the answer: output without the reasoning
    tracer = tracing[0].get_tracer("xai_sdk.sync.chat")
    with tracer.start_as_current_span(
        "chat.sample grok-4",
        attributes={semconv.OPERATION: "chat", semconv.REQUEST_MODEL: "grok-4"},
    ) as outer:
        services.blocking(server, CHAT, services.request_of(CHAT, model="grok-4"))
    settle(2)

    ours, theirs = sorted(spans.get_finished_spans(), key=lambda each: each.parent is None)
    assert ours.parent is not None
    assert ours.parent.span_id == outer.get_span_context().span_id
    assert semconv.USAGE_SOURCE not in (theirs.attributes or {})


def test_callables_are_the_librarys_own_in_all_but_calling_them(
    server: str, spans: InMemorySpanExporter
) -> None:
    with grpc.insecure_channel(server) as channel:
        assert isinstance(services.stub(channel, CHAT), grpc.UnaryUnaryMultiCallable)
        assert isinstance(services.stub(channel, CHUNK), grpc.UnaryStreamMultiCallable)
        assert type(services.stub(channel, HEALTH)).__module__ == "grpc._channel"  # left alone
        assert services.stub(channel, HEALTH)(services.request_of(HEALTH), timeout=10) == ANSWER
        stream = services.stub(channel, CHUNK)(services.request_of(CHUNK), timeout=10)
        assert isinstance(stream, grpc.Call)
        assert list(stream) == [FIRST, ANSWER]
        assert stream.code() is grpc.StatusCode.OK
    assert attributes(spans)[semconv.OPERATION] == "chat"


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("/xai_api.BatchMgmt/CreateBatch", "1 POST 127.0.0.1/xai_api/batchMgmt/createBatch"),
        ("/xai_api.BatchMgmt/GetBatch", None),
        ("/xai_api.Models/ListLanguageModels", None),
        ("/google.cloud.aiplatform.v1.PredictionService/DirectPredict",
         "1 POST 127.0.0.1/aiplatform/predictionService/directPredict"),
        ("/google.cloud.aiplatform.v1.JobService/CreateBatchPredictionJob", None),
        ("/google.ai.generativelanguage.v1beta.GenerativeService/CountTokens", None),
    ],
)  # fmt: skip
def test_a_method_that_bills_and_that_nobody_knows_is_counted(
    server: str, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch, name: str,
    seen: str | None,
) -> None:  # fmt: skip
    monkeypatch.setattr("tallyspan.not_understood.is_of_a_provider", lambda _host: True)
    sightings.reset()
    with grpc.insecure_channel(server) as channel:
        call = channel.unary_unary(name, MESSAGES["Request"].SerializeToString)
        with pytest.raises(grpc.RpcError):
            call(services.request_of(CHAT), timeout=10)
    settle(2)

    told = [dict(each.attributes or {}) for each in spans.get_finished_spans()]
    assert told == ([] if seen is None else [{semconv.NOT_UNDERSTOOD: (seen,)}])


def test_callables_that_outlive_the_instrumentation_write_nothing(
    server: str, spans: InMemorySpanExporter, tracing: tuple[TracerProvider, InMemorySpanExporter]
) -> None:
    with grpc.insecure_channel(server) as channel:
        call = services.stub(channel, CHAT)
        tallyspan.uninstrument()
        assert call(services.request_of(CHAT, model="grok-4"), timeout=10) == ANSWER
        assert type(services.stub(channel, CHAT)).__module__ == "grpc._channel"
        tallyspan.instrument(tracer_provider=tracing[0])
        settle(2)
        assert spans.get_finished_spans() == ()
        call(services.request_of(CHAT, model="grok-4"), timeout=10)
    assert attributes(spans)[semconv.RESPONSE_ID] == "r-1"


def test_an_answer_that_is_no_message_reaches_the_application(
    server: str, spans: InMemorySpanExporter
) -> None:
    with grpc.insecure_channel(server) as channel:
        raw = channel.unary_unary(CHAT, MESSAGES["Request"].SerializeToString)
        answer = raw(services.request_of(CHAT, model="grok-4"), timeout=10)

    assert MESSAGES["Completion"].FromString(answer) == ANSWER
    settle(2)
    assert (
        spans.get_finished_spans() == ()
    )  # at a host that nobody knows it shows no sign of a model
    assert failures.pop("read a message of an answer") == 1


def test_a_message_of_very_many_fields_has_its_usage_and_says_that_it_was_cut() -> None:
    many = MESSAGES["Completion"](usage=USAGE, outputs=[{"index": 1}] * (2 * MAX_FIELDS))
    content, is_cut = as_json(many)

    assert is_cut
    assert content["usage"]["promptTokens"] == 1500
    assert len(content["outputs"]) < MAX_FIELDS


def test_no_content_is_read() -> None:
    secret = "a secret" * MAX_CHARACTERS
    message = MESSAGES["Completion"](
        outputs=[{"message": {"content": secret}, "delta": {"content": secret}}], vector=[0.5] * 9
    )

    assert as_json(message) == ({"outputs": [{}]}, False)
    assert as_json(MESSAGES["Request"](user=secret)) == ({"user": secret[:MAX_CHARACTERS]}, False)


WORDS = st.text(max_size=8)
JSON = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


def without_vectors(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_vectors(v) for k, v in value.items() if not is_vector(v)}
    if isinstance(value, list):
        return [without_vectors(each) for each in value if not is_vector(each)]
    return value


def is_vector(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and type(value[0]) is int


@settings(max_examples=30)
@given(st.dictionaries(WORDS, JSON, max_size=4))
def test_json_inside_a_message_is_the_same_json_but_for_vectors(value: dict[str, Any]) -> None:
    message = ParseDict({"metadata": value}, MESSAGES["Prediction"]())

    assert as_json(message) == ({"metadata": without_vectors(value)}, False)
