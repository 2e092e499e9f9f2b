"""Usage that no rule reads is named on the call: what somebody begins to bill by is seen."""

import json
import re
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from otlp_spans import CHAT, START_NS
from tallyspan_collector.dialects import Reader, Reading
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.metrics.counters import Metrics
from tallyspan_collector.read.call import MAX_UNREAD, Call, Flag, columns_of
from tallyspan_collector.read.otlp import Span
from tallyspan_collector.resolution.resolver import Resolver

TRACE = "5" * 32


def read(attributes: dict[str, Any], scope: str = "") -> Call:
    span = Span("a" * 32, "b" * 16, "", START_NS, START_NS + 5, False, attributes, {}, scope)
    call = Reader().read(span).call
    assert call is not None
    return call


OPENINFERENCE = {
    "openinference.span.kind": "LLM",
    "llm.provider": "openai",
    "llm.model_name": "gpt-5-mini",
    "llm.token_count.prompt": 100,
    "llm.token_count.completion": 10,
}
VERCEL = {
    "ai.operationId": "ai.generateText.doGenerate",
    "ai.model.provider": "google.generative-ai",
    "ai.model.id": "gemini-3-flash",
    "ai.usage.inputTokens": 100,
    "ai.usage.outputTokens": 10,
}
LANGFUSE = {"langfuse.observation.type": "generation", "langfuse.observation.model.name": "gpt-5"}
CLAUDE = {
    "span.type": "llm_request",
    "model": "claude-opus-5",
    "input_tokens": 100,
    "output_tokens": 10,
}
CLAUDE_SCOPE = "com.anthropic.claude_code.tracing"
GOOGLE = "ai.response.providerMetadata#google.usageMetadata"


@pytest.mark.parametrize(
    ("attributes", "scope", "place"),
    [
        ({**CHAT, "gen_ai.usage.hologram_tokens": 7}, "", "gen_ai.usage.hologram_tokens"),
        ({**CHAT, "llm.usage.hologram_tokens": 7}, "", "llm.usage.hologram_tokens"),
        (
            {**OPENINFERENCE, "llm.token_count.prompt_details.hologram": 7},
            "openinference.instrumentation.openai",
            "llm.token_count.prompt_details.hologram",
        ),
        ({**VERCEL, "ai.usage.hologramTokens": 7}, "ai", "ai.usage.hologramTokens"),
        (
            {**CHAT, "anthropic.usage.cache_creation.ephemeral_24h_input_tokens": 7},
            "com.anthropic.sdk",
            "anthropic.usage.cache_creation.ephemeral_24h_input_tokens",
        ),
        ({**CLAUDE, "hologram_tokens": 7}, CLAUDE_SCOPE, "hologram_tokens"),
        # places within a blob: JSON, JSON with lists, and the repr of a Python dict
        (
            {
                **LANGFUSE,
                "langfuse.observation.usage_details": json.dumps(
                    {"input": 100, "output": 10, "hologram": 7, "total": 117}
                ),
            },
            "langfuse-sdk",
            "langfuse.observation.usage_details#hologram",
        ),
        (
            {
                **VERCEL,
                "ai.response.providerMetadata": json.dumps(
                    {
                        "google": {
                            "usageMetadata": {
                                "promptTokenCount": 100,
                                "promptTokensDetails": [
                                    {"modality": "TEXT", "tokenCount": 93},
                                    {"modality": "HOLOGRAM", "tokenCount": 7},
                                ],
                            }
                        }
                    }
                ),
            },
            "ai",
            f"{GOOGLE}.promptTokensDetails[HOLOGRAM].tokenCount",
        ),
        (
            {
                **CHAT,
                "langsmith.span.kind": "llm",
                "gen_ai.usage.input_token_details": repr({"cache_read": 0, "hologram": 7}),
            },
            "langsmith",
            "gen_ai.usage.input_token_details#hologram",
        ),
    ],
)
def test_a_key_of_the_usage_that_no_rule_reads_is_named_and_flagged(
    attributes: dict[str, Any], scope: str, place: str
) -> None:
    call = read(attributes, scope)

    assert call.unread == (place,)
    assert Flag.UNREAD_USAGE in call.quality_flags


@pytest.mark.parametrize("nothing", [None, 0, 0.0, "", "0", False, [], {}, "null", "{}"])
def test_a_key_without_a_value_is_not_unread(nothing: object) -> None:
    call = read({**CHAT, "gen_ai.usage.hologram_tokens": nothing})

    assert (call.unread, Flag.UNREAD_USAGE in call.quality_flags) == ((), False)


@pytest.mark.parametrize(
    ("value", "is_unread"), [("global", False), ("not_available", False), ("us", True)]
)
def test_a_fact_at_its_standard_is_not_unread(value: str, is_unread: bool) -> None:
    call = read({**CHAT, "gen_ai.usage.hologram_geo": value})

    assert bool(call.unread) is is_unread


@pytest.mark.parametrize(
    ("name", "value"),
    [("tallyspan.meter.hologram_tokens", 7), ("tallyspan.condition.hologram", "blue")],
)
def test_a_meter_or_condition_of_a_newer_sender_is_unread(name: str, value: object) -> None:
    call = read({**CHAT, name: value}, "tallyspan")

    assert call.unread == (name,)


def test_registered_meters_and_conditions_are_read() -> None:
    call = read(
        {**CHAT, "tallyspan.meter.web_search": 2, "tallyspan.condition.geo": "us"}, "tallyspan"
    )

    assert (call.meters, call.conditions, call.unread) == ({"web_search": 2}, {"geo": "us"}, ())


def test_what_is_read_and_what_is_harmless_is_not_unread() -> None:
    call = read(
        {
            **CHAT,
            "gen_ai.usage.cost": 0.01,
            "gen_ai.usage.total_tokens": 1100,
            "gen_ai.usage.details.accepted_prediction_tokens": 5,
        }
    )

    assert call.unread == ()


def test_what_our_own_instrumentation_could_not_read_is_taken_over() -> None:
    sent = ["usage.hologram_tokens", "usage.cache_creation.ephemeral_24h_input_tokens"]
    call = read({**CHAT, "tallyspan.usage.unread": sent}, "tallyspan")

    assert call.unread == tuple(sorted(sent))
    assert Flag.UNREAD_USAGE in call.quality_flags


@given(st.lists(st.one_of(st.text(max_size=300), st.integers(), st.none()), max_size=40))
def test_whatever_is_sent_as_unread_stays_small_and_plain(sent: list[object]) -> None:
    call = read({**CHAT, "tallyspan.usage.unread": sent}, "tallyspan")

    assert len(call.unread) <= MAX_UNREAD
    assert list(call.unread) == sorted(set(call.unread))
    assert all(re.fullmatch(r"[A-Za-z0-9_.\-\[\]#:/?]{1,120}", path) for path in call.unread)


def test_ten_thousand_keys_are_sixteen_places() -> None:
    many = {f"gen_ai.usage.new_{number:05}_tokens": 1 for number in range(10_000)}
    call = read({**CHAT, **many})

    assert call.unread == tuple(sorted(many)[:MAX_UNREAD])


def test_calls_with_unread_usage_are_counted_by_provider_and_no_name_is_taken_from_senders() -> (
    None
):
    metrics = Metrics()
    metrics.unread_usage("openai", 2)
    for number in range(100):
        metrics.unread_usage(f"invented-{number}", 1)
    text = generate_latest(metrics.registry).decode()

    assert 'tallyspan_unread_usage_calls_total{provider="openai"} 2.0' in text
    assert 'tallyspan_unread_usage_calls_total{provider="other"} 100.0' in text
    assert text.count("tallyspan_unread_usage_calls_total{") == 2


def report(number: int, parent: str, scope: str, unread: list[str]) -> Reading:
    ids = TRACE, f"{number:016x}", parent
    attributes = {**CHAT, "gen_ai.response.id": "chatcmpl-1", "tallyspan.usage.unread": unread}
    span = Span(*ids, START_NS + number, START_NS + 9, False, attributes, {}, scope)
    return Reader().read(span)


def test_what_any_report_of_a_call_did_not_read_is_unread_also_after_a_restart() -> None:
    outer = report(1, "", "opentelemetry.instrumentation.genai.openai", ["usage.b", "usage.c"])
    inner = report(2, f"{1:016x}", "tallyspan", ["usage.a", "usage.b"])
    with closing(sqlite3.connect(":memory:")) as file:
        resolver = Resolver(file)
        first = resolver.resolve([outer])
        resolver.commit(first, [Cost()], columns_of(first.calls))
        resolution = resolver.resolve([inner])  # finds the first in what was kept

    (call,) = resolution.calls
    assert call.unread == ("usage.a", "usage.b", "usage.c")
    assert call.quality_flags.count(Flag.UNREAD_USAGE) == 1
    assert [each.call.unread for each in resolution.reversals] == [("usage.b", "usage.c")]
