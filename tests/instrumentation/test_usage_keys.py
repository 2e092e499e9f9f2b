"""What a provider's usage has and nobody reads is named; what is listed as read is really read."""

import base64
import copy
import gzip
import json
import struct
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import recording_files
from recorded_corpus import CORPUS
from tallyspan import semconv
from tallyspan.answer import Answer
from tallyspan.body import Body
from tallyspan.estimate import estimator
from tallyspan.formats import FORMATS
from tallyspan.recognise import recognise
from tallyspan.usage_keys import MAX_ORDINARY, MAX_PATH_CHARACTERS, MAX_UNREAD, UsageKeys
from tallyspan.wire_format import Format

CHAT = "https://api.openai.com/v1/chat/completions"
MESSAGES = "https://api.anthropic.com/v1/messages"
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
NEW = "moon_tokens"
SECRET = "what nobody may see"

AROUND_OTHERS = {
    "bedrock_invoke",
    *(name for name in FORMATS if "_batch" in name and name != "openai_batch"),
}
"""Formats whose usage is that of the formats inside of them."""


def chat(usage: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": "c1", "object": "chat.completion", "model": "gpt-5",
        "choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}], "usage": usage,
    } | more  # fmt: skip


def call(spans: InMemorySpanExporter, url: str, answer: Any, **request: Any) -> dict[str, Any]:
    """Return the attributes of the call's span; `answer`: a JSON object, or the bytes of a stream."""
    if isinstance(answer, bytes):
        kind = (
            "text/event-stream"
            if answer.startswith(b"data:")
            else "application/vnd.amazon.eventstream"
        )
        response = httpx.Response(200, content=answer, headers={"content-type": kind})
    else:
        response = httpx.Response(200, json=answer)
    with httpx.Client(transport=httpx.MockTransport(lambda _: response)) as client:
        client.post(url, json={"model": "m", "messages": []} | request)
    estimator.flush()
    (span,) = spans.get_finished_spans()
    return dict(span.attributes or {})


def stream(*events: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def frame(payload: bytes) -> bytes:
    """Return a frame of AWS's event streams."""
    headers = b"\x0b:event-type\x07\x00\x05chunk"
    total = 12 + len(headers) + len(payload) + 4
    return struct.pack(">III", total, len(headers), 0) + headers + payload + b"\0\0\0\0"


def packed(event: Any) -> bytes:
    """Return an event of InvokeModel's stream, which is packed into another."""
    return frame(
        json.dumps({"bytes": base64.b64encode(json.dumps(event).encode()).decode()}).encode()
    )


def response(output: list[Any], **more: Any) -> dict[str, Any]:
    return {
        "id": "r1", "object": "response", "status": "completed", "model": "gpt-5.4",
        "output": output, "usage": {"input_tokens": 1, "output_tokens": 2},
    } | more  # fmt: skip


RESPONSES = "https://api.openai.com/v1/responses"
CONVERSE = "https://bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-opus-5/converse"
RAN_CODE = {"type": "code_interpreter_call", "container_id": "c1"}
MESSAGE_START = {
    "type": "message_start",
    "message": {"id": "m1", "type": "message", "model": "claude-opus-5", "content": [],
                "usage": {"input_tokens": 10, "output_tokens": 1, NEW: 3}},
}  # fmt: skip
ENDED = {"type": "message_delta", "delta": {"stop_reason": "end_turn"},
         "usage": {"output_tokens": 5, "iterations": [{"type": "message", "input_tokens": 10,
                                                       "output_tokens": 5, NEW: 3}]}}  # fmt: skip
INVOKE = "https://bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-opus-5/invoke"
GEMINI = "https://generativelanguage.googleapis.com/v1beta/models/gemini-3-pro:generateContent"
GROUNDED = {
    "candidates": [{"finishReason": "STOP", "groundingMetadata": {
        "groundingChunks": [{"flights": {"uri": "u"}}], "retrievalQueries": ["q"]}}],
    "usageMetadata": {
        "promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15,
        "promptTokensDetails": [{"modality": "HOLOGRAM", "tokenCount": 7},
                                {"modality": "TEXT", "tokenCount": 3}],
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("url", "answer", "paths"),
    [
        (CHAT, chat(USAGE | {NEW: 3}), ["usage.moon_tokens"]),
        (
            CHAT,
            chat(USAGE | {"prompt_tokens_details": {"cached_tokens": 1, NEW: 3}}),
            ["usage.prompt_tokens_details.moon_tokens"],
        ),
        # A count that has become an object, and an object that has become a count.
        (CHAT, chat(USAGE | {"reasoning_tokens": {"deep": 3}}), ["usage.reasoning_tokens"]),
        (CHAT, chat(USAGE | {"prompt_tokens_details": 3}), ["usage.prompt_tokens_details"]),
        (CHAT, chat(USAGE | {"cached_tokens": -3}), ["usage.cached_tokens"]),
        (CHAT, chat([{"prompt_tokens": 3}]), ["usage"]),
        # What cannot be a count, or an amount of money, was not read as one.
        (CHAT, chat(USAGE | {"cached_tokens": 2.5}), ["usage.cached_tokens"]),
        (CHAT, chat(USAGE | {"cached_tokens": "many"}), ["usage.cached_tokens"]),
        (CHAT, chat(USAGE | {"cached_tokens": True}), ["usage.cached_tokens"]),
        (CHAT, chat(USAGE | {"cached_tokens": "3"}), None),
        (CHAT, chat(USAGE | {"cost": "0.0123"}), None),
        (CHAT, chat(USAGE | {"cost": "a lot"}), ["usage.cost"]),
        (CHAT, chat(USAGE, service_tier={"type": "flex"}), ["service_tier"]),
        # Nothing is billed for nothing.
        (CHAT, chat(USAGE | {NEW: 0, "moon": {"a": [0, None, ""]}, "b": False}), None),
        # Beside the usage: what is about prices.
        (CHAT, chat(USAGE, billing_speed="warp", colour="red"), ["billing_speed"]),
        (CHAT, stream(chat(USAGE | {NEW: 3}, object="chat.completion.chunk")), ["usage.moon_tokens"]),
        (
            MESSAGES,
            stream(MESSAGE_START, ENDED, {"type": "message_stop"}),
            ["usage.moon_tokens", "usage.iterations[].moon_tokens"],
        ),
        (MESSAGES, stream(MESSAGE_START), ["usage.moon_tokens"]),  # cut
        (
            INVOKE + "-with-response-stream",
            packed(MESSAGE_START) + packed(ENDED),
            ["usage.moon_tokens", "usage.iterations[].moon_tokens"],
        ),
        (INVOKE, {"prompt_token_count": 4, "generation_token_count": 2, "moon_token_count": 3},
         ["moon_token_count"]),
        (INVOKE, {"usage": {"inputTokens": 4, "outputTokens": 2, "moonTokens": 3}, "stopReason": "s"},
         ["usage.moonTokens"]),
        (
            "https://api.openai.com/v1/responses",
            {"id": "r1", "status": "completed", "model": "gpt-5",
             "usage": {"input_tokens": 1, "output_tokens": 2},
             "tool_usage": {"web_search": {"num_requests": 1, "num_moons": 2}, "browser": {"n": 1}}},
            ["tool_usage.web_search.num_moons", "tool_usage.browser"],
        ),
        # A container of a size that nobody has a price for.
        (
            RESPONSES,
            response([RAN_CODE], tools=[{"type": "code_interpreter",
                                         "container": {"type": "auto", "memory_limit": "9t"}}]),
            ["tools[].container.memory_limit"],
        ),
        (
            CONVERSE,
            {"stopReason": "end_turn", "usage": {
                "inputTokens": 4, "outputTokens": 2, "cacheWriteInputTokens": 9,
                "cacheDetails": [{"ttl": "5m", "inputTokens": 4}, {"ttl": "1d", "inputTokens": 5}]}},
            ["usage.cacheDetails[].ttl"],
        ),
        (
            GEMINI,
            GROUNDED,
            ["groundingMetadata.retrievalQueries", "groundingMetadata.groundingChunks[].flights",
             "usageMetadata.promptTokensDetails[].modality"],
        ),
        (GEMINI, {"usageMetadata": {"promptTokenCount": 1, "moonTokenCount": 3}},
         ["usageMetadata.moonTokenCount"]),
        # Thoughts, or what a tool put in: the total does not say which.
        (
            GEMINI,
            {"candidates": [{"finishReason": "STOP", "urlContextMetadata": {}}],
             "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 5, "totalTokenCount": 99}},
            ["usageMetadata.totalTokenCount"],
        ),
        (
            "https://ollama.com/api/chat",
            {"model": "m", "done": True, "done_reason": "stop", "eval_count": 3, "moon_tokens": 3},
            ["moon_tokens"],
        ),
    ],
)  # fmt: skip
def test_what_nobody_reads_is_named_on_the_span(
    url: str, answer: Any, paths: list[str] | None, spans: InMemorySpanExporter
) -> None:
    attributes = call(spans, url, answer)

    assert attributes.get(semconv.USAGE_UNREAD) == (None if paths is None else tuple(paths))


@pytest.mark.parametrize("format_name", sorted(FORMATS.keys() - AROUND_OTHERS))
def test_every_format_names_a_new_key_at_each_place_of_its_usage(format_name: str) -> None:
    each = FORMATS[format_name]
    for at in each.usage.at:
        *holders, key = at.split(".")
        body: Any = {key: {NEW: 3}} if key else {NEW: 3}
        for holder in reversed([name for name in holders if name]):
            body = {holder: body}
        answer = Answer()
        each.usage.name_unread(body, answer)

        assert answer.unread == [f"{key}.{NEW}" if key else NEW], at


def test_a_renamed_count_is_unread_and_unknown_and_never_zero(spans: InMemorySpanExporter) -> None:
    attributes = call(spans, MESSAGES, {
        "id": "m1", "type": "message", "model": "claude-opus-5", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Yes."}],
        "usage": {"prompt_token_total": 10, "completion_token_total": 5},
    })  # fmt: skip

    assert attributes[semconv.USAGE_UNREAD] == (
        "usage.prompt_token_total", "usage.completion_token_total",
    )  # fmt: skip
    assert attributes[semconv.USAGE_SOURCE] == "estimated"
    assert attributes["gen_ai.usage.output_tokens"] != 0


def test_a_usage_under_another_name_is_named(spans: InMemorySpanExporter) -> None:
    attributes = call(spans, CHAT, chat(None, token_usage={"prompt_token_total": 10}))

    assert attributes[semconv.USAGE_UNREAD] == ("token_usage",)


def test_ten_thousand_keys_and_odd_ones_are_bounded(spans: InMemorySpanExporter) -> None:
    usage = USAGE | {f"key {n} é\n": SECRET for n in range(10_000)} | {"k" * 10_000: SECRET}
    attributes = call(spans, CHAT, chat(usage | {"list": [{SECRET[:4]: SECRET}] * 10_000}))
    paths = attributes[semconv.USAGE_UNREAD]

    assert attributes["gen_ai.usage.input_tokens"] == 10
    assert paths[0] == "usage.key?0???"
    assert len(paths) == MAX_UNREAD
    assert all(len(path) <= MAX_PATH_CHARACTERS and path.isprintable() for path in paths)
    assert SECRET not in repr(attributes)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.sampled_from(["usage", NEW, "iterations"]), inner)
    ),
    max_leaves=15,
)


@given(st.sampled_from(sorted(FORMATS)), st.dictionaries(st.text() | st.just("usage"), JSON))
def test_naming_never_fails_and_is_bounded(format_name: str, body: dict[str, Any]) -> None:
    answer = Answer()
    FORMATS[format_name].usage.name_unread(body, answer)

    assert len(answer.unread) <= MAX_UNREAD


def test_a_harmless_key_needs_a_reason() -> None:
    with pytest.raises(ValueError, match="'a': say why it is harmless"):
        UsageKeys(at=("usage",), read=(), harmless={"a": ""})


# What is listed as read is read: another value gives another answer.

OF_OTHERS = {
    (name, path)
    for name in ("openai_responses", "openai_media", "openai_speech")
    for path in ("total_tokens",)
}
"""Read in answers of providers that speak the format with Chat's names of counts."""


def exchanges() -> Iterator[tuple[Format, list[Any]]]:
    """Yield the format and the events of each recording, and of the corpus where it is at hand."""
    for path in recording_files.files():
        each = recording_files.load(path)
        yield (
            FORMATS[each.format],
            events(FORMATS[each.format], each.response_body, each.response_headers),
        )
    for conversation in recording_files.conversations():
        for who, message in conversation.messages:
            if who == "received":
                yield FORMATS[conversation.format], [message]
    if not CORPUS.is_file():
        return
    with gzip.open(CORPUS, "rt") as lines:
        for line in lines:
            exchange = json.loads(line)
            url = urlsplit(exchange["url"])
            endpoint = recognise(exchange["method"], url.hostname or "", url.port, url.path)
            if endpoint is not None:
                body = base64.b64decode(exchange.get("response_body_base64") or "")
                body = body or (exchange.get("response_body") or "").encode()
                yield endpoint.format, events(endpoint.format, body, exchange["response_headers"])


def events(wire_format: Format, body: bytes, headers: dict[str, str]) -> list[Any]:
    """Return all events of an answer."""
    reader = Body(wire_format)
    reader.open(headers.get("content-type", headers.get("Content-Type", "")), "")
    reader.feed(body)
    reader.end()
    return list(reader.events())


def answer_to(wire_format: Format, bodies: list[Any]) -> Answer:
    answer, read = Answer(), wire_format.reader()
    for body in bodies:
        read(copy.deepcopy(body), answer)
    answer.unread.clear()
    return answer


def holders(values: list[Any], names: list[str]) -> list[dict[str, Any]]:
    """Return the objects at the path, in the items of its lists too."""
    for name in filter(None, names):
        inner = [each.get(name) for each in values]
        values = [item for each in inner for item in (each if isinstance(each, list) else [each])]
        values = [each for each in values if isinstance(each, dict)]
    return values


def others(value: Any) -> list[Any]:
    """Return other values of the kind."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 7]
    return ["other", "VIDEO", "1h", "redeemed"] if isinstance(value, str) else [7, "low"]


def without_counts(value: Any, kept: Any, key: str) -> None:
    """Take all numbers out of the object, but the one of the object `kept` at `key`."""
    if isinstance(value, list):
        for item in value:
            without_counts(item, kept, key)
    elif isinstance(value, dict):
        for name in list(value):
            if value is kept and name == key:
                continue
            if isinstance(value[name], int | float):
                del value[name]
            else:
                without_counts(value[name], kept, key)


def places(bodies: list[Any], at: str, path: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return each usage that has the path, with the object that has its last key."""
    *outer, key = path.replace("[]", "").split(".")
    return [
        (usage, holder)
        for usage in holders(bodies, at.split("."))
        for holder in holders([usage], outer)
        if key in holder and not isinstance(holder[key], dict | list)
    ]


def is_read(wire_format: Format, original: list[Any], at: str, path: str) -> bool:
    """Whether another value at the path gives another answer, or does where it stands alone."""
    key = path.replace("[]", "").rpartition(".")[2]
    for number in range(len(places(original, at, path))):
        for is_alone in (False, True):
            bodies = copy.deepcopy(original)
            usage, holder = places(bodies, at, path)[number]
            if is_alone:
                without_counts(usage, holder, key)
            before = answer_to(wire_format, bodies)
            for value in others(holder[key]):
                holder[key] = value
                if answer_to(wire_format, bodies) != before:
                    return True
    return False


def test_every_path_that_is_listed_as_read_changes_the_answer() -> None:
    occurring: set[tuple[str, str]] = set()
    read: set[tuple[str, str]] = set(OF_OTHERS)
    for wire_format, bodies in exchanges():
        for at in wire_format.usage.at:
            for path in wire_format.usage.read:
                name = wire_format.name, path
                if name not in read and places(bodies, at, path):
                    occurring.add(name)
                    if is_read(wire_format, bodies, at, path):
                        read.add(name)

    assert sorted(occurring - read) == []


def test_a_key_beside_the_usage_is_named_in_every_answer_and_what_is_remembered_is_bounded() -> (
    None
):
    keys = UsageKeys(at=("usage",), read=("prompt_tokens",))
    for number in range(3 * MAX_ORDINARY):
        answer = Answer()
        keys.name_unread({f"k{number}": 1, "x" * 200: 1, "moon_price": 1, "usage": {}}, answer)
        assert answer.unread == ["moon_price"]

    assert len(keys._ordinary) == MAX_ORDINARY
    assert max(map(len, keys._ordinary)) <= MAX_PATH_CHARACTERS


@pytest.mark.parametrize("value", [-1, 1.5, 1 << 53, "many", [1], {"x": 1}])
def test_a_count_that_cannot_be_read_is_named_though_its_key_is_read(value: Any) -> None:
    answer = Answer()
    UsageKeys(at=("usage",), read=("prompt_tokens",)).name_unread(
        {"usage": {"prompt_tokens": value}}, answer
    )

    assert answer.unread == ["usage.prompt_tokens"]
