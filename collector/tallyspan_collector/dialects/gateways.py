"""Gateways that push OTLP themselves. What they say a call cost is claimed, unless they bill it.

Sources: the vendors' documentation of OpenRouter Broadcast, Cloudflare AI Gateway, Kong, Bifrost;
the code of agentgateway (75b4e6c, telemetry/log.rs) and Envoy AI Gateway (c217da8,
internal/tracing). Coder's AI gateway (aibridge, d59c7ef) says no usage in its spans.
"""

from dataclasses import replace

from tallyspan_collector.dialects import openinference, otel_genai
from tallyspan_collector.dialects.otel_genai import extend
from tallyspan_collector.dialects.table import Attributes, Basis
from tallyspan_collector.dialects.values import PICOUSD_OF_USD
from tallyspan_collector.read.call import Draft

_UNDECIDED = {
    "": Basis.INCLUSIVE, "anthropic": Basis.UNDECIDED, "aws.bedrock": Basis.UNDECIDED,
}  # fmt: skip

_OPENROUTER = {"user_id": ("user.id", "trace.metadata.user_id", "gen_ai.request.user")}


def _as_openrouter(draft: Draft, _: Attributes) -> None:
    """Name the seller: the spans name who made the model, whose prices are others.

    Attempts at one host after the other are spans below the call's: they get its answer's id.
    """
    draft["provider_name"] = "openrouter"
    draft["response_id"] = draft["response_id"].partition(":attempt-")[0]


OPENROUTER = extend(
    name="openrouter",
    services=("openrouter",),
    scopes=("openrouter",),
    texts=_OPENROUTER,
    tokens={
        "input_audio_tokens": ("gen_ai.usage.input_tokens.audio",),
        "output_image_tokens": ("gen_ai.usage.output_tokens.image",),
    },
    claimed_cost=(),
    reported_cost={
        "gen_ai.usage.total_cost": PICOUSD_OF_USD, "gen_ai.usage.cost": PICOUSD_OF_USD,
    },
    refine=_as_openrouter,
    trust=3,
)  # fmt: skip
"""Broadcast, sent by OpenRouter itself: what it says a call cost is what it bills.

Input includes the cache, output the reasoning. Nothing in it tells of a key of one's own (BYOK).
"""

OPENROUTER_ELSEWHERE = extend(
    name="openrouter_elsewhere",
    scopes=("openrouter*",),
    keys=("openrouter.*", "trace.metadata.openrouter.*"),
    texts=_OPENROUTER,
    trust=3,
)
"""Others that write OpenRouter's attributes: their costs are claims."""

AGENTGATEWAY = extend(
    name="agentgateway",
    scopes=("agentgateway*",),
    needs=("gen_ai.*",),
    texts={"user_id": ("user.id", "enduser.id", "jwt.sub")},
    tokens={
        "input_audio_tokens": ("gen_ai.usage.input_audio_tokens",),
        "output_audio_tokens": ("gen_ai.usage.output_audio_tokens",),
        "output_image_tokens": ("gen_ai.usage.output_image_tokens",),
    },
    claimed_cost=("agw.ai.usage.cost.total",),
    usage=("agw.ai.usage.*",),
    harmless={"agw.ai.usage.cost.*": "a part of the cost whose sum is read"},
    basis={"": Basis.INCLUSIVE, "anthropic": Basis.EXCLUSIVE, "aws.bedrock": Basis.EXCLUSIVE},
    trust=4,
)
"""The span of a request that it served, with the provider's own counts."""


ENVOY_OPENINFERENCE = replace(
    openinference.DIALECT,
    name="envoy_ai_gateway_openinference",
    scopes=("envoyproxy/ai-gateway",),
    keys=(),
    needs=("openinference.span.kind",),
    texts={**openinference.DIALECT.texts, "provider_name": ()},
    refine=openinference.concluded_provider,
    refines=None,
    losses={},
)
"""What it writes unless it is told to write OpenTelemetry's names: the API, not who answered."""

_BACKENDS = {"aws.anthropic": "aws.bedrock", "gcp.anthropic": "gcp.vertex_ai"}
"""Claude in Anthropic's API, at Bedrock and at Vertex AI."""


def _of_backend(draft: Draft, _: Attributes) -> None:
    draft["provider_name"] = _BACKENDS.get(draft["provider_name"], draft["provider_name"])


ENVOY = replace(
    otel_genai.STANDARD,
    name="envoy_ai_gateway",
    scopes=("envoyproxy/ai-gateway",),
    refine=_of_backend,
    trust=4,
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
    needs=("opencode.*",),  # its AI SDK writes spans of its own in the same scope
    keys=("opencode.*",),
    claimed_cost=("opencode.llm.cost.total",),
    basis=_UNDECIDED,
    trust=4,
)
