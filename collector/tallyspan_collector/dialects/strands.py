"""Strands Agents. Names itself as the provider: host or model tell which one it is.

Input is as the provider reports it, so Bedrock's and Anthropic's is without the cache; newer Python
versions add it, and report it by the conventions' names. Bedrock's own total has the cache,
Anthropic's is a sum of Strands' own. Run with 1.50.0 and 1.62.0 (Python), 1.16.0 (TypeScript).
"""

from dataclasses import replace
from typing import Any

from tallyspan_collector.dialects.otel_genai import extend
from tallyspan_collector.dialects.table import Basis, Dialect

_WHOLE = frozenset({"aws.bedrock"})


def _dialect(name: str, basis: dict[str, Basis], **own: Any) -> Dialect:
    dialect = extend(
        name=name, basis={"": Basis.INCLUSIVE, **basis}, whole_totals=_WHOLE, trust=4, **own
    )
    return replace(dialect, texts={**dialect.texts, "provider_name": ()})


NEWER = _dialect(
    "strands",
    # up to 1.55 Anthropic's input was without the cache, and the total as well
    {"anthropic": Basis.UNDECIDED},
    scopes=("strands.telemetry*",),
    needs=("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_creation.input_tokens"),
)
OLDER = _dialect(
    "strands_older",
    {"anthropic": Basis.EXCLUSIVE, "aws.bedrock": Basis.EXCLUSIVE},
    scopes=("strands.telemetry*",),
)
TYPESCRIPT = _dialect(
    "strands_typescript",
    {"anthropic": Basis.EXCLUSIVE, "aws.bedrock": Basis.EXCLUSIVE},
    scopes=("strands-agents*",),
    keys=("gen_ai.event.start_time",),  # its scope is the service's name, where that is set
)
