from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from priced import ns, price
from tallyspan.usage import Usage
from tallyspan_collector.pricing import bundled, rates, sellers
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import Priced, Unpriced, UnpricedReason
from tallyspan_collector.pricing.match import Kind
from tallyspan_collector.pricing.rates import PriceFile

BOOK = PriceBook(own=lambda _: PriceFile())
"""The package's prices alone."""
SONNET = "arn:aws:bedrock:{}:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0"


def quote(provider: str, model: str) -> Priced | Unpriced:
    """What 1,000 input and 100 output tokens cost."""
    return price(BOOK, model, provider=provider, at_ns=ns("2026-11-26"))


@pytest.mark.parametrize(
    ("provider", "model", "nano_usd"),
    [
        # gpt-5-mini: 1,000 x 0.25 + 100 x 2.00 for a million
        ("vercel.ai_gateway", "openai/gpt-5-mini", 450_000),
        ("gateway", "openai/gpt-5-mini", 450_000),
        ("cloudflare", "openai/gpt-5-mini", 450_000),
        ("github.models", "openai/gpt-5-mini", 450_000),
        ("github.models", "gpt-5-mini", 450_000),
        ("portkey", "gpt-5-mini-2025-08-07", 450_000),
        ("portkey", "@openai-prod/gpt-5-mini", 450_000),
        ("portkey", "@openai/gpt-5-mini", 450_000),
        ("openai", "openai/gpt-5-mini", 450_000),  # a proxy at a host of its own
        ("openai", "azure/gpt-5-mini", 450_000),
        # claude-sonnet-4-5: 3 and 15
        ("gateway", "anthropic/claude-sonnet-4.5", 4_500_000),
        ("openai", "anthropic/claude-sonnet-4-5-20250929", 4_500_000),
        ("cloudflare", "anthropic/claude-4-5-sonnet", 4_500_000),
        ("anthropic", "anthropic/claude-4.5-sonnet-20250929", 4_500_000),
        ("openai", "vertex_ai/claude-sonnet-4-5@20250929", 4_500_000),
        # in the United States of Bedrock 3.30 and 16.50
        ("openai", "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", 4_950_000),
        ("aws.bedrock", SONNET.format("us-east-1:123456789012"), 4_950_000),
        ("openai", "bedrock/converse/us.anthropic.claude-sonnet-4-5-20250929-v1:0", 4_950_000),
        ("openai", "bedrock/" + SONNET.format("us-east-1:123456789012"), 4_950_000),
        ("aws.bedrock", SONNET.format("eu-west-1:123456789012").replace("/us.", "/eu."), 4_950_000),
        # claude-opus-4-6: 5 and 25
        ("vercel.ai_gateway", "anthropic/claude-4.6-opus-20260205", 7_500_000),
        ("aws.anthropic", "claude-opus-4-6", 7_500_000),
        # gemini-2.5-pro: 1.25 and 10; grok-4: 3 and 15; command-a: 2.50 and 10
        ("vercel.ai_gateway", "google/gemini-2.5-pro", 2_250_000),
        ("gcp.vertex_ai", "google/gemini-2.5-pro", 2_250_000),
        ("gcp.gemini", "models/gemini-2.5-pro", 2_250_000),
        (
            "gcp.vertex_ai",
            "projects/p/locations/global/publishers/google/models/gemini-2.5-pro",
            2_250_000,
        ),
        ("gcp.vertex_ai", "publishers/anthropic/models/claude-opus-4-6", 7_500_000),
        ("openai", "vertex_ai/gemini-2.5-pro", 2_250_000),
        ("cloudflare", "google-ai-studio/gemini-2.5-pro", 2_250_000),
        ("vercel.ai_gateway", "xai/grok-4", 4_500_000),
        ("cloudflare", "grok/grok-4", 4_500_000),
        ("vercel.ai_gateway", "cohere/command-a", 3_500_000),
        # claude-3-haiku: 0.25 and 1.25
        (
            "aws.bedrock",
            "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",
            375_000,
        ),
    ],
)
def test_a_model_behind_a_gateway_costs_what_its_vendor_charges(
    provider: str, model: str, nano_usd: int
) -> None:
    result = quote(provider, model)

    assert isinstance(result, Priced)
    assert result.cost_picousd == nano_usd * 1000


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "meta/llama-3.3-70b"),
        ("vercel.ai_gateway", "deepseek/deepseek-v3.2"),  # served by others, each at its own price
        ("vercel.ai_gateway", "moonshotai/kimi-k2"),
        ("vercel.ai_gateway", "openai/gpt-oss-120b"),
        ("openai", "openai/gpt-oss-120b"),  # vLLM under the name of its weights
        ("openai", "gpt-oss-120b"),  # OpenRouter's price in the package; OpenAI does not serve it
        ("vercel.ai_gateway", "google/gemma-3-27b-it"),
        ("openai", "google/gemma-3-27b-it"),
        ("openai", "moonshotai/Kimi-K2-Instruct"),
        ("portkey", "@our-models/meta-llama/Llama-3.3-70B-Instruct"),
        ("groq", "anthropic/claude-sonnet-4.5"),
        ("together_ai", "openai/gpt-5-mini"),
        ("hugging_face", "openai/gpt-5-mini"),
        ("azure.ai.openai", "gpt-oss-120b"),
        ("azure.ai.openai", "deepseek-v4-pro"),
        ("azure.ai.openai", "deepseek-chat"),
        ("azure.ai.openai", "grok-4.7"),
        ("azure.ai.openai", "kimi-k2.6"),
        ("azure.ai.inference", "deepseek-r1"),
        ("aws.bedrock", "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc123"),
        ("openai", "bedrock/arn:aws:bedrock:us-east-1:1:application-inference-profile/abc123"),
        ("aws.bedrock", "arn:aws:bedrock:us-east-1:1:provisioned-model/abc123"),
        ("aws.bedrock", "arn:aws:bedrock:us-east-1:1:custom-model/amazon.nova-lite-v1:0:300k/x"),
        ("aws.bedrock", "arn:aws:bedrock:us-east-1:1:inference-profile/eu.amazon.nova-lite-v1:0"),
        ("aws.bedrock", "arn:aws:bedrock:us-east-1:1:default-prompt-router/anthropic.claude:1"),
    ],
)
def test_another_sellers_price_is_not_taken(provider: str, model: str) -> None:
    assert quote(provider, model) == Unpriced(UnpricedReason.UNKNOWN_MODEL)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("gcp.vertex_ai", "gemma-4-26b-a4b-it"),
        ("gcp.vertex_ai", "gemma-3-27b-it"),
        ("cerebras", "qwen-3-coder-480b"),
        ("mistral_ai", "mistral-nemo:free"),
    ],
)
def test_a_free_tier_is_no_price_of_a_paid_platform(provider: str, model: str) -> None:
    assert quote(provider, model) == Unpriced(UnpricedReason.FREE_TIER_PRICE)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("gcp.gemini", "gemma-4-26b-a4b-it"),
        ("gcp.gemini", "models/gemma-3-27b-it"),
        ("openai", "omni-moderation-latest"),
        ("openrouter", "openai/gpt-oss-20b:free"),
    ],
)
def test_what_is_free_costs_nothing(provider: str, model: str) -> None:
    result = quote(provider, model)

    assert isinstance(result, Priced)
    assert result.cost_picousd == 0


def test_an_entry_of_the_price_file_is_for_the_model_behind_a_gateway_too(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "prices:\n- {model: gpt-5-mini, provider: openai, unit: 1M tokens, input: 1, output: 2}\n"
    )
    book = PriceBook(rates.load(path), own=lambda _: PriceFile())

    # 1,000 x 1 + 100 x 2 for a million
    for provider, model in (("vercel.ai_gateway", "openai/gpt-5-mini"), ("openai", "gpt-5-mini")):
        result = price(book, model, Usage(1000, 100), provider=provider)
        assert isinstance(result, Priced)
        assert result.cost_picousd == 1_200_000_000


@pytest.mark.parametrize(
    "provider", ["openrouter", "together_ai", "fireworks", "groq", "deepinfra", "novita"]
)
@given(model=st.from_regex(r"[a-z-]{1,9}/[a-z0-9.-]{1,12}", fullmatch=True))
def test_a_seller_with_prices_of_its_own_uses_its_own_names(provider: str, model: str) -> None:
    kind = Kind(provider, "", model)

    assert sellers.priced_as(kind) == kind


@given(
    st.sampled_from(sorted(sellers.NAMING_SERVICES | sellers.NAMING_MAKERS)),
    st.text("abc/@:.-4claude", max_size=20),
)
def test_only_provider_and_model_are_rewritten(provider: str, model: str) -> None:
    kind = Kind(provider, "host", model, "flex", (("region", "eu"),))
    priced = sellers.priced_as(kind)

    assert replace(priced, provider=provider, model=model) == kind


def test_every_pair_is_one_that_the_package_looks_up() -> None:
    pairs = {
        (p.id, m) for p in bundled.installed().providers for m in p.fallback_model_providers or ()
    }

    assert {(each.seller, each.maker) for each in sellers.AT_LIST_PRICE} <= pairs
    assert all(each.source.startswith("https://") for each in sellers.AT_LIST_PRICE)
    assert all(why for *_, why in sellers.FREE)
