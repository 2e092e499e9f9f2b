"""Facts of an answer that decide its price, from documented shapes: several attempts, speed, memory."""

import json
from typing import Any

import pytest

from tallyspan.answer import Answer
from tallyspan.body import Body
from tallyspan.formats import FORMATS
from tallyspan.usage import Usage

FABLE, OPUS, SONNET = "claude-fable-5-1", "claude-opus-5-5", "claude-sonnet-5-5"


def read(wire_format: str, *bodies: Any) -> Answer:
    answer = Answer()
    read_event = FORMATS[wire_format].open_reader()
    for body in bodies:
        read_event(body, answer)
    return answer


def attempt(kind: str, model: str, output_tokens: int, **more: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "model": model,
        "input_tokens": 100,
        "output_tokens": output_tokens,
        **more,
    }


def message(model: str, **usage: Any) -> dict[str, Any]:
    return {
        "type": "message", "id": "m1", "model": model, "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Yes."}],
        "usage": {"input_tokens": 100, "output_tokens": 9, **usage},
    }  # fmt: skip


TWICE = [
    attempt("message", FABLE, 0),
    attempt("fallback_message", OPUS, 7),
    attempt("fallback_message", SONNET, 9),
]


@pytest.mark.parametrize(
    "events",
    [
        [message(SONNET, iterations=TWICE)],
        [
            {"type": "message_start", "message": message(FABLE, output_tokens=1)},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"},
             "usage": {"input_tokens": 100, "output_tokens": 9, "iterations": TWICE}},
        ],
    ],
    ids=["whole", "streamed"],
)  # fmt: skip
def test_of_several_models_that_took_over_the_last_one_has_the_counts(events: list[Any]) -> None:
    answer = read("anthropic_messages", *events)

    assert (answer.model, answer.usage) == (SONNET, Usage(input_tokens=100, output_tokens=9))
    assert [(part.model, part.usage.output_tokens) for part in answer.parts] == [(OPUS, 7)]


@pytest.mark.parametrize(
    ("of_message", "of_iteration", "for_1h"),
    [
        ({"ephemeral_1h_input_tokens": 50}, {}, 50),
        ({"ephemeral_1h_input_tokens": 50}, {"cache_creation": {"ephemeral_1h_input_tokens": 20}}, 20),
        ({"ephemeral_1h_input_tokens": 99}, {}, None),  # of the model that declined
    ],
)  # fmt: skip
def test_what_a_model_that_took_over_wrote_to_the_cache_keeps_its_lifetime(
    of_message: dict[str, int], of_iteration: dict[str, Any], for_1h: int | None
) -> None:
    took_over = attempt("fallback_message", OPUS, 9, cache_creation_input_tokens=50, **of_iteration)
    answer = read("anthropic_messages", message(
        OPUS, cache_creation_input_tokens=50, cache_creation=of_message,
        iterations=[attempt("message", FABLE, 0), took_over],
    ))  # fmt: skip

    assert answer.usage is not None
    assert answer.usage.cache_write_1h_tokens == for_1h


@pytest.mark.parametrize(
    ("usage", "tier"),
    [
        ({"speed": "standard", "service_tier": "batch"}, "batch"),
        ({"speed": "fast", "service_tier": "standard"}, "fast"),
        ({"speed": "warp", "service_tier": "standard"}, "warp"),
    ],
)
@pytest.mark.parametrize("wire_format", ["anthropic_messages", "openai_chat"])
def test_a_speed_is_a_tier_even_one_that_nobody_knows(
    wire_format: str, usage: dict[str, str], tier: str
) -> None:
    body = {
        "anthropic_messages": message(OPUS, **usage),
        "openai_chat": {"usage": {"prompt_tokens": 1, "completion_tokens": 2, **usage}},
    }[wire_format]

    assert read(wire_format, body).service_tier == tier


TOOL = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}


@pytest.mark.parametrize(
    ("block", "conditions"),
    [
        (TOOL, {}),
        ({"type": "redacted_thinking", "data": "x"}, {}),
        ({"type": "text", "text": ""}, {"refusal": "before_output"}),
    ],
)
def test_a_stream_that_is_refused_after_a_tool_call_or_hidden_thinking_had_output(
    block: dict[str, Any], conditions: dict[str, str]
) -> None:
    events = [
        {"type": "message_start", "message": message(OPUS) | {"content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "refusal"},
            "usage": {"output_tokens": 9},
        },
    ]
    body = Body(FORMATS["anthropic_messages"])
    body.open("text/event-stream", "")
    for event in events:
        body.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
    body.end()

    assert body.answer.conditions == conditions


def test_a_batch_tells_the_geos_of_its_messages_apart() -> None:
    answer = read("anthropic_batch_results", *(
        {"custom_id": str(number), "result": {"message": message(OPUS, **usage)}}
        for number, usage in enumerate(({"inference_geo": "us"}, {}, {"inference_geo": "us"}))
    ))  # fmt: skip

    assert answer.batch is not None
    groups = [
        (group.kind.conditions, [item.amounts for item in group.items])
        for group in answer.batch.take(is_over=True)
    ]
    amounts = {"input_tokens": 100, "output_tokens": 9}
    assert groups == [((("geo", "us"),), [amounts, amounts]), ((), [amounts])]


def test_of_a_message_of_a_batch_that_was_declined_only_the_attempts_are_billed() -> None:
    tried = {**message(OPUS, iterations=[attempt("message", FABLE, 40)])}
    declined = {"stop_reason": "refusal", "content": []}
    answer = read(
        "anthropic_batch_results",
        {"custom_id": "a", "result": {"message": {**message(OPUS), **declined}}},
        {"custom_id": "b", "result": {"message": tried}},
        {"custom_id": "c", "result": {"type": "errored", "error": {"type": "error"}}},
    )

    assert answer.batch is not None
    assert [len(group.items) for group in answer.batch.take(is_over=True)] == [1]


@pytest.mark.parametrize(("total_tokens", "input_tokens"), [(None, 600), (700, 600), (200, 100)])
def test_more_cached_than_prompt_is_beside_it_unless_the_total_says_no(
    total_tokens: int | None, input_tokens: int
) -> None:
    answer = read("openai_chat", {"usage": {
        "prompt_tokens": 100, "completion_tokens": 100, "total_tokens": total_tokens,
        "prompt_tokens_details": {"cached_tokens": 500},
    }})  # fmt: skip

    assert answer.usage is not None
    assert answer.usage.input_tokens == input_tokens


def container(identity: str) -> dict[str, Any]:
    return {"type": "container_reference", "container_id": identity}


@pytest.mark.parametrize(
    ("output", "tool", "meters"),
    [
        (
            [{"type": "code_interpreter_call", "container_id": "c1"}] * 2,
            {"type": "code_interpreter", "container": {"type": "auto"}},
            {"code_interpreter": 1},
        ),
        (
            [{"type": "code_interpreter_call", "container_id": "c1"}],
            {"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "4g"}},
            {"code_interpreter_4g": 1},
        ),
        (
            [{"type": "shell_call", "environment": container(each)} for each in ("c1", "c2", "c1")],
            {"type": "shell", "environment": {"type": "container_auto", "memory_limit": "16g"}},
            {"code_interpreter_16g": 2},
        ),
        (
            [{"type": "shell_call", "environment": {"type": "local"}}],
            {"type": "shell", "environment": {"type": "local"}},
            {},
        ),
    ],
)
def test_containers_are_counted_once_each_by_their_memory(
    output: list[Any], tool: dict[str, Any], meters: dict[str, int]
) -> None:
    answer = read("openai_responses", {
        "status": "completed", "output": output, "tools": [tool],
        "usage": {"input_tokens": 1, "output_tokens": 2},
    })  # fmt: skip

    assert (answer.meters, answer.unread) == (meters, [])


def test_a_batch_has_the_lifetimes_of_what_it_wrote_to_the_cache() -> None:
    answer = read("openai_batch", {
        "object": "batch", "id": "b1", "status": "completed", "model": "gpt-6-sol", "usage": {
            "input_tokens": 100, "output_tokens": 0, "input_tokens_details": {
                "cache_write_tokens": 80, "cache_write_tokens_details": {"ttl_12h_tokens": 60}}},
    })  # fmt: skip

    assert answer.batch is not None
    assert answer.batch.total is not None
    (item,) = answer.batch.total.items
    assert item.amounts == {
        "input_tokens": 100, "output_tokens": 0, "cache_write_tokens": 80,
        "cache_write_12h_tokens": 60,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("stop_reason", "output_tokens", "conditions"),
    [
        ("refusal", 1, {"refusal": "before_output"}),
        ("refusal", 40, {}),
        ("end_turn", 1, {}),
    ],
)
@pytest.mark.parametrize("is_streamed", [False, True])
def test_converse_counts_a_token_for_a_model_that_declined(
    stop_reason: str, output_tokens: int, conditions: dict[str, str], *, is_streamed: bool
) -> None:
    stop = {"stopReason": stop_reason}
    usage = {"usage": {"inputTokens": 100, "outputTokens": output_tokens}}

    answer = read("bedrock_converse", *([stop, usage] if is_streamed else [stop | usage]))

    assert answer.conditions == conditions


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        ({"cost": "0.0123"}, "0.012300000000"),
        ({"cost": "0.0005", "is_byok": True,
          "cost_details": {"upstream_inference_cost": "0.01"}}, "0.010500000000"),
        ({"cost": "dear"}, ""),
        ({"cost": -1.5}, ""),
    ],
)  # fmt: skip
def test_a_bill_may_be_written_as_a_text(usage: dict[str, Any], usd: str) -> None:
    answer = read("openai_chat", {"usage": {"prompt_tokens": 1, "completion_tokens": 2, **usage}})

    assert answer.reported_cost_usd == usd
