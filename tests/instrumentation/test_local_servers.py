"""LM Studio's own API and Hugging Face TGI: what they state, by their documentation."""

import json
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tallyspan import semconv
from tallyspan.estimate import estimator

LM_STUDIO = "http://localhost:1234/api/v1/chat"
TGI = "http://tgi.internal:8080/generate"
RESULT = {
    "model_instance_id": "openai/gpt-oss-20b",
    "output": [{"type": "reasoning", "content": "Hm."}, {"type": "message", "content": "Hello."}],
    "stats": {"input_tokens": 329, "total_output_tokens": 268, "reasoning_output_tokens": 5,
              "tokens_per_second": 43.73},
    "response_id": "resp_1",
}  # fmt: skip
EVENTS: list[dict[str, Any]] = [
    {"type": "chat.start", "model_instance_id": "openai/gpt-oss-20b"},
    {"type": "prompt_processing.progress", "progress": 0.5},
    {"type": "message.delta", "content": "Hello."},
]
TOKENS: list[dict[str, Any]] = [
    {"index": 1, "token": {"id": 5, "text": "Hello", "special": False}, "generated_text": None},
    {"index": 2, "token": {"id": 6, "text": " there", "special": False}, "generated_text": None},
]


def streamed(*events: dict[str, Any]) -> httpx.Response:
    body = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in events)
    return httpx.Response(
        200, headers={"content-type": "text/event-stream"}, stream=httpx.ByteStream(body)
    )


def call(
    spans: InMemorySpanExporter, url: str, asked: dict[str, Any], answer: httpx.Response
) -> dict[str, Any]:
    with httpx.Client(transport=httpx.MockTransport(lambda _: answer)) as client:
        client.post(url, json=asked)
    estimator.flush()
    (span,) = spans.get_finished_spans()
    return dict(span.attributes or {})


def tokens(said: dict[str, Any]) -> tuple[object, object]:
    return said.get("gen_ai.usage.input_tokens"), said.get("gen_ai.usage.output_tokens")


@pytest.mark.parametrize("is_stream", [False, True])
def test_lm_studio_states_its_counts_among_its_stats(
    spans: InMemorySpanExporter, is_stream: bool
) -> None:
    answer = httpx.Response(200, json=RESULT)
    if is_stream:
        answer = streamed(*EVENTS, {"type": "chat.end", "result": RESULT})
    said = call(spans, LM_STUDIO, {"model": "gpt-oss", "input": "hi", "stream": is_stream}, answer)

    assert tokens(said) == (329, 268)
    assert said["gen_ai.usage.reasoning.output_tokens"] == 5
    assert said[semconv.PROVIDER] == "lm_studio"
    assert said[semconv.RESPONSE_MODEL] == "openai/gpt-oss-20b"
    assert said[semconv.RESPONSE_ID] == "resp_1"


def test_a_stream_of_lm_studio_that_fails_says_why(spans: InMemorySpanExporter) -> None:
    error = {"type": "error", "error": {"type": "model_not_found", "message": "no such model"}}
    said = call(spans, LM_STUDIO, {"model": "x", "input": "hi"}, streamed(EVENTS[0], error))

    assert said[semconv.ERROR_TYPE] == "model_not_found"


def test_the_older_api_of_lm_studio_states_usage_like_openai(spans: InMemorySpanExporter) -> None:
    answer = {"id": "c1", "model": "granite", "choices": [{"finish_reason": "stop"}],
              "usage": {"prompt_tokens": 24, "completion_tokens": 53, "total_tokens": 77},
              "stats": {"tokens_per_second": 51.4, "generation_time": 0.95}}  # fmt: skip
    url = "http://localhost:1234/api/v0/chat/completions"
    said = call(spans, url, {"model": "granite", "messages": []}, httpx.Response(200, json=answer))

    assert tokens(said) == (24, 53)


DETAILS = {"finish_reason": "length", "generated_tokens": 20, "prefill": [], "tokens": []}
PREFILL = [{"id": 1, "text": "<s>", "logprob": None}, {"id": 2, "text": "Hi", "logprob": -1.5}]
OTHER = {"finish_reason": "length", "generated_tokens": 7, "generated_text": "Hey"}
HEADERS = {"x-prompt-tokens": "9", "x-generated-tokens": "20"}


@pytest.mark.parametrize(
    ("details", "headers", "counted"),
    [
        (None, HEADERS, (9, 20)),
        (DETAILS, HEADERS, (9, 20)),
        (DETAILS | {"prefill": PREFILL}, {}, (2, 20)),
        (DETAILS | {"best_of_sequences": [OTHER]}, HEADERS, (9, 27)),
    ],
    ids=["in headers", "in both", "with the prompt's tokens", "best of two"],
)
def test_tgi_states_its_counts_in_headers_and_details(
    spans: InMemorySpanExporter,
    details: dict[str, Any] | None,
    headers: dict[str, str],
    counted: tuple[int, int],
) -> None:
    body = {"generated_text": "Hello there", "details": details}
    said = call(spans, TGI, {"inputs": "Hi"}, httpx.Response(200, json=body, headers=headers))

    assert tokens(said) == counted
    assert said[semconv.PROVIDER] == "hugging_face"
    assert said[semconv.OPERATION] == "text_completion"
    assert said[semconv.USAGE_SOURCE] == "provider"


def test_a_stream_of_tgi_states_its_counts_at_the_end(spans: InMemorySpanExporter) -> None:
    end = {"index": 3, "token": {"id": 7, "text": ".", "special": False},
           "generated_text": "Hello there.",
           "details": {"finish_reason": "eos_token", "generated_tokens": 3, "input_length": 11,
                       "seed": None}}  # fmt: skip
    said = call(spans, TGI + "_stream", {"inputs": "Hi"}, streamed(*TOKENS, end))

    assert tokens(said) == (11, 3)
    assert said[semconv.FINISH_REASONS] == ("eos_token",)
    assert said[semconv.REQUEST_STREAM] is True


def test_a_stream_of_tgi_without_details_is_counted(spans: InMemorySpanExporter) -> None:
    said = call(spans, TGI + "_stream", {"inputs": "How are you?"}, streamed(*TOKENS))

    assert said[semconv.USAGE_SOURCE] == "estimated"
    assert said["gen_ai.usage.output_tokens"] == 2
    assert said["gen_ai.usage.input_tokens"] > 3


def test_an_error_of_tgi_says_its_type(spans: InMemorySpanExporter) -> None:
    error = {"error": "Input validation error", "error_type": "validation"}
    said = call(spans, TGI + "_stream", {"inputs": "Hi"}, streamed(error))

    assert said[semconv.ERROR_TYPE] == "validation"


def test_other_services_with_such_a_path_are_no_calls(spans: InMemorySpanExporter) -> None:
    answer = httpx.Response(200, json={"report": "done"})
    with httpx.Client(transport=httpx.MockTransport(lambda _: answer)) as client:
        client.post("http://reports.internal/generate", json={"inputs": ["sales"]})
        client.post("http://reports.internal/api/v1/chat", json={"input": "hello"})

    assert spans.get_finished_spans() == ()
