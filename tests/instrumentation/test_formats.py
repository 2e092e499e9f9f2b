"""Formats the recordings in the repository do not have, from their documented shapes."""

import base64
import itertools
import json
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tallyspan.answer import Answer
from tallyspan.formats import FORMATS
from tallyspan.framing import Interest
from tallyspan.framing.aws_eventstream import AwsEventStream


def frame(payload: bytes, headers: bytes = b"\x0b:event-type\x07\x00\x04test") -> bytes:
    total = 12 + len(headers) + len(payload) + 4
    return struct.pack(">III", total, len(headers), 0) + headers + payload + b"\0\0\0\0"


def read(wire_format: str, *bodies: Any, headers: dict[str, str] | None = None) -> Answer:
    description, answer = FORMATS[wire_format], Answer()
    if description.read_headers is not None:
        description.read_headers(headers or {}, answer)
    read_event = description.open_reader()
    for body in bodies:
        read_event(body, answer)
    return answer


def counts(answer: Answer) -> tuple[int | None, int | None]:
    assert answer.usage is not None
    return answer.usage.input_tokens, answer.usage.output_tokens


def chunk(body: Any) -> dict[str, str]:
    return {"bytes": base64.b64encode(json.dumps(body).encode()).decode()}


FRAMES = b"".join(
    frame(payload)
    for payload in (b'{"contentBlockIndex":0}', b'{"stopReason":"end_turn"}', b'{"usage":{}}')
)


@given(st.lists(st.integers(0, len(FRAMES))))
def test_aws_frames_do_not_depend_on_cuts(places: list[int]) -> None:
    framing = AwsEventStream(Interest((b"usage", b"stopReason")))
    borders = sorted({0, len(FRAMES), *places})
    found = [
        data
        for start, end in itertools.pairwise(borders)
        for data in framing.feed(FRAMES[start:end])
    ]

    assert found == [b'{"stopReason":"end_turn"}', b'{"usage":{}}']


@given(st.binary(max_size=300))
def test_garbage_where_frames_should_be_is_dropped_and_not_kept(body: bytes) -> None:
    framing = AwsEventStream(Interest((b"usage",)))
    framing.feed(b"\xff" * 12)
    framing.feed(body)

    assert len(framing._rest) == 0


def test_converse_adds_the_cache_to_the_input() -> None:
    usage = {
        "inputTokens": 10, "outputTokens": 3, "cacheReadInputTokens": 100, "cacheWriteInputTokens": 50,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 20}, {"ttl": "5m", "inputTokens": 30}],
    }  # fmt: skip
    answer = read("bedrock_converse", {"stopReason": "end_turn", "usage": usage})

    assert counts(answer) == (160, 3)
    assert answer.usage is not None
    assert answer.usage.cache_write_1h_tokens == 20
    assert answer.finish_reasons == ["end_turn"]


def test_invoke_reads_each_vendors_body_its_stream_and_its_headers() -> None:
    stated = {"x-amzn-bedrock-input-token-count": "7", "x-amzn-bedrock-output-token-count": "2"}
    metrics = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 9, "outputTokenCount": 4}}
    titan = {"inputTextTokenCount": 5, "results": [{"tokenCount": 1}, {"tokenCount": 2}]}

    assert counts(read("bedrock_invoke", headers=stated)) == (7, 2)
    assert counts(read("bedrock_invoke", titan)) == (5, 3)
    assert counts(
        read("bedrock_invoke", {"prompt_token_count": 6, "generation_token_count": 8})
    ) == (6, 8)
    assert counts(read("bedrock_invoke", chunk({"outputText": "x"}), chunk(metrics))) == (9, 4)
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 1}}}
    end = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"output_tokens": 6},
    }
    assert counts(read("bedrock_invoke", chunk(start), chunk(end | metrics))) == (3, 6)


def test_cohere_counts_what_it_bills_in_both_versions() -> None:
    units = {
        "billed_units": {"input_tokens": 7, "output_tokens": 5},
        "tokens": {"input_tokens": 69},
    }

    assert counts(read("cohere", {"id": "c", "usage": units})) == (7, 5)
    assert counts(read("cohere", {"type": "message-end", "delta": {"usage": units}})) == (7, 5)
    assert counts(read("cohere", {"generation_id": "g", "meta": units})) == (7, 5)
    end = {"event_type": "stream-end", "response": {"generation_id": "g", "meta": units}}
    assert counts(read("cohere", end)) == (7, 5)


def test_ollama_says_its_counts_in_the_last_line() -> None:
    lines = (
        {"model": "llama3", "done": False},
        {"done": True, "prompt_eval_count": 26, "eval_count": 9},
    )

    assert counts(read("ollama", *lines)) == (26, 9)


def test_one_hour_cache_writes_of_anthropic_are_a_part_of_the_writes() -> None:
    usage = {
        "input_tokens": 1, "output_tokens": 2, "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_1h_input_tokens": 20, "ephemeral_5m_input_tokens": 10},
    }  # fmt: skip
    answer = read("anthropic_messages", {"type": "message", "usage": usage})

    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.cache_write_1h_tokens) == (31, 20)


def test_pictures_and_speech_say_their_tokens_like_responses_do() -> None:
    usage = {
        "input_tokens": 50,
        "output_tokens": 4000,
        "input_tokens_details": {"image_tokens": 40},
    }
    sound = {
        "usage": {
            "type": "tokens",
            "input_tokens": 14,
            "output_tokens": 45,
            "input_token_details": {"audio_tokens": 14},
        }
    }
    picture = read("openai_media", {"type": "image_generation.completed", "usage": usage})
    speech = read("openai_media", sound)

    assert counts(picture) == (50, 4000)
    assert speech.usage is not None
    assert speech.usage.input_audio_tokens == 14


def test_an_exception_frame_of_an_event_stream_says_its_name() -> None:
    headers = (
        b"\x0d:message-type\x07\x00\x09exception\x0f:exception-type\x07\x00\x13throttlingException"
    )
    framing = AwsEventStream(Interest((b"usage",)))
    (said,) = framing.feed(frame(b'{"message":"slow down"}', headers) + frame(b"{}"))

    assert read("bedrock_converse", json.loads(said)).error_type == "throttlingException"
    assert read("bedrock_invoke", json.loads(said)).error_type == "throttlingException"


def test_of_a_stream_of_invoke_only_what_can_hold_counts_is_parsed() -> None:
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 3}}}
    text = {"type": "content_block_delta", "delta": {"text": "hi"}}
    bodies = (start, text, {"generation": "x", "generation_token_count": 2}, text)
    framing = AwsEventStream(FORMATS["bedrock_invoke"].interest)
    found = framing.feed(b"".join(frame(json.dumps(chunk(body)).encode()) for body in bodies))

    assert [json.loads(text) for text in found] == [chunk(start), chunk(bodies[2])]


def test_models_on_bedrock_that_speak_like_openai_are_read_like_it() -> None:
    body = {"usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}}

    assert counts(read("bedrock_invoke", body)) == (9, 4)
    assert counts(read("bedrock_invoke", chunk(body))) == (9, 4)


def test_llama_cpp_states_counts_at_the_root_or_with_its_timings() -> None:
    own = {"stop": True, "tokens_evaluated": 26, "tokens_predicted": 9}
    timings = {"prompt_n": 6, "cache_n": 20, "predicted_n": 9}
    like_openai = {"choices": [{"finish_reason": "stop"}], "timings": timings}

    assert counts(read("llama_cpp", {"stop": False, "tokens_predicted": 1}, own)) == (26, 9)
    assert counts(read("openai_chat", like_openai)) == (26, 9)
    usage = {"prompt_tokens": 26, "completion_tokens": 10}
    assert counts(read("openai_chat", like_openai, {"usage": usage})) == (26, 10)


def test_what_is_billed_by_time_page_or_picture_is_counted() -> None:
    mistral = {"usage": {"prompt_audio_seconds": 203, "prompt_tokens": 4, "completion_tokens": 635}}
    ocr = {"model": "mistral-ocr", "usage_info": {"pages_processed": 3}}
    imagen = {"predictions": [{"bytesBase64Encoded": "x"}, {"bytesBase64Encoded": "y"}]}

    assert counts(read("openai_media", mistral)) == (4, 635)
    assert read("openai_media", mistral).meters == {"seconds": 203}
    assert read("openai_media", {"text": "hi", "duration": 8.5}).meters == {"seconds": 8.5}
    assert read("openai_chat", ocr).meters == {"pages": 3}
    assert read("vertex_predict", imagen).meters == {"images": 2}


def test_costs_that_providers_state_are_kept_to_the_last_digit() -> None:
    stated = {
        "openai_chat": {"usage": {"prompt_tokens": 1, "cost": 0.00014}},
        "anthropic_messages": {"type": "message", "usage": {"input_tokens": 1, "cost": 0.00014}},
    }
    perplexity = {"usage": {"prompt_tokens": 1, "cost": {"total_cost": 0.005}}}
    xai = {"usage": {"prompt_tokens": 1, "cost_in_usd_ticks": 37756000}}

    assert {read(form, body).reported_cost_usd for form, body in stated.items()} == {
        "0.000140000000"
    }
    assert read("openai_chat", perplexity).reported_cost_usd == "0.005000000000"
    assert read("openai_chat", xai).reported_cost_usd == "0.0037756000"


def test_the_tier_of_gemini_may_come_in_a_header() -> None:
    usage = {"usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 4}}
    headers = {"x-gemini-service-tier": "flex"}

    assert read("gemini", usage, headers=headers).service_tier == "flex"


def test_an_error_may_be_an_object_or_a_text() -> None:
    assert read("openai_chat", {"error": {"code": "content_filter"}}).error_type == "content_filter"
    assert read("openai_chat", {"error": "out of memory"}).error_type == "error"
    assert read("openai_chat", {"error": None}).error_type == ""
    assert read("ollama", {"error": "no such model"}).error_type == "error"


amounts = st.integers(1, 10**9)


@given(
    amounts,
    amounts,
    st.integers(0, 10**9),
    amounts,
    st.sampled_from(["inside", "beside", "nowhere"]),
)
def test_the_total_of_gemini_decides_where_its_thoughts_are(
    prompt: int, answered: int, tools: int, thoughts: int, place: str
) -> None:
    usage = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": answered + (thoughts if place == "inside" else 0),
        "totalTokenCount": prompt + tools + answered + thoughts,
    }
    usage |= {"toolUsePromptTokenCount": tools} if tools else {}
    usage |= {"thoughtsTokenCount": thoughts} if place != "nowhere" else {}

    # Where tools and thoughts are as many, the total says that one of them is inside, not which.
    if not (place == "inside" and tools == thoughts):
        assert counts(read("gemini", {"usageMetadata": usage})) == (
            prompt + tools, answered + thoughts,
        )  # fmt: skip


@given(amounts, amounts, amounts, amounts, st.booleans(), st.booleans())
def test_the_total_of_a_chat_decides_what_stands_beside_its_counts(
    fresh: int,
    cached: int,
    answered: int,
    reasoning: int,
    is_cache_beside: bool,
    is_reasoning_beside: bool,
) -> None:
    usage = {
        "prompt_tokens": fresh + (0 if is_cache_beside else cached),
        "completion_tokens": answered + (0 if is_reasoning_beside else reasoning),
        "total_tokens": fresh + cached + answered + reasoning,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }

    # Where both are as many, the total says that one of them stands beside, not which.
    if cached != reasoning or is_cache_beside == is_reasoning_beside:
        assert counts(read("openai_chat", {"usage": usage})) == (
            fresh + cached,
            answered + reasoning,
        )


def test_a_total_alone_is_the_input_only_where_nothing_else_is_counted() -> None:
    voyage = {"usage": {"total_tokens": 77, "text_tokens": 70, "image_pixels": 0}}
    renamed = {"usage": {"total_tokens": 77, "prompt_token_total": 70}}

    assert counts(read("openai_chat", voyage)) == (77, None)
    assert read("openai_chat", renamed).usage is None
    assert read("openai_chat", renamed).unread == ["usage.prompt_token_total"]


def test_a_part_of_the_input_is_not_the_input() -> None:
    anthropic = {
        "type": "message",
        "usage": {"prompt_token_total": 9, "cache_read_input_tokens": 0, "output_tokens": 4},
    }
    converse = {"usage": {"promptTokenTotal": 9, "cacheReadInputTokens": 0, "outputTokens": 4}}
    gemini = {
        "usageMetadata": {
            "promptTokenTotal": 9,
            "toolUsePromptTokenCount": 5,
            "candidatesTokenCount": 4,
        }
    }
    interaction = {
        "usage": {"prompt_token_total": 9, "total_tool_use_tokens": 5, "total_output_tokens": 4}
    }

    assert counts(read("anthropic_messages", anthropic)) == (None, 4)
    assert counts(read("bedrock_converse", converse)) == (None, 4)
    assert counts(read("gemini", gemini)) == (None, 4)
    assert counts(read("gemini_interactions", interaction)) == (None, 4)
