"""A cost that the biller itself states is the cost; what anybody else works out is a claim."""

import json
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otlp_spans import CHAT, START_NS
from tallyspan.usage import Usage
from tallyspan_collector.dialects import Kind, Reader, Reading
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.ingest.door import admit
from tallyspan_collector.ledger import entry
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.read import otlp
from tallyspan_collector.read.call import Call
from tallyspan_collector.read.otlp import Span
from tallyspan_collector.resolution.resolver import Resolver

BOOK = PriceBook.load()
XAI = Path(__file__).parents[1] / "conformance/xai_sdk"
TRACE = "5" * 32


def span(
    attributes: dict[str, Any],
    *,
    scope: str,
    service: str,
    number: int = 1,
    parent: int = 0,
    name: str = "",
    kind: int = 3,
) -> Span:
    ids = TRACE, f"{number:016x}", f"{parent:016x}" if parent else ""
    times = START_NS + number * 1_000_000, START_NS + 900_000_000
    return Span(*ids, *times, False, attributes, {"service.name": service}, scope, name, kind)


def net(spans: list[Span]) -> list[Call]:
    reader = Reader()
    readings: list[Reading] = [reader.read(each) for each in spans]
    with closing(sqlite3.connect(":memory:")) as file:
        return Resolver(file).resolve(readings).calls


def net_of_requests(requests: list[dict[str, Any]]) -> list[Call]:
    """Return the calls of exports as they were posted."""
    bodies = [ParseDict(each, ExportTraceServiceRequest()).SerializeToString() for each in requests]
    return net([each for body in bodies for each in otlp.decode(admit(body).blob)])


def only(*spans: Span) -> tuple[Call, Cost]:
    (call,) = net(list(spans))
    (cost,) = entry.costs([call], BOOK, Directory())
    return call, cost


def usd(picousd: int | None) -> Decimal | None:
    return None if picousd is None else Decimal(picousd) / 10**12


# the names of a Broadcast that was received in July 2026; figures of our own
BROADCAST = {
    "trace.name": "OpenRouter Request",
    "span.type": "generation",
    "gen_ai.operation.name": "chat",
    "gen_ai.system": "anthropic",
    "gen_ai.provider.name": "anthropic",
    "gen_ai.request.model": "anthropic/claude-haiku-4.5",
    "gen_ai.response.model": "anthropic/claude-haiku-4.5",
    "gen_ai.response.id": "gen-1783224546-jg3n42g5r5a6BYBWM5nk",
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 200,
    "gen_ai.usage.total_tokens": 1200,
    "gen_ai.usage.input_tokens.cached": 800,
    "gen_ai.usage.input_tokens.audio": 0,
    "gen_ai.usage.output_tokens.reasoning": 150,
    "gen_ai.usage.input_cost": 0.00028,
    "gen_ai.usage.output_cost": 0.001,
    "gen_ai.usage.total_cost": 0.00128,
    "gen_ai.response.finish_reasons": '["stop"]',
    "gen_ai.response.finish_reason": "stop",
    "trace.metadata.openrouter.source": "openrouter",
    "trace.metadata.openrouter.provider_name": "Amazon Bedrock",
    "trace.metadata.openrouter.provider_slug": "amazon-bedrock/global",
}


@pytest.mark.parametrize("scope", ["openrouter", ""])
def test_what_openrouters_broadcast_says_a_call_cost_is_the_bill(scope: str) -> None:
    call, cost = only(span(BROADCAST, scope=scope, service="openrouter"))

    assert (cost.cost_status, usd(cost.cost_picousd)) == ("reported", Decimal("0.00128"))
    assert call.provider_name == "openrouter"
    assert call.usage == Usage(
        1000, 200, cache_read_tokens=800, reasoning_tokens=150, input_audio_tokens=0
    )
    assert (call.claimed_cost_picousd, call.unread) == (None, ())


@pytest.mark.parametrize(
    "answer", [{"gen_ai.response.id": f"{BROADCAST['gen_ai.response.id']}:attempt-0"}, {}]
)
def test_the_attempts_below_a_broadcast_call_are_the_same_call(answer: dict[str, str]) -> None:
    attempt = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "anthropic/claude-haiku-4.5",
        **answer,
    }
    openrouter: dict[str, Any] = {"scope": "openrouter", "service": "openrouter"}
    _, cost = only(span(BROADCAST, **openrouter), span(attempt, **openrouter, number=2, parent=1))

    assert usd(cost.cost_picousd) == Decimal("0.00128")


@pytest.mark.parametrize(
    ("scope", "service"),
    [
        ("my.tracer", "shop"),
        ("openinference.instrumentation.openai", "openrouter"),
        ("openrouter-js", "shop"),
        ("opentelemetry.instrumentation.genai.openai", "shop"),
    ],
)
def test_the_same_attribute_of_anybody_else_is_a_claim(scope: str, service: str) -> None:
    call, cost = only(span({**CHAT, "gen_ai.usage.total_cost": 7.5}, scope=scope, service=service))

    assert call.claimed_cost_picousd == 7_500_000_000_000 or "openinference" in scope
    assert (call.reported_cost_picousd, cost.cost_status) == (None, "priced")


# names and units of a Copilot CLI 1.0.70 and of VS Code's documentation; figures of our own
COPILOT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "github",
    "gen_ai.request.model": "auto",
    "gen_ai.response.model": "gpt-5-mini",
    "gen_ai.conversation.id": "574df71c",
    "gen_ai.usage.input_tokens": 35068,
    "gen_ai.usage.output_tokens": 4539,
    "gen_ai.usage.cache_read.input_tokens": 30000,
    "gen_ai.usage.cache_creation.input_tokens": 4000,
    "gen_ai.usage.reasoning.output_tokens": 4480,
    "github.copilot.cost": 0.0,
    "github.copilot.turn_id": "0",
}
AGENT = {**COPILOT, "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "copilot"}


@pytest.mark.parametrize(
    ("bill", "scope", "service"),
    [
        ({"github.copilot.nano_aiu": 1784500000.0}, "github.copilot", "github-copilot"),
        ({"github.copilot.nano_aiu": 1784500000}, "any", "renamed-by-the-user"),
        ({"copilot_chat.copilot_usage_nano_aiu": 1784500000}, "copilot-chat", "copilot-chat"),
    ],
)
def test_copilots_credits_are_the_bill(bill: dict[str, Any], scope: str, service: str) -> None:
    call, cost = only(span({**COPILOT, **bill}, scope=scope, service=service))

    # 1.7845 credits of 0.01 USD
    assert (cost.cost_status, usd(cost.cost_picousd)) == ("reported", Decimal("0.017845"))
    assert (call.provider_name, call.model_name) == ("github-copilot", "gpt-5-mini")
    assert call.usage == Usage(
        35068, 4539, cache_read_tokens=30000, cache_write_tokens=4000, reasoning_tokens=4480
    )


def test_copilots_cached_count_under_its_old_name() -> None:
    old = {key: value for key, value in COPILOT.items() if "cache" not in key}
    old |= {"gen_ai.usage.cache_read_input_tokens": 30000}
    call, _ = only(span(old, scope="copilot-chat", service="copilot-chat"))

    assert (call.usage.input_tokens, call.usage.cache_read_tokens) == (35068, 30000)


@pytest.mark.parametrize("kind", [1, 3])
def test_copilots_agent_repeats_the_sum_and_is_not_charged(kind: int) -> None:
    copilot: dict[str, Any] = {"scope": "github.copilot", "service": "github-copilot"}
    calls = net(
        [
            span({**AGENT, "github.copilot.nano_aiu": 5 * 10**9}, **copilot, kind=kind),
            span({**COPILOT, "github.copilot.nano_aiu": 2 * 10**9}, **copilot, number=2, parent=1),
            span({**COPILOT, "github.copilot.nano_aiu": 3 * 10**9}, **copilot, number=3, parent=1),
        ]
    )

    assert sum(call.reported_cost_picousd or 0 for call in calls) == 50_000_000_000  # 0.05 USD


def test_an_agent_of_copilot_alone_is_never_a_remote_agents_bill() -> None:
    copilot = span({**AGENT, "github.copilot.nano_aiu": 1}, scope="", service="github-copilot")
    reading = Reader().read(copilot)

    assert (reading.kind, reading.may_be_charged) == (Kind.WRAPPER, False)


def test_a_copilot_call_without_credits_has_no_price_and_not_a_neighbours() -> None:
    _, cost = only(span(COPILOT, scope="github.copilot", service="github-copilot"))

    assert (cost.cost_status, cost.unpriced_reason) == ("unpriced", "unknown_model")


def test_a_key_of_ones_own_in_copilot_is_billed_by_that_provider() -> None:
    own_key = {**COPILOT, "gen_ai.provider.name": "openai"}
    call, cost = only(span(own_key, scope="copilot-chat", service="copilot-chat"))

    assert (call.provider_name, cost.cost_status) == ("openai", "priced")


@pytest.mark.parametrize(
    ("host", "provider", "status"),
    [
        ("api.individual.githubcopilot.com", "github-copilot", "unpriced"),
        ("", "github-copilot", "unpriced"),
        ("api.openai.com", "openai", "priced"),
        ("llm.example.com", "openai", "priced"),  # by the model's name, and flagged
        ("notgithub.com", "openai", "priced"),
    ],
)
def test_what_copilots_cli_calls_github_is_its_own_only_at_githubs_hosts(
    host: str, provider: str, status: str
) -> None:
    attributes = {**COPILOT, "server.address": host}
    call, cost = only(span(attributes, scope="github.copilot", service="github-copilot"))

    assert (call.provider_name, cost.cost_status) == (provider, status)
    assert ("provider_inferred" in call.quality_flags) == (
        provider == "openai" and "api" not in host
    )


@pytest.mark.parametrize(
    ("folder", "cost_usd"),
    [
        # 3 of input, 1,111 cached, 418 written, 33 of output, at 3, 0.3, 3.75 and 15 a million
        ("copilot_cli/cached", "0.0024048"),
        # 12,243 and 140, at 1.75 and 14 a million
        ("copilot_cli_openai/reasoning", "0.02338525"),
    ],
)
def test_the_cli_of_copilot_with_a_key_of_ones_own_is_the_providers_price(
    folder: str, cost_usd: str
) -> None:
    captured = json.loads((XAI.parent / f"{folder}.json").read_text())
    (call,) = net_of_requests(captured["traces"])
    (cost,) = entry.costs([call], BOOK, Directory())

    assert (cost.cost_status, usd(cost.cost_picousd)) == ("priced", Decimal(cost_usd))
    assert (call.department, call.unread) == ("research", ())


@pytest.mark.parametrize(
    ("case", "cost_usd", "usage"),
    [
        # 37,756,000 ticks of 10^-10 USD
        (
            "chat_plain",
            "0.0037756",
            Usage(1500, 329, cache_read_tokens=1024, reasoning_tokens=320, input_image_tokens=0),
        ),
        (
            "chat_stream",
            "0.0037756",
            Usage(1500, 329, cache_read_tokens=1024, reasoning_tokens=320, input_image_tokens=0),
        ),
        (
            "image_plain",
            "0.07",
            Usage(0, 0, cache_read_tokens=0, reasoning_tokens=0, input_image_tokens=0),
        ),
    ],
)
def test_the_ticks_of_xais_sdk_are_the_bill(case: str, cost_usd: str, usage: Usage) -> None:
    captured = json.loads((XAI / f"{case}.json").read_text())
    call, cost = only(*(Span(**each) for each in captured["spans"]))

    assert (cost.cost_status, usd(cost.cost_picousd)) == ("reported", Decimal(cost_usd))
    assert (call.provider_name, call.usage, call.unread) == ("x_ai", usage, ())


@pytest.mark.parametrize("case", ["chat_plain", "chat_stream", "chat_deferred", "image_plain"])
def test_ours_beside_the_span_of_xais_sdk_is_the_same_bill(case: str) -> None:
    captured = json.loads((XAI.with_name("xai_sdk_grpc") / f"{case}.json").read_text())
    call, cost = only(*(Span(**each) for each in captured["spans"]))

    paid_usd = Decimal("0.07" if case == "image_plain" else "0.0037756")
    assert len(captured["spans"]) >= 2
    assert (cost.cost_status, usd(cost.cost_picousd)) == ("reported", paid_usd)
    assert (call.scope_name, call.provider_name, call.unread) == ("tallyspan", "x_ai", ())
