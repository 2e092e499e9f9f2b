"""Gateways that push OTLP themselves. What they say a call cost is claimed, not billed to us here.

Sources: the vendors' documentation of OpenRouter Broadcast, Cloudflare AI Gateway, Kong, Bifrost.
"""

from tallyspan_collector.dialects.otel_genai import extend
from tallyspan_collector.dialects.table import Basis

_UNDECIDED = {
    "": Basis.INCLUSIVE, "anthropic": Basis.UNDECIDED, "aws.bedrock": Basis.UNDECIDED,
}  # fmt: skip

OPENROUTER = extend(
    name="openrouter",
    services=("openrouter",),
    scopes=("openrouter*",),
    keys=("openrouter.*",),
    texts={"user_id": ("user.id", "trace.metadata.user_id", "gen_ai.request.user")},
    claimed_cost=("gen_ai.usage.cost", "gen_ai.usage.total_cost"),
    trust=3,
)

CLOUDFLARE = extend(
    name="cloudflare",
    services=("cloudflare-ai-gateway", "ai-gateway"),
    scopes=("cloudflare*",),
    claimed_cost=("gen_ai.usage.cost",),
    basis=_UNDECIDED,
    trust=4,
)

KONG = extend(name="kong", scopes=("kong*",), services=("kong",), basis=_UNDECIDED, trust=4)

BIFROST = extend(name="bifrost", scopes=("bifrost*",), services=("bifrost",), basis=_UNDECIDED,
                 trust=4)  # fmt: skip

OPENCODE = extend(
    name="opencode",
    scopes=("opencode*",),
    keys=("opencode.*",),
    claimed_cost=("opencode.llm.cost.total",),
    basis=_UNDECIDED,
    trust=4,
)
