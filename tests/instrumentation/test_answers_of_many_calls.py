"""Answers that hold more than one billed call, or a call whose usage comes with a later answer."""

import json
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import tallyspan
from tallyspan import meters, semconv
from tallyspan.background import MAX_REMEMBERED, Background
from tallyspan.estimate import estimator

MESSAGES = "https://api.anthropic.com/v1/messages"
COMPOUND = "https://api.groq.com/openai/v1/chat/completions"
RESPONSES = "https://api.openai.com/v1/responses"
QUEUED = {"id": "resp_1", "object": "response", "status": "queued", "background": True,
          "model": "gpt-5", "usage": None}  # fmt: skip
DONE = QUEUED | {"status": "completed", "usage": {"input_tokens": 14, "output_tokens": 12}}


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallyspan.exchange.background", Background())


def answering(*answers: dict[str, Any]) -> httpx.Client:
    waiting = list(answers)
    return httpx.Client(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, json=waiting.pop(0)))
    )


def said(spans: InMemorySpanExporter) -> list[dict[str, Any]]:
    estimator.flush()
    return [dict(span.attributes or {}) for span in spans.get_finished_spans()]


def tokens(attributes: dict[str, Any]) -> tuple[object, object]:
    return (
        attributes.get("gen_ai.usage.input_tokens"),
        attributes.get("gen_ai.usage.output_tokens"),
    )


def test_an_advisor_and_a_compaction_are_calls_of_the_model_that_did_them(
    spans: InMemorySpanExporter,
) -> None:
    answer = {
        "id": "msg_1", "type": "message", "model": "claude-sonnet-5", "stop_reason": "end_turn",
        "usage": {
            "input_tokens": 100, "output_tokens": 10,
            "iterations": [
                {"type": "message", "input_tokens": 100, "output_tokens": 10},
                {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 2543,
                 "output_tokens": 18},
                {"type": "compaction", "input_tokens": 55, "output_tokens": 3},
            ],
        },
    }  # fmt: skip
    with (
        tallyspan.attribution(user_id="ada", department="R&D", tags={"team": "x"}),
        answering(answer) as client,
    ):
        client.post(MESSAGES, json={"model": "claude-sonnet-5", "messages": []})

    call, advisor, compaction = said(spans)
    assert tokens(call) == (100, 10)
    assert semconv.CALL_PART not in call
    assert (advisor[semconv.CALL_PART], advisor[semconv.REQUEST_MODEL]) == (
        "advisor_message",
        "claude-opus-4-8",
    )
    assert tokens(advisor) == (2543, 18)
    assert (compaction[semconv.CALL_PART], compaction[semconv.REQUEST_MODEL]) == (
        "compaction",
        "claude-sonnet-5",
    )
    for part in (advisor, compaction):
        assert part[semconv.USER_ID] == "ada"
        assert part[semconv.DEPARTMENT] == "R&D"
        assert part["tallyspan.tag.team"] == "x"
        assert semconv.RESPONSE_ID not in part


def test_what_the_image_tool_used_is_the_image_models(spans: InMemorySpanExporter) -> None:
    answer = DONE | {
        "background": False,
        "tools": [{"type": "image_generation", "model": "gpt-image-2"}],
        "tool_usage": {
            "image_gen": {
                "input_tokens": 50, "output_tokens": 1120,
                "input_tokens_details": {"image_tokens": 30, "text_tokens": 20},
                "output_tokens_details": {"image_tokens": 1120, "text_tokens": 0},
            },
            "web_search": {"num_requests": 3},
        },
    }  # fmt: skip
    with answering(answer) as client:
        client.post(RESPONSES, json={"model": "gpt-5", "input": "draw"})

    call, image = said(spans)
    assert tokens(call) == (14, 12)
    assert call["tallyspan.meter.web_search"] == 3
    assert image[semconv.REQUEST_MODEL] == "gpt-image-2"
    assert tokens(image) == (50, 1120)
    assert image["gen_ai.usage.image.output_tokens"] == 1120


def compound(*used: tuple[str, int, int], stated: tuple[int, int]) -> dict[str, Any]:
    def usage(given: int, made: int) -> dict[str, int]:
        return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}

    models = [{"model": model, "usage": usage(*counts)} for model, *counts in used]
    return {"id": "c1", "object": "chat.completion", "model": "groq/compound",
            "choices": [{"finish_reason": "stop"}],
            "usage": usage(*stated), "usage_breakdown": {"models": models}}  # fmt: skip


def test_the_models_in_a_compound_system_of_groq_are_calls_of_their_own(
    spans: InMemorySpanExporter,
) -> None:
    used = (
        ("llama-3.3-70b-versatile", 138, 4),
        ("llama-4-scout", 495, 106),
        ("llama-4-scout", 9, 5),
    )
    with answering(compound(*used, stated=(642, 115))) as client:
        client.post(COMPOUND, json={"model": "groq/compound", "messages": []})

    system, *models = said(spans)
    assert tokens(system) == (0, 0)
    assert [(each[semconv.REQUEST_MODEL], *tokens(each)) for each in models] == list(used)
    assert {each[semconv.CALL_PART] for each in models} == {"compound"}


def test_a_breakdown_that_does_not_add_up_leaves_the_sum_with_the_system(
    spans: InMemorySpanExporter,
) -> None:
    used = (("llama-3.3-70b-versatile", 642, 115), ("llama-4-scout", 642, 115))
    with answering(compound(*used, stated=(642, 115))) as client:
        client.post(COMPOUND, json={"model": "groq/compound", "messages": []})

    (system,) = said(spans)
    assert tokens(system) == (642, 115)


def test_a_background_answer_is_booked_once_with_the_poll_that_says_its_usage(
    spans: InMemorySpanExporter,
) -> None:
    with answering(QUEUED, QUEUED | {"status": "in_progress"}, DONE, DONE) as client:
        with tallyspan.attribution(user_id="ada"):
            client.post(RESPONSES, json={"model": "gpt-5", "input": "x", "background": True})
        for _ in range(3):
            client.get(f"{RESPONSES}/resp_1")

    posted, retrieved = said(spans)
    assert posted[semconv.USAGE_SOURCE] == "deferred"
    assert tokens(posted) == (None, None)
    assert tokens(retrieved) == (14, 12)
    assert retrieved[semconv.USER_ID] == "ada"
    ids = spans.get_finished_spans()[0].get_span_context()
    assert ids is not None
    assert retrieved[semconv.CALL_ID] == f"{ids.trace_id:032x}-{ids.span_id:016x}"


def test_looking_at_an_answer_that_was_not_made_in_the_background_is_no_call(
    spans: InMemorySpanExporter,
) -> None:
    with answering(DONE | {"background": False}) as client:
        client.get(f"{RESPONSES}/resp_1")

    assert said(spans) == []


def test_another_process_may_have_asked_for_what_is_retrieved(
    spans: InMemorySpanExporter,
) -> None:
    with answering(DONE) as client:
        client.get(f"{RESPONSES}/resp_1?include[]=usage")

    (retrieved,) = said(spans)
    assert tokens(retrieved) == (14, 12)
    assert semconv.CALL_ID not in retrieved


def test_what_is_remembered_is_bounded() -> None:
    background = Background()
    for number in range(MAX_REMEMBERED + 1):
        background.defer(str(number), {"number": number})

    assert background.book("1") == {"number": 1}
    assert background.book("1") is None
    assert background.book("0") == {}


@pytest.mark.parametrize(
    ("path", "asked", "answer", "unit", "amount"),
    [
        ("/v1/audio/speech", {"model": "tts-1", "input": "Grüße"}, None, "characters", 5),
        (
            "/v1/audio/transcriptions",
            {"model": "whisper-1"},
            {"text": "hi", "usage": {"type": "duration", "seconds": 7.5}},
            "seconds",
            7.5,
        ),
        (
            "/v1/images/generations",
            {"model": "dall-e-3", "prompt": "a cat"},
            {"created": 1, "data": [{"url": "u"}, {"url": "v"}]},
            "images",
            2,
        ),
    ],
)
def test_what_is_billed_beside_tokens_is_counted_in_its_unit(
    spans: InMemorySpanExporter,
    path: str,
    asked: dict[str, Any],
    answer: dict[str, Any] | None,
    unit: str,
    amount: float,
) -> None:
    def handle(_: httpx.Request) -> httpx.Response:
        if answer is None:
            return httpx.Response(200, content=b"\xff\xf3", headers={"content-type": "audio/mpeg"})
        return httpx.Response(200, json=answer)

    with httpx.Client(transport=httpx.MockTransport(handle)) as client:
        client.post(f"https://api.openai.com{path}", json=asked)

    (call,) = said(spans)
    assert call[meters.PREFIX + unit] == amount


def test_moderation_and_the_oldest_api_of_anthropic_are_calls_too(
    spans: InMemorySpanExporter,
) -> None:
    completion = {"id": "compl_1", "model": "claude-2.1", "completion": " Hello there, Ada.",
                  "stop_reason": "stop_sequence"}  # fmt: skip
    with answering({"id": "modr-1", "model": "omni-moderation", "results": []}, completion) as c:
        c.post("https://api.openai.com/v1/moderations", json={"input": "x"})
        c.post(
            "https://api.anthropic.com/v1/complete",
            json={"model": "claude-2.1", "prompt": "\n\nHuman: Hi\n\nAssistant:"},
        )

    moderation, complete = said(spans)
    assert moderation[semconv.OPERATION] == "moderation"
    assert complete[semconv.USAGE_SOURCE] == "estimated"
    given, made = tokens(complete)
    assert isinstance(given, int)
    assert isinstance(made, int)
    assert given > 5
    assert 3 <= made <= 8


def test_gemini_interactions_and_mistral_conversations_have_their_own_usage(
    spans: InMemorySpanExporter,
) -> None:
    interaction = {
        "id": "i1", "model": "gemini-3-flash", "status": "completed",
        "usage": {"total_input_tokens": 10, "total_tool_use_tokens": 5, "total_output_tokens": 3,
                  "total_thought_tokens": 4, "total_cached_tokens": 2, "total_tokens": 22},
    }  # fmt: skip
    conversation = {
        "object": "conversation.response", "conversation_id": "conv_1", "outputs": [],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "connector_tokens": 30,
                  "total_tokens": 39},
    }  # fmt: skip
    with answering(interaction, conversation) as client:
        client.post(
            "https://generativelanguage.googleapis.com/v1beta/interactions",
            json={"model": "gemini-3-flash", "input": "x"},
        )
        client.post(
            "https://api.mistral.ai/v1/conversations",
            json={"model": "mistral-medium", "inputs": "x"},
        )

    first, second = said(spans)
    assert tokens(first) == (15, 7)
    assert first["gen_ai.usage.reasoning.output_tokens"] == 4
    assert first["gen_ai.usage.cache_read.input_tokens"] == 2
    assert tokens(second) == (37, 2)


def test_a_large_answer_is_read_without_parsing_its_vectors(spans: InMemorySpanExporter) -> None:
    vectors = [{"embedding": [0.125] * 3000, "index": number} for number in range(40)]
    answer = {"object": "list", "data": vectors, "model": "text-embedding-3-large",
              "usage": {"prompt_tokens": 77, "total_tokens": 77}}  # fmt: skip
    with answering(answer) as client:
        got = client.post(
            "https://api.openai.com/v1/embeddings", json={"model": "m", "input": ["x"]}
        )

    assert got.json() == json.loads(json.dumps(answer))
    (call,) = said(spans)
    assert tokens(call) == (77, None)
    assert call[semconv.RESPONSE_MODEL] == "text-embedding-3-large"


SESSION = {"id": "sesn_1", "type": "session", "status": "idle", "agent": {"model": {"id": "claude"}},
           "usage": {"input_tokens": 5, "output_tokens": 6}}  # fmt: skip
USED = {"usage": {"input_tokens": 14, "output_tokens": 12}}


@pytest.mark.parametrize(
    ("url", "unfinished", "over"),
    [
        ("https://api.anthropic.com/v1/sessions/sesn_1", SESSION,
         SESSION | USED | {"status": "terminated"}),
    ],
)  # fmt: skip
def test_what_ends_later_is_booked_once_when_it_is_over(
    spans: InMemorySpanExporter, url: str, unfinished: dict[str, Any], over: dict[str, Any]
) -> None:
    with answering(unfinished, unfinished, over, over, over) as client:
        for _ in range(5):
            client.get(url)

    (call,) = said(spans)
    assert tokens(call) == (14, 12)
    assert call[semconv.RESPONSE_ID] == over["id"]
