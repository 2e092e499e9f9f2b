"""A provider's own usage that an emitter passes on: its rarer counts are meters and conditions."""

import json
from decimal import Decimal
from typing import Any

import pytest

from otlp_spans import CHAT, START_NS
from tallyspan_collector.dialects import Reader
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.ledger import entry
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.read.call import Call
from tallyspan_collector.read.otlp import Span

BOOK = PriceBook.load()
NO_USAGE = {key: value for key, value in CHAT.items() if "usage" not in key}


def read(attributes: dict[str, Any], scope: str) -> Call:
    span = Span("a" * 32, "b" * 16, "", START_NS, START_NS + 5, False, attributes, {}, scope)
    call = Reader().read(span).call
    assert call is not None
    return call


def usd(call: Call) -> Decimal | None:
    (cost,) = entry.costs([call], BOOK, Directory())
    return None if cost.cost_picousd is None else Decimal(cost.cost_picousd) / 10**12


MESSAGE = {
    "input_tokens": 1000,
    "cache_creation_input_tokens": 4000,
    "cache_read_input_tokens": 20_000,
    "cache_creation": {"ephemeral_5m_input_tokens": 4000, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 500,
    "output_tokens_details": {"thinking_tokens": 100},
    "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
    "service_tier": "standard",
    "inference_geo": "us",
}
"""Usage of an answer of Anthropic's."""
COMPLETION = {
    "prompt_tokens": 1000,
    "completion_tokens": 100,
    "total_tokens": 1100,
    "prompt_tokens_details": {"cached_tokens": 0, "video_tokens": 300, "file_tokens": 200},
    "completion_tokens_details": {"reasoning_tokens": 40, "accepted_prediction_tokens": 5},
    "server_tool_use": {"web_search_requests": 2},
}
"""Usage of an answer of OpenAI's format."""


def vercel(metadata: dict[str, Any], **own: Any) -> dict[str, Any]:
    return {
        "ai.operationId": "ai.generateText.doGenerate",
        "ai.model.provider": "anthropic.messages",
        "ai.model.id": "claude-sonnet-4-6",
        "ai.usage.inputTokens": 25_000,
        "ai.usage.inputTokenDetails.noCacheTokens": 1000,
        "ai.usage.inputTokenDetails.cacheReadTokens": 20_000,
        "ai.usage.inputTokenDetails.cacheWriteTokens": 4000,
        "ai.usage.outputTokens": 500,
        "ai.response.providerMetadata": json.dumps(metadata),
        **own,
    }


def of_anthropic(**usage: Any) -> dict[str, Any]:
    metadata = {"usage": {**MESSAGE, **usage}, "cacheCreationInputTokens": 4000}
    return vercel({"anthropic": metadata, "my-claude": metadata})


def google(metadata: dict[str, Any]) -> dict[str, Any]:
    return {
        "ai.operationId": "ai.generateText.doGenerate",
        "ai.model.provider": "google.generative-ai",
        "ai.model.id": "gemini-3-flash-preview",
        "ai.usage.inputTokens": 1000,
        "ai.usage.inputTokenDetails.noCacheTokens": 1000,
        "ai.usage.outputTokens": 100,
        "ai.response.providerMetadata": json.dumps({"google": metadata}),
    }


def langfuse(usage: dict[str, Any], model: str, **own: str) -> dict[str, Any]:
    return {
        "langfuse.observation.type": "generation",
        "langfuse.observation.model.name": model,
        "langfuse.observation.usage_details": json.dumps(usage),
        **own,
    }


def logfire(usage: dict[str, Any]) -> dict[str, Any]:
    return {**CHAT, "gen_ai.usage.raw": json.dumps(usage)}


def litellm(usage: dict[str, Any]) -> dict[str, Any]:
    return {**CHAT, "metadata.usage_object": str(usage), "litellm.call_type": "acompletion"}


SEARCHED_IN_US = ({"web_search": 2}, {"geo": "us"})
PARTS = {"input_video_tokens": 300, "input_document_tokens": 200, "web_search": 2}


@pytest.mark.parametrize(
    ("attributes", "scope", "expected"),
    [
        (of_anthropic(), "ai", SEARCHED_IN_US),
        (logfire(MESSAGE), "logfire.anthropic", SEARCHED_IN_US),
        (litellm(MESSAGE), "litellm", SEARCHED_IN_US),
        (langfuse(MESSAGE, "claude-sonnet-4-6"), "langfuse-sdk", SEARCHED_IN_US),
        (logfire(COMPLETION), "logfire.openai", (PARTS, {})),
        (litellm(COMPLETION), "litellm", (PARTS, {})),
        (langfuse(COMPLETION, "gpt-5"), "langfuse-sdk", (PARTS, {})),
        (
            {**CHAT, "gen_ai.usage.server_tool_use.web_search_requests": 2}
            | {"gen_ai.usage.inference_geo": "us"},
            "",
            SEARCHED_IN_US,
        ),
        # the conventions' names of modalities
        (
            {
                **CHAT,
                "gen_ai.usage.text.input_tokens": 700,
                "gen_ai.usage.video.input_tokens": 300,
                "gen_ai.usage.video.cache_read.input_tokens": 50,
                "gen_ai.usage.image.cache_read.input_tokens": 0,
            },
            "opentelemetry.instrumentation.google_genai",
            ({"input_video_tokens": 300, "cache_read_video_tokens": 50}, {}),
        ),
        # LangChain's parameters of a request, which Langfuse and LangSmith export
        (
            langfuse({"input": 10, "output": 1}, "claude-sonnet-4-6")
            | {"langfuse.observation.metadata.inference_geo": "us"},
            "langfuse-sdk",
            ({}, {"geo": "us"}),
        ),
        (
            {**CHAT, "langsmith.span.kind": "llm", "langsmith.metadata.inference_geo": "us"},
            "langsmith",
            ({}, {"geo": "us"}),
        ),
        # LiteLLM's own names of what Google and OpenAI count
        (
            litellm(
                {
                    "prompt_tokens_details": {
                        "web_search_requests": 3,
                        "google_maps_grounding_requests": 1,
                        "tool_use_tokens": 70,
                        "cache_creation_token_details": {"ephemeral_12h_input_tokens": 80},
                    }
                }
            ),
            "litellm",
            (
                {
                    "web_search": 3,
                    "maps_grounding": 1,
                    "input_tool_tokens": 70,
                    "cache_write_12h_tokens": 80,
                },
                {},
            ),
        ),
        # pydantic-ai flattens what providers' SDKs return
        (
            {
                **CHAT,
                "gen_ai.usage.details.web_search_requests": 2,
                "gen_ai.usage.details.text_prompt_tokens": 600,
                "gen_ai.usage.details.video_prompt_tokens": 300,
                "gen_ai.usage.details.document_prompt_tokens": 100,
                "gen_ai.usage.details.video_cache_tokens": 50,
            },
            "pydantic-ai",
            (
                {
                    "web_search": 2,
                    "input_video_tokens": 300,
                    "input_document_tokens": 100,
                    "cache_read_video_tokens": 50,
                },
                {},
            ),
        ),
        # LangChain on Vertex: Langfuse took the cached 50 off the 300 of video
        (
            langfuse(
                {
                    "input": 0,
                    "output": 0,
                    "total": 1100,
                    "input_modality_TEXT": 700,
                    "input_modality_VIDEO": 250,
                    "cached_modality_VIDEO": 50,
                    "output_modality_TEXT": 100,
                },
                "gemini-3-flash-preview",
            ),
            "langfuse-sdk",
            ({"input_video_tokens": 300, "cache_read_video_tokens": 50}, {}),
        ),
        (
            google(
                {
                    "usageMetadata": {
                        "promptTokenCount": 1000,
                        "candidatesTokenCount": 100,
                        "totalTokenCount": 1100,
                        "promptTokensDetails": [
                            {"modality": "TEXT", "tokenCount": 600},
                            {"modality": "VIDEO", "tokenCount": 300},
                            {"modality": "DOCUMENT", "tokenCount": 100},
                        ],
                        "cacheTokensDetails": [{"modality": "VIDEO", "tokenCount": 50}],
                        "trafficType": "ON_DEMAND",
                    },
                    "groundingMetadata": {"webSearchQueries": ["tides", "moon"]},
                }
            ),
            "ai",
            (
                {
                    "input_video_tokens": 300,
                    "input_document_tokens": 100,
                    "cache_read_video_tokens": 50,
                    "web_search": 2,
                },
                {},
            ),
        ),
    ],
)
def test_meters_and_conditions_are_read_and_nothing_is_left_unread(
    attributes: dict[str, Any], scope: str, expected: tuple[dict[str, int], dict[str, str]]
) -> None:
    call = read(attributes, scope)

    assert (dict(call.meters), dict(call.conditions)) == expected
    assert call.unread == ()


def test_geo_and_searches_that_the_ai_sdk_passes_on_are_billed() -> None:
    # Sonnet 4.6: 1000 x 3, 20,000 x 0.30, 4000 x 3.75 and 500 x 15 USD a million are 0.0315 USD;
    # 1.1 times that in the US, and 2 searches at 10 USD a thousand
    assert usd(read(of_anthropic(), "ai")) == Decimal("0.05465")
    assert usd(read(of_anthropic(inference_geo="global"), "ai")) == Decimal("0.0515")


@pytest.mark.parametrize(
    ("speed", "service_tier", "expected"),
    [("fast", "standard", "fast"), ("standard", "priority", "priority"), (None, "batch", "batch")],
)
def test_fast_mode_is_a_tier_and_any_other_speed_leaves_the_tier(
    speed: str | None, service_tier: str, expected: str
) -> None:
    usage = {"speed": speed, "service_tier": service_tier}

    assert read(of_anthropic(**usage), "ai").service_tier == expected
    assert read(litellm({**MESSAGE, **usage}), "litellm").service_tier == expected


def test_the_tier_that_langfuse_keeps_among_the_parameters_is_read() -> None:
    parameters = {"langfuse.observation.model.parameters": '{"service_tier": "flex"}'}
    call = read(langfuse({"input": 10, "output": 1}, "gpt-5", **parameters), "langfuse-sdk")

    assert call.service_tier == "flex"


def test_lifetimes_of_bedrocks_cache_writes_are_told_apart() -> None:
    metadata = {
        "bedrock": {
            "usage": {
                "cacheWriteInputTokens": 4000,
                "cacheDetails": [
                    {"inputTokens": 3000, "ttl": "1h"},
                    {"inputTokens": 1000, "ttl": "5m"},
                ],
            }
        }
    }
    call = read(vercel(metadata, **{"ai.model.provider": "amazon-bedrock"}), "ai")

    assert (call.usage.cache_write_tokens, call.usage.cache_write_1h_tokens) == (4000, 3000)
    assert call.unread == ()


def test_an_answer_of_anthropics_as_it_came_leaves_the_cache_out_of_the_input() -> None:
    usage = read(langfuse(MESSAGE, "claude-sonnet-4-6"), "langfuse-sdk").usage

    # 1000 + 20,000 + 4000
    assert (usage.input_tokens, usage.output_tokens) == (25_000, 500)
    assert (usage.cache_read_tokens, usage.cache_write_tokens) == (20_000, 4000)


@pytest.mark.parametrize(
    ("bill", "expected"),
    [
        ({"cost": 0.0075, "is_byok": False, "cost_details": {}}, "0.0075"),
        # with a key of one's own: OpenRouter's fee and what the other provider bills
        (
            {
                "cost": 0.000375,
                "is_byok": True,
                "cost_details": {"upstream_inference_cost": 0.0075},
            },
            "0.007875",
        ),
        ({"cost": {"total_cost": 0.0061}}, "0.0061"),  # Perplexity
        ({"cost_in_usd_ticks": 61_000_000}, "0.0061"),  # xAI
    ],
)
def test_what_the_provider_says_it_billed_is_the_cost(bill: dict[str, Any], expected: str) -> None:
    usage = {**COMPLETION, **bill}
    calls = [
        read(logfire(usage), "logfire.openai"),
        read(langfuse(usage, "sonar"), "langfuse-sdk"),
        read(litellm(usage), "litellm"),
    ]

    assert [usd(call) for call in calls] == [Decimal(expected)] * 3
    assert [call.unread for call in calls] == [()] * 3


@pytest.mark.parametrize(
    ("cost", "upstream", "expected"),
    [
        (0.0075, None, "0.0075"),
        (0.0075, 0.0075, "0.0075"),
        # the AI SDK does not say whose key it was, but a fee is a small part of a bill
        (0.000375, 0.0075, "0.007875"),
        (0, 0.0075, "0.0075"),
    ],
)
def test_openrouters_bill_in_the_ai_sdk_is_the_cost(
    cost: float, upstream: float | None, expected: str
) -> None:
    usage: dict[str, Any] = {"promptTokens": 25_000, "completionTokens": 500, "cost": cost}
    if upstream is not None:
        usage["costDetails"] = {"upstreamInferenceCost": upstream}
    metadata = {"openrouter": {"usage": usage, "provider": "Anthropic"}}
    call = read(vercel(metadata, **{"ai.model.provider": "openrouter.chat"}), "ai")

    assert usd(call) == Decimal(expected)
    assert call.unread == ()


def test_a_model_that_took_over_and_an_adviser_in_the_ai_sdk_are_unread() -> None:
    turns = [
        {"type": "message", "model": "claude-fable-5-1", "input_tokens": 1000, "output_tokens": 90},
        {"type": "fallback_message", "input_tokens": 1000, "output_tokens": 500},
    ]
    alone = read(of_anthropic(iterations=turns[:1]), "ai")
    taken_over = read(of_anthropic(iterations=turns), "ai")

    assert alone.unread == ()
    assert any("fallback_message" in path for path in taken_over.unread)


@pytest.mark.parametrize(
    ("reason", "provider", "output_tokens", "conditions"),
    [
        ("refusal", "anthropic", 0, {"refusal": "before_output"}),
        ("refusal", "aws.bedrock", 0, {"refusal": "before_output"}),
        ("content_filter", "anthropic", 0, {"refusal": "before_output"}),
        # in mid-answer; a filter that is no refusal of the model's; no count that says it was none
        ("refusal", "anthropic", 150, {}),
        ("content_filter", "openai", 0, {}),
        ("refusal", "anthropic", None, {}),
        ("stop", "anthropic", 0, {}),
    ],
)
def test_a_refusal_before_any_output_is_a_condition(
    reason: str, provider: str, output_tokens: int | None, conditions: dict[str, str]
) -> None:
    call = read(
        {
            **NO_USAGE,
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": "claude-opus-5-5",
            "gen_ai.response.finish_reasons": [reason],
            "gen_ai.usage.input_tokens": 10_000,
            "gen_ai.usage.output_tokens": output_tokens,
        },
        "opentelemetry.instrumentation.genai.anthropic",
    )

    assert call.conditions == conditions


def test_a_refusal_before_any_output_is_free_at_anthropics_own_api() -> None:
    refused = {
        **NO_USAGE,
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-opus-5-5",
        "gen_ai.response.finish_reasons": ["refusal"],
        "gen_ai.usage.input_tokens": 10_000,
        "gen_ai.usage.output_tokens": 0,
    }

    assert usd(read(refused, "opentelemetry.instrumentation.genai.anthropic")) == 0
