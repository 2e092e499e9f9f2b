"""What emitters lose of usage, and their neighbours: other providers and versions, with no total."""

import json
from typing import Any

import pytest

from tallyspan_collector.dialects import Kind, Reader
from tallyspan_collector.read.call import Call, Flag
from tallyspan_collector.read.otlp import Span

PM = "ai.response.providerMetadata"
TS, PY = "strands-agents", "strands.telemetry.tracer"
CHAT = {"gen_ai.operation.name": "chat"}
BEDROCK_MODEL = "us.anthropic.claude-haiku-4-5-20251001-v1:0"


def read(scope: str, attributes: dict[str, Any]) -> Call:
    span = Span("1" * 32, "2" * 16, "", 10**18, 10**18, False, attributes, {}, scope)
    reading = Reader().read(span)
    assert reading.kind is Kind.CALL
    assert reading.call is not None
    return reading.call


def usage(**counts: int) -> dict[str, int]:
    return {f"gen_ai.usage.{name}_tokens": count for name, count in counts.items()}


def ai_sdk(provider: str, model: str, **counts: int) -> dict[str, Any]:
    named = {f"ai.usage.{name}Tokens": count for name, count in counts.items()}
    return {"ai.operationId": "ai.generateText.doGenerate", "ai.model.provider": provider,
            "ai.model.id": model, **named}  # fmt: skip


SIX = {"ai.usage.inputTokenDetails.noCacheTokens": 12}


@pytest.mark.parametrize(
    ("scope", "attributes", "expected", "flags"),
    [
        # version 5 without the metadata: 26 + 45 + 58 of 12633, the rest is a tool's prompt
        ("ai", ai_sdk("google.vertex", "gemini-2.5-flash", input=26, output=45, reasoning=58,
                      total=12633),
         ("gcp.vertex_ai", 12530, 103), [Flag.TOOL_PROMPT_FROM_TOTAL]),
        # an older xAI package of version 5 and 6; 6 has a total of its own, 12 + 9
        ("ai", ai_sdk("xai.chat", "grok-4", input=12, output=9, reasoning=310, total=331),
         ("x_ai", 12, 319), [Flag.OUTPUT_BASIS_CORRECTED]),
        ("ai", ai_sdk("xai.chat", "grok-4", input=12, output=9, reasoning=310, total=21) | SIX,
         ("x_ai", 12, 319), [Flag.OUTPUT_BASIS_CORRECTED]),
        ("ai", ai_sdk("xai.responses", "grok-4", input=12, output=319, reasoning=310, total=331),
         ("x_ai", 12, 319), []),
        # Claude on Vertex, version 5: Anthropic's rule, 3 + 1000 of cache
        ("ai", ai_sdk("vertex.anthropic.messages", "claude-sonnet-4-5", input=3, output=9,
                      cachedInput=1000, total=12),
         ("gcp.vertex_ai", 1003, 9), []),
        # Strands: Bedrock's total has the cache, 300 + 5000 + 3000 + 80
        (TS, {**CHAT, "gen_ai.system": TS, "gen_ai.request.model": BEDROCK_MODEL,
              **usage(input=300, output=80, cache_read_input=5000, cache_write_input=3000,
                      total=8380)},
         ("aws.bedrock", 8300, 80), [Flag.PROVIDER_INFERRED]),
        # ... and Anthropic's is 300 + 80; its scope may be the service's name
        ("shop", {**CHAT, "gen_ai.system": "shop", "gen_ai.request.model": "claude-sonnet-4-5",
                  "gen_ai.event.start_time": "2026-11-27T00:00:00Z",
                  **usage(input=300, output=80, cache_read_input=50, cache_write_input=30,
                          total=380)},
         ("anthropic", 380, 80), [Flag.PROVIDER_INFERRED]),
        (TS, {**CHAT, "gen_ai.system": TS, "gen_ai.request.model": "gpt-5",
              **usage(input=1200, output=80, cache_read_input=1000, total=1280)},
         ("openai", 1200, 80), [Flag.PROVIDER_INFERRED]),
        # newer Python versions add the cache; of 1.55 it is not certain for Anthropic
        (PY, {**CHAT, "gen_ai.system": TS, "gen_ai.request.model": BEDROCK_MODEL,
              **usage(input=8300, output=80, total=8380),
              "gen_ai.usage.cache_read.input_tokens": 5000},
         ("aws.bedrock", 8300, 80), [Flag.PROVIDER_INFERRED]),
        (PY, {**CHAT, "gen_ai.system": TS, "gen_ai.request.model": "claude-sonnet-4-5",
              **usage(input=8300, output=80, total=8380),
              "gen_ai.usage.cache_read.input_tokens": 5000},
         ("anthropic", 8300, 80), [Flag.PROVIDER_INFERRED, Flag.INPUT_BASIS_ASSUMED]),
        # the AWS SDK's instrumentations have no total: never with the cache
        ("opentelemetry.instrumentation.botocore.bedrock-runtime",
         {**CHAT, "gen_ai.system": "aws.bedrock", "gen_ai.request.model": "amazon.nova-pro-v1:0",
          **usage(input=300, output=80), "gen_ai.usage.cache_read.input_tokens": 100},
         ("aws.bedrock", 400, 80), []),
        # OpenLLMetry: thoughts of Vertex as well; a gap of another provider has no explanation
        ("opentelemetry.instrumentation.vertexai",
         {**CHAT, "gen_ai.provider.name": "gcp.vertex_ai", "llm.is_streaming": True,
          "gen_ai.request.model": "gemini-2.5-pro", **usage(input=100, output=20, total=320)},
         ("gcp.vertex_ai", 100, 220), [Flag.THOUGHTS_FROM_TOTAL]),
        ("opentelemetry.instrumentation.openai.v1",
         {**CHAT, "gen_ai.provider.name": "openai", "llm.is_streaming": True,
          "gen_ai.request.model": "gpt-5", **usage(input=100, output=20, total=320)},
         ("openai", 100, 20), [Flag.TOTAL_MISMATCH]),
        # LangSmith's total is a sum, the one of LangChain is Vertex': 100 + 20 + 200
        ("langsmith",
         {"langsmith.span.kind": "llm", "langsmith.metadata.ls_provider": "google_vertexai",
          "gen_ai.request.model": "gemini-2.5-pro", **usage(input=100, output=20, total=120),
          "langsmith.metadata.usage_metadata": json.dumps(
              {"total_tokens": 320, "output_token_details": {"reasoning": 200}})},
         ("gcp.vertex_ai", 100, 220), [Flag.OUTPUT_BASIS_CORRECTED]),
        # OpenLIT: its total, 100 + 20, proves nothing
        ("openlit.otel.tracing",
         {**CHAT, "gen_ai.provider.name": "gcp.gemini", "gen_ai.request.model": "gemini-2.5-pro",
          "gen_ai.client.token.usage": 120, **usage(input=100, output=20, reasoning=15)},
         ("gcp.gemini", 100, 35), []),
    ],
)  # fmt: skip
def test_counts_are_read_by_the_emitters_rule_and_its_total(
    scope: str, attributes: dict[str, Any], expected: tuple[str, int, int], flags: list[Flag]
) -> None:
    call = read(scope, attributes)

    assert (call.provider_name, call.usage.input_tokens, call.usage.output_tokens) == expected
    assert list(call.quality_flags) == flags


@pytest.mark.parametrize("details", [json.dumps, repr], ids=["JavaScript", "Python"])
def test_langsmiths_lifetimes_are_the_cache_writes_where_these_are_zero(details: Any) -> None:
    parts = {"cache_read": 5000, "cache_creation": 0, "ephemeral_5m_input_tokens": 1000,
             "ephemeral_1h_input_tokens": 2000}  # fmt: skip
    call = read("langsmith", {
        "langsmith.span.kind": "llm", "gen_ai.system": "anthropic",
        "gen_ai.request.model": "claude-sonnet-4-5", **usage(input=8300, output=80, total=8380),
        "gen_ai.usage.input_token_details": details(parts),
    })  # fmt: skip

    assert (call.usage.cache_write_tokens, call.usage.cache_write_1h_tokens) == (3000, 2000)


def test_the_ai_sdks_metadata_name_the_served_tier() -> None:
    served = ai_sdk("openai.chat", "gpt-5.4", input=10, output=5, total=15)
    call = read("ai", served | {PM: json.dumps({"openai": {"serviceTier": "priority"}})})

    assert call.service_tier == "priority"


def test_vercels_gateway_is_its_models_vendor_and_states_a_cost() -> None:
    called = ai_sdk("gateway", "openai/gpt-5-mini", input=1000, output=100, total=1100)
    call = read("ai", called | {PM: json.dumps({"gateway": {"cost": "0.00045"}})})

    assert (call.provider_name, call.request_model) == ("openai", "gpt-5-mini")
    assert call.claimed_cost_picousd == 450_000_000


@pytest.mark.parametrize(
    "model",
    ["global.anthropic.claude-opus-4-7", "apac.amazon.nova-pro-v1:0", "meta.llama3-8b-instruct-v1:0",
     "openai.gpt-oss-120b-1:0", "us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0",
     "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.amazon.nova-lite-v1:0"],
)  # fmt: skip
def test_bedrocks_names_of_models_tell_the_provider(model: str) -> None:
    call = read(TS, {**CHAT, "gen_ai.system": TS, "gen_ai.request.model": model})

    assert call.provider_name == "aws.bedrock"
