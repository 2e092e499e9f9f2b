"""Spans of gateways, by their code: what each says of a call, and what that costs, worked out here."""

import json
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otlp_spans import START_NS
from tallyspan_collector.dialects import Kind, Reader
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.ingest.door import admit
from tallyspan_collector.ledger import entry
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.read import otlp
from tallyspan_collector.read.call import Call
from tallyspan_collector.read.otlp import Span
from tallyspan_collector.resolution.resolver import Resolver

BOOK = PriceBook.load()
AGENTGATEWAY = {
    "http.method": "POST",
    "http.path": "/v1/messages",
    "jwt.sub": "ann",
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "anthropic",
    "gen_ai.request.model": "claude-sonnet-4-5",
    "gen_ai.response.model": "claude-sonnet-4-5-20250929",
    "gen_ai.usage.input_tokens": 3,
    "gen_ai.usage.cache_creation.input_tokens": 418,
    "gen_ai.usage.cache_read.input_tokens": 1111,
    "gen_ai.usage.output_tokens": 33,
    "agw.ai.usage.cost.total": "0.0024048",
    "agw.ai.usage.cost.input": "0.000009",
    "agw.ai.usage.cost.output": "0.000495",
    "duration": "812ms",
}
ENVOY = {
    "openinference.span.kind": "LLM",
    "llm.system": "openai",
    "llm.model_name": "claude-sonnet-4-5-20250929",
    "llm.token_count.prompt": 1532,
    "llm.token_count.prompt_details.cache_read": 1111,
    "llm.token_count.prompt_details.cache_creation": 418,
    "llm.token_count.prompt_details.audio": 0,
    "llm.token_count.completion": 33,
    "llm.token_count.completion_details.reasoning": 0,
    "llm.token_count.total": 1565,
    "session.id": "s-1",
}
ENVOY_OTEL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "aws.anthropic",
    "gen_ai.request.model": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "gen_ai.response.model": "claude-sonnet-4-5-20250929",
    "gen_ai.response.id": "msg_1",
    "gen_ai.usage.input_tokens": 1532,
    "gen_ai.usage.cache_read.input_tokens": 1111,
    "gen_ai.usage.cache_creation.input_tokens": 418,
    "gen_ai.usage.output_tokens": 33,
}
# 3, 1,111 cached and 418 written of input and 33 of output, at 3, 0.3, 3.75 and 15 a million
PAID_USD = Decimal("0.0024048")


def span(attributes: dict[str, Any], scope: str, service: str, **more: Any) -> Span:
    ids = "5" * 32, f"{more.get('number', 1):016x}", more.get("parent", "")
    times = START_NS, START_NS + 900_000_000
    return Span(*ids, *times, False, attributes, {"service.name": service}, scope, "request", 2)


def only(*spans: Span) -> tuple[Call, Decimal | None]:
    readings = [Reader().read(each) for each in spans]
    with closing(sqlite3.connect(":memory:")) as file:
        (call,) = Resolver(file).resolve(readings).calls
    (cost,) = entry.costs([call], BOOK, Directory())
    return call, None if cost.cost_picousd is None else Decimal(cost.cost_picousd) / 10**12


@pytest.mark.parametrize(
    ("attributes", "scope", "provider", "factor"),
    [
        (AGENTGATEWAY, "agentgateway", "anthropic", "1"),
        (ENVOY, "envoyproxy/ai-gateway", "anthropic", "1"),
        # Bedrock's models without `global.` before their name cost a tenth more
        (ENVOY_OTEL, "envoyproxy/ai-gateway", "aws.bedrock", "1.1"),
        (
            {**ENVOY_OTEL, "gen_ai.provider.name": "gcp.anthropic"},
            "envoyproxy/ai-gateway", "gcp.vertex_ai", "1",
        ),
    ],
    ids=["agentgateway", "envoy, openinference", "envoy, bedrock", "envoy, vertex"],
)  # fmt: skip
def test_claude_behind_a_gateway_has_its_cache_and_its_price(
    attributes: dict[str, Any], scope: str, provider: str, factor: str
) -> None:
    call, cost_usd = only(span(attributes, scope, "ai-gateway"))

    given = call.usage.input_tokens, call.usage.cache_read_tokens, call.usage.cache_write_tokens
    assert (*given, call.usage.output_tokens) == (1532, 1111, 418, 33)
    assert (call.provider_name, call.unread) == (provider, ())
    assert cost_usd == PAID_USD * Decimal(factor)


def test_what_agentgateway_worked_out_is_a_claim_and_its_user_is_who_signed_in() -> None:
    call, _ = only(span(AGENTGATEWAY, "agentgateway", "agentgateway"))

    assert (call.claimed_cost_picousd, call.reported_cost_picousd) == (2_404_800_000, None)
    assert call.user_id == "ann"


@pytest.mark.parametrize("provider", ["openai", "azure"])
def test_openais_input_behind_agentgateway_has_the_cache_in_it(provider: str) -> None:
    attributes = {
        **AGENTGATEWAY, "gen_ai.provider.name": provider, "gen_ai.response.model": "gpt-5-mini",
        "gen_ai.usage.input_tokens": 1500, "gen_ai.usage.cache_read.input_tokens": 1000,
        "gen_ai.usage.cache_creation.input_tokens": 0, "gen_ai.usage.reasoning_tokens": 20,
    }  # fmt: skip
    call, cost_usd = only(span(attributes, "agentgateway", "agentgateway"))

    # 500, 1,000 cached and 33, at 0.25, 0.025 and 2 a million
    assert (call.usage.input_tokens, cost_usd) == (1500, Decimal("0.000216"))


def test_a_call_of_a_tool_through_agentgateway_is_none_of_a_model() -> None:
    tool = {"mcp.method.name": "tools/call", "gen_ai.tool.name": "list", "duration": "1ms"}

    assert Reader().read(span(tool, "agentgateway", "agentgateway")).kind is Kind.NOTHING


def test_counting_tokens_at_envoy_is_no_call() -> None:
    counted = {**ENVOY, "openinference.span.kind": "TOKEN_COUNTER"}

    assert Reader().read(span(counted, "envoyproxy/ai-gateway", "ai-gateway")).kind is Kind.WRAPPER


@pytest.mark.parametrize("gateway", [ENVOY, ENVOY_OTEL])
def test_a_call_that_the_application_tells_of_too_is_one(gateway: dict[str, Any]) -> None:
    ours = {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-sonnet-4-5-20250929", "gen_ai.response.id": "msg_1",
        "gen_ai.response.model": "claude-sonnet-4-5-20250929", "gen_ai.usage.input_tokens": 1532,
        "gen_ai.usage.cache_read.input_tokens": 1111, "gen_ai.usage.cache_write.input_tokens": 418,
        "gen_ai.usage.output_tokens": 33, "tallyspan.usage.source": "provider", "user.id": "ann",
    }  # fmt: skip
    outer = span(ours, "tallyspan", "shop", number=1)
    inner = span(gateway, "envoyproxy/ai-gateway", "ai-gateway", number=2, parent=outer.span_id)
    call, cost_usd = only(inner, outer)

    assert (call.user_id, cost_usd) == ("ann", PAID_USD)


PROXY = {"anthropic": "messages_cached", "openai": "chat_reasoning"}
# 7 of input and 87 of output, at 1.1 and 4.4 a million
OF_THE_PROXY_USD = {"anthropic": PAID_USD, "openai": Decimal("0.0003905")}


def litellm_proxy(version: str, provider: str) -> list[Span]:
    """Return what LiteLLM's proxy, run for real, sent of a call of the model that it calls `m`."""
    folder = Path(__file__).parents[1] / f"conformance/litellm_proxy_{version}"
    captured = json.loads((folder / f"{PROXY[provider]}.json").read_text())
    bodies = [ParseDict(each, ExportTraceServiceRequest()) for each in captured["traces"]]
    return [each for body in bodies for each in otlp.decode(admit(body.SerializeToString()).blob)]


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_litellms_proxy_says_which_model_stands_behind_its_name(
    version: str, provider: str
) -> None:
    call, cost_usd = only(*litellm_proxy(version, provider))

    assert (call.provider_name, cost_usd) == (provider, OF_THE_PROXY_USD[provider])
    assert call.model_name in {"claude-sonnet-4-5", "o3-mini"}
    assert call.user_id == "ann"
    assert call.claimed_cost_picousd == OF_THE_PROXY_USD[provider] * 10**12


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("provider", ["anthropic", "openai"])
@pytest.mark.parametrize("host", ["llm.internal", "api.openai.com"])
def test_an_application_that_knows_the_proxys_name_alone_has_the_price_of_the_model_behind(
    version: str, provider: str, host: str
) -> None:
    inside = litellm_proxy(version, provider)
    (reported,) = [each for each in inside if "gen_ai.usage.input_tokens" in each.attributes]
    attributes = {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "server.address": host,
        "gen_ai.request.model": "m", "gen_ai.response.model": "m", "user.id": "bob",
        "gen_ai.response.id": reported.attributes["gen_ai.response.id"],
        "gen_ai.usage.input_tokens": reported.attributes["gen_ai.usage.input_tokens"],
        "gen_ai.usage.output_tokens": reported.attributes["gen_ai.usage.output_tokens"],
        "gen_ai.usage.cache_read.input_tokens": 1111 if provider == "anthropic" else 0,
        "gen_ai.usage.cache_write.input_tokens": 418 if provider == "anthropic" else 0,
        "tallyspan.usage.source": "provider",
    }  # fmt: skip
    times = reported.start_time_ns - 10**6, reported.end_time_ns + 10**6
    outer = Span(
        reported.trace_id, "b7ad6b7169203331", "", *times, False, attributes,
        {"service.name": "shop"}, "tallyspan", "chat m", 3,
    )  # fmt: skip
    call, cost_usd = only(*inside, outer)

    is_gateway = host == "llm.internal"  # a provider's own host needs nobody to say what it has
    assert cost_usd == (OF_THE_PROXY_USD[provider] if is_gateway else None)
    assert (call.user_id, call.server_address) == ("bob", host)
    assert call.provider_name == (provider if is_gateway else "openai")
