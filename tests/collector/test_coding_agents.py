"""Log records of coding agents, with the attributes their documentation names."""

from typing import Any

import pytest

from tallyspan_collector.dialects import Kind, Reader
from tallyspan_collector.read.call import Call
from tallyspan_collector.read.otlp import Span


def read(**said: Any) -> Call:
    attributes = {key.replace("__", "."): value for key, value in said.items()}
    record = Span("1" * 32, "2" * 16, "", 10**18, 10**18, False, attributes, {}, "", "")
    reading = Reader().read_log(record)
    assert reading.kind is Kind.CALL
    assert reading.call is not None
    return reading.call


def test_claude_codes_input_is_without_the_cache_and_its_cost_is_a_claim() -> None:
    call = read(
        event__name="api_request", model="claude-sonnet-4-6", input_tokens="100",
        output_tokens="50", cache_read_tokens="2000", cache_creation_tokens="300",
        cost_usd="0.0123", session__id="s-1", user__email="ada@example.org",
    )  # fmt: skip

    assert (call.usage.input_tokens, call.usage.output_tokens) == (2400, 50)
    assert (call.provider_name, call.user_id) == ("anthropic", "ada@example.org")
    assert call.claimed_cost_picousd == 12_300_000_000
    assert not call.is_notional


def test_codex_on_a_plan_is_notional_and_its_total_is_in_tool_tokens() -> None:
    call = read(
        event__name="codex.sse_event", event__kind="response.completed", model="gpt-5-codex",
        input_token_count="1200", output_token_count="80", cached_token_count="1000",
        reasoning_token_count="30", tool_token_count="1280", auth_mode="Chatgpt",
    )  # fmt: skip

    assert (call.usage.input_tokens, call.usage.output_tokens) == (1200, 80)
    assert call.is_notional
    assert call.quality_flags == ()


def test_gemini_clis_thoughts_are_added_to_its_output() -> None:
    call = read(
        event__name="gemini_cli.api_response", model="gemini-2.5-pro", input_token_count=1000,
        output_token_count=50, thoughts_token_count=30, total_token_count=1080,
        auth_type="gemini-api-key",
    )  # fmt: skip

    assert (call.usage.input_tokens, call.usage.output_tokens) == (1000, 80)
    assert not call.is_notional


def test_other_records_are_no_calls() -> None:
    record = Span("1" * 32, "2" * 16, "", 1, 1, False, {"event.name": "user_prompt"}, {}, "", "")

    assert Reader().read_log(record).kind is Kind.NOTHING


@pytest.mark.parametrize(
    ("auth", "is_notional"), [("openai", False), ("qwen-oauth", True), ("USE_GEMINI", False)]
)
def test_qwen_codes_reasoning_is_in_its_output_and_its_own_account_pays_nothing(
    auth: str, *, is_notional: bool
) -> None:
    call = read(
        event__name="qwen-code.api_response", model="qwen3-coder-plus", input_token_count=976,
        output_token_count=61, cached_content_token_count=896, thoughts_token_count=25,
        total_token_count=1037, auth_type=auth, subagent_name="reviewer", session__id="s-1",
    )  # fmt: skip

    assert (call.usage.input_tokens, call.usage.output_tokens) == (976, 61)
    assert (call.usage.cache_read_tokens, call.usage.reasoning_tokens) == (896, 25)
    assert (call.is_notional, call.agent_name) == (is_notional, "reviewer")
    assert (call.provider_name, call.quality_flags) == ("dashscope", ("provider_inferred",))
