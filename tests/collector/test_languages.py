"""Spans of emitters in other languages, by their code: what each says, and what that costs."""

import sqlite3
from contextlib import closing
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from otlp_spans import START_NS
from tallyspan_collector.dialects import Kind, Reader
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.ledger import entry
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.read.call import Call
from tallyspan_collector.read.otlp import Span
from tallyspan_collector.resolution.resolver import Resolver

BOOK = PriceBook.load()


class Emitter(NamedTuple):
    """A scope, what its span of a call has, and what the call is: provider, input, output, USD."""

    scope: str
    attributes: dict[str, Any]
    provider: str
    counts: tuple[int, int]
    cost_usd: str


GPT = {
    "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5-mini",
    "gen_ai.response.model": "gpt-5-mini-2025-08-07", "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 100,
}  # fmt: skip
CLAUDE = {
    "gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic",
    "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.response.id": "msg_1",
    "gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 33,
}  # fmt: skip
# 1,000 and 100, at 0.25 and 2 a million
GPT_USD = "0.00045"
EMITTERS = {
    "Java, the agent of OpenTelemetry (openai-java)": Emitter(
        "io.opentelemetry.openai-java-1.1", {**GPT, "gen_ai.provider.name": "openai"},
        "openai", (1000, 100), GPT_USD,
    ),
    "Java, Quarkus with LangChain4j": Emitter(
        "io.quarkus.opentelemetry",
        {
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": "azure_open_ai",
            "gen_ai.request.model": "gpt-5-mini", "gen_ai.response.model": "gpt-5-mini",
            "gen_ai.response.finish_reasons": "STOP", "gen_ai.usage.prompt_tokens": 1000,
            "gen_ai.usage.completion_tokens": 100, "gen_ai.client.estimated_cost": "0.1USD",
        },
        "azure.ai.openai", (1000, 100), GPT_USD,
    ),
    "Java, OpenInference for LangChain4j": Emitter(
        "com.arize.langchain4j",
        {
            "openinference.span.kind": "LLM", "llm.system": "langchain4j", "llm.provider": "openai",
            "llm.model_name": "claude-sonnet-4-5", "llm.token_count.prompt": 1000,
            "llm.token_count.completion": 100, "llm.token_count.total": 1100,
        },
        # 1,000 and 100, at 3 and 15 a million
        "anthropic", (1000, 100), "0.0045",
    ),
    "Java, Spring AI": Emitter(
        "org.springframework.boot",
        {
            "gen_ai.operation.name": "chat", "gen_ai.system": "openai", "spring.ai.version": "2",
            "gen_ai.request.model": "gpt-5-mini", "gen_ai.response.model": "gpt-5-mini-2025-08-07",
            "gen_ai.usage.input_tokens": "1000", "gen_ai.usage.output_tokens": "100",
            "gen_ai.usage.total_tokens": "1100",
        },
        "openai", (1000, 100), GPT_USD,
    ),
    "Go, genkit": Emitter(
        "genkit-tracer",
        {
            "genkit:type": "action", "genkit:metadata:subtype": "model",
            "genkit:name": "googleai/gemini-2.5-flash", "genkit:path": "/f/googleai/gemini-2.5-flash",
            "genkit:output": '{"usage":{"inputTokens":1000,"outputTokens":80,"thoughtsTokens":20,'
                             '"totalTokens":1100}}',
        },
        # 1,000 and 100 with the thoughts, at 0.3 and 2.5 a million
        "gcp.gemini", (1000, 100), "0.00055",
    ),
    ".NET, OpenAI's library": Emitter(
        "OpenAI.ChatClient",
        {**GPT, "gen_ai.system": "openai", "server.address": "api.openai.com"},
        "openai", (1000, 100), GPT_USD,
    ),
    ".NET, Microsoft.Extensions.AI": Emitter(
        "Experimental.Microsoft.Extensions.AI",
        {**GPT, "gen_ai.provider.name": "openai", "server.address": "api.openai.com",
         "gen_ai.usage.cache_read.input_tokens": 800},
        # 200, 800 cached and 100, at 0.25, 0.025 and 2 a million
        "openai", (1000, 100), "0.00027",
    ),
    "Ruby, RubyLLM": Emitter(
        "OpenTelemetry::Instrumentation::RubyLLM", {**GPT, "gen_ai.provider.name": "openai"},
        "openai", (1000, 100), GPT_USD,
    ),
    "Rust, rig, OpenAI": Emitter(
        "my-service",
        {**GPT, "gen_ai.provider.name": "openai", "gen_ai.usage.cache_read.input_tokens": 800,
         "gen_ai.usage.cache_creation.input_tokens": 0, "gen_ai.usage.reasoning_tokens": 40,
         "gen_ai.usage.tool_use_prompt_tokens": 0},
        "openai", (1000, 100), "0.00027",
    ),
    "Rust, rig, Anthropic": Emitter(
        "my-service",
        {**CLAUDE, "gen_ai.usage.cache_read.input_tokens": 1111,
         "gen_ai.usage.cache_creation.input_tokens": 418, "gen_ai.usage.reasoning_tokens": 0,
         "gen_ai.usage.tool_use_prompt_tokens": 0},
        # 3, 1,111 cached, 418 written and 33, at 3, 0.3, 3.75 and 15 a million
        "anthropic", (1532, 33), "0.0024048",
    ),
    "Rust, rig, Gemini": Emitter(
        "my-service",
        {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "gcp.gemini",
         "gen_ai.request.model": "gemini-2.5-flash", "gen_ai.usage.input_tokens": 900,
         "gen_ai.usage.output_tokens": 80, "gen_ai.usage.reasoning_tokens": 20,
         "gen_ai.usage.cache_read.input_tokens": 0, "gen_ai.usage.tool_use_prompt_tokens": 100},
        "gcp.gemini", (1000, 100), "0.00055",
    ),
}  # fmt: skip


def call_of(emitter: Emitter) -> tuple[Call, Decimal | None]:
    times = START_NS, START_NS + 900_000_000
    span = Span(
        "5" * 32, "1" * 16, "", *times, False, emitter.attributes, {"service.name": "shop"},
        emitter.scope, "chat", 3,
    )  # fmt: skip
    with closing(sqlite3.connect(":memory:")) as file:
        (call,) = Resolver(file).resolve([Reader().read(span)]).calls
    (cost,) = entry.costs([call], BOOK, Directory())
    return call, None if cost.cost_picousd is None else Decimal(cost.cost_picousd) / 10**12


@pytest.mark.parametrize("name", EMITTERS)
def test_a_call_of_another_language_has_its_counts_and_its_price(name: str) -> None:
    emitter = EMITTERS[name]
    call, cost_usd = call_of(emitter)

    assert (call.usage.input_tokens, call.usage.output_tokens) == emitter.counts
    assert (call.provider_name, cost_usd) == (emitter.provider, Decimal(emitter.cost_usd))
    assert call.unread == ()


def test_rigs_agent_repeats_the_sum_of_its_calls_and_is_not_charged() -> None:
    agent = {
        **CLAUDE,
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.usage.tool_use_prompt_tokens": 0,
    }
    span = Span(
        "5" * 32, "1" * 16, "", START_NS, START_NS + 1, False, agent, {}, "my-service", "agent", 1
    )

    reading = Reader().read(span)
    assert (reading.kind, reading.may_be_charged) == (Kind.WRAPPER, False)
