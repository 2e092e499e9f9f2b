"""All dialects, and which one a span is written in: by its scope first, then by its attributes."""

from collections.abc import Iterable
from functools import lru_cache

from tallyspan_collector.dialects import (
    anthropic_native,
    characters,
    coding_agents,
    copilot,
    frameworks,
    gateways,
    langfuse,
    langsmith,
    litellm,
    openinference,
    openlit,
    openllmetry,
    otel_genai,
    pydantic_ai,
    strands,
    vercel_ai,
    xai_sdk,
)
from tallyspan_collector.dialects.table import Dialect, matches

DIALECTS: tuple[Dialect, ...] = (
    characters.DIALECT,
    otel_genai.BEDROCK,
    otel_genai.STANDARD,
    langfuse.DIALECT,
    openinference.DIALECT,
    openinference.JAVA,
    coding_agents.CLAUDE_CODE_CALLS,
    coding_agents.OTHER_SPANS,
    anthropic_native.DIALECT,
    vercel_ai.SIX,
    vercel_ai.FIVE,
    vercel_ai.SEVEN,
    langsmith.DIALECT,
    litellm.DIALECT,
    openlit.DIALECT,
    pydantic_ai.DIALECT,
    pydantic_ai.LOGFIRE,
    pydantic_ai.LOGFIRE_STREAM,
    frameworks.SPRING_AI,
    frameworks.MICROSOFT,
    frameworks.SEMANTIC_KERNEL,
    frameworks.GOOGLE_ADK,
    frameworks.GENKIT,
    frameworks.DIFY,
    frameworks.MASTRA,
    frameworks.RIG,
    copilot.DIALECT,
    xai_sdk.DIALECT,
    gateways.OPENROUTER,
    gateways.OPENROUTER_ELSEWHERE,
    gateways.AGENTGATEWAY,
    gateways.ENVOY_OPENINFERENCE,
    gateways.ENVOY,
    gateways.CLOUDFLARE,
    gateways.KONG,
    gateways.BIFROST,
    gateways.OPENCODE,
    coding_agents.CODEX_SPANS,
    openllmetry.DIALECT,
    strands.NEWER,
    strands.OLDER,
    strands.TYPESCRIPT,
    otel_genai.GENERIC,
)
"""First match wins: GENERIC, which takes everything with a `gen_ai.` attribute, is last."""

SERVICES = frozenset(name for dialect in DIALECTS for name in dialect.services)


def recognise(scope: str, service: str, keys: Iterable[str]) -> Dialect | None:
    """Return the dialect, or None: no attribute of the span is about an LLM."""
    present = frozenset(keys)
    for dialect in DIALECTS:
        by_scope = any(matches(pattern, scope) for pattern in dialect.scopes)
        if (by_scope or service in dialect.services) and _has(present, dialect.needs):
            return dialect
    for dialect in DIALECTS:
        if dialect.keys and _has(present, dialect.keys):
            return dialect
    return None


def _has(keys: frozenset[str], patterns: tuple[str, ...]) -> bool:
    if not patterns:
        return True
    names, prefixes = _split(patterns)
    return not keys.isdisjoint(names) or any(key.startswith(prefixes) for key in keys)


@lru_cache(maxsize=256)
def _split(patterns: tuple[str, ...]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the patterns that are whole names, and the prefixes of the others."""
    return (
        frozenset(pattern for pattern in patterns if not pattern.endswith("*")),
        tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*")),
    )


TRUST: dict[str, int] = {dialect.name: dialect.trust for dialect in reversed(DIALECTS)}
"""Whose tokens are taken first where several dialects report one call: the lowest."""
