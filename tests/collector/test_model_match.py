import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallyspan_collector.pricing import bundled
from tallyspan_collector.pricing.model_match import (
    DEARER_PLACES,
    HARMLESS_AFTER,
    HARMLESS_BEFORE,
    HARMLESS_NAMES,
)

DATA = bundled.installed()


def model_id(provider: str, model: str) -> str | None:
    match = DATA.find(provider, model)
    return match[1].id if match else None


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("gcp.gemini", "gemini-3.8-flash-cyber"),  # 1.50 and 7.50, the base 0.75 and 3.75
        ("gcp.vertex_ai", "gemini-3.8-flash-cyber"),
        ("gcp.gemini", "gemini-3.6-flash-image"),
        ("gcp.gemini", "gemini-2.5-pro:batch"),
        ("anthropic", "claude-opus-4.6-fast"),  # six times the base
        ("anthropic", "claude-sonnet-4-5-experimental"),
        ("anthropic", "claude-haiku-4-5-20251001-fast"),
        ("gcp.vertex_ai", "claude-opus-4-8-fast"),
        ("azure.ai.openai", "o4-mini-deep-research"),  # 2 and 8, o4-mini 1.10 and 4.40
        ("azure.ai.openai", "our-o4-mini"),
        ("openai", "gpt-5-nano-cyber"),
        ("openai", "gpt-4o-realtime-preview-turbo"),
        ("deepseek", "deepseek-r1-distill-llama-70b"),
        ("deepseek", "deepseek-v4-flash-vision-exp"),
        ("deepseek", "deepseek-chat:free"),
        ("aws.bedrock", "us.amazon.nova-pro-v1:0-latency-optimized"),
        ("aws.bedrock", "amazon.nova-lite-vision-v1:0"),
        ("aws.bedrock", "arn:aws:bedrock:us-east-1:1:custom-model/amazon.nova-lite-v1:0:300k/x"),
        ("aws.bedrock", "meta.llama3-1-70b-instruct-turbo-v1:0"),
        ("moonshot_ai", "kimi-k2.6:free"),
        ("aws.bedrock", "eu.amazon.nova-pro-v1:0"),  # 1.05 and 4.20, in the US 0.80 and 3.20
        ("aws.bedrock", "apac.amazon.nova-micro-v1:0"),
        ("aws.bedrock", "jp.amazon.nova-2-lite-v1:0"),
        ("aws.bedrock", "eu.meta.llama3-2-1b-instruct-v1:0"),
        ("aws.bedrock", "us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0"),  # 3.60 and 18
    ],
)
def test_a_variant_is_not_its_base(provider: str, model: str) -> None:
    assert model_id(provider, model) is None


@pytest.mark.parametrize(
    ("provider", "model", "right"),
    [
        ("gcp.gemini", "gemini-3.8-flash", "gemini-3.8-flash"),
        ("gcp.gemini", "gemini-3.8-flash-001", "gemini-3.8-flash"),
        ("gcp.gemini", "gemini-2.5-pro-preview-05-06", "gemini-2.5-pro"),
        ("gcp.gemini", "gemini-2.5-flash-lite-preview-09-2025", "gemini-2.5-flash-lite"),
        ("gcp.gemini", "gemini-2.0-flash-001", "gemini-2.0-flash"),
        ("gcp.gemini", "gemini-3.1-pro-preview-customtools", "gemini-3.1-pro-preview"),
        ("gcp.gemini", "gemma-3-27b-it", "gemma-3"),
        ("gcp.vertex_ai", "claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("gcp.vertex_ai", "claude-opus-5-5@latest", "claude-opus-5-5"),
        ("gcp.vertex_ai", "publishers/anthropic/models/claude-opus-4-6", "claude-opus-4-6"),
        ("anthropic", "claude-sonnet-4-20250514", "claude-sonnet-4-0"),
        ("anthropic", "claude-haiku-4.5", "claude-haiku-4-5"),
        ("anthropic", "claude-3-5-haiku-20241022", "claude-3-5-haiku-latest"),
        ("openai", "gpt-5-nano-2025-08-07", "gpt-5-nano"),
        ("openai", "gpt-6-sol-2026-08-01", "gpt-6-sol"),
        ("openai", "gpt-4o-realtime-preview-2025-06-03", "gpt-4o-realtime-preview"),
        ("openai", "ft:gpt-4o-2024-08-06:acme::Ab1", "ft:gpt-4o"),
        ("openai", "computer-use-preview-2025-03-11", "computer-use"),
        ("openai", "omni-moderation-latest", "moderation"),
        ("mistral_ai", "magistral-medium-2509", "magistral-medium"),
        ("aws.bedrock", "us.amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        ("aws.bedrock", "amazon.nova-lite-v1:0:300k", "amazon.nova-lite-v1:0"),
        ("aws.bedrock", "apac.anthropic.claude-3-haiku-20240307-v1:0",
         "regional.anthropic.claude-3-haiku-20240307-v1:0"),
        ("aws.bedrock", "bedrock/eu-west-1/amazon.nova-micro-v1:0", "amazon.nova-micro-v1:0"),
        ("aws.bedrock", "qwen.qwen3-coder-30b-a3b-instruct", "qwen.qwen3-coder-30b-a3b-v1:0"),
    ],
)  # fmt: skip
def test_a_snapshot_a_version_and_a_region_are_the_model(
    provider: str, model: str, right: str
) -> None:
    assert model_id(provider, model) == right


PRICED = [
    (provider, model.id)
    for provider, owner in (
        ("anthropic", "anthropic"),
        ("openai", "openai"),
        ("gcp.gemini", "google"),
    )
    for each in DATA.providers
    if each.id == owner
    for model in each.models
]
WORDS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=4, max_size=12).filter(
    lambda word: word not in {"latest", "default", "maas", "preview"}
)


NAMED = {of for of, _, _ in HARMLESS_NAMES}


@given(st.sampled_from(PRICED), WORDS, st.sampled_from("-:_.@+"))
def test_a_word_more_makes_another_model(model: tuple[str, str], word: str, sign: str) -> None:
    provider, name = model
    match = model_id(provider, f"{name}{sign}{word}")

    assert match is None or match in NAMED or word in match


def test_every_harmless_rest_has_its_reason() -> None:
    reasons = [
        *(why for _, why in (*HARMLESS_BEFORE, *HARMLESS_AFTER, *DEARER_PLACES)),
        *(why for *_, why in HARMLESS_NAMES),
    ]

    assert all(reasons)
    ids = {model.id for provider in DATA.providers for model in provider.models}
    assert ids >= NAMED
