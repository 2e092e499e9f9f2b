"""LiteLLM's two OpenTelemetry integrations. Source: litellm/integrations/opentelemetry.py, otel/.

Its proxy answers with the name that the proxy has for a model; which one that is stands beside it.
Version 1 puts the call's attributes on the proxy's own span where there is one; the raw span below
has none of the usage. Costs are after margins and discounts.
"""

from collections.abc import Collection

from tallyspan_collector.dialects import usage_object, values
from tallyspan_collector.dialects.otel_genai import extend
from tallyspan_collector.dialects.providers import provider
from tallyspan_collector.dialects.table import Attributes
from tallyspan_collector.read.call import Draft

_KEY = "metadata.user_api_key_"
_KEY_2 = f"litellm.{_KEY}"
"""Of version 2."""
_USAGE = "metadata.usage_object#"
_PROMPT = f"{_USAGE}prompt_tokens_details."
_WRITTEN = f"{_PROMPT}cache_creation_token_details."
_METERS = {
    "cache_write_12h_tokens": (f"{_WRITTEN}ephemeral_12h_input_tokens",),
    "input_tool_tokens": (f"{_PROMPT}tool_use_tokens",),
    "web_search": (f"{_PROMPT}web_search_requests",),
    "maps_grounding": (f"{_PROMPT}google_maps_grounding_requests",),
}
"""Its own names of what providers count elsewhere. Source: litellm 1.110.2, types/utils.py."""


_MODEL = "litellm.provider.model"


def _refine(draft: Draft, attributes: Attributes) -> None:
    usage_object.refine(draft, attributes, _USAGE)
    model = values.text(attributes.get(_MODEL))
    aliases = {draft["request_model"], values.text(attributes.get("litellm.model_group"))}
    if model and draft["response_model"] in aliases:
        prefix, _, rest = model.partition("/")
        is_provider = bool(rest) and provider(prefix, "", "")[0] == draft["provider_name"]
        draft["response_model"] = rest if is_provider else model


def _may_refine(_: str, names: Collection[str]) -> bool:
    return _USAGE.removesuffix("#") in names or _MODEL in names


DIALECT = extend(
    name="litellm",
    scopes=("litellm",),
    keys=("litellm.*", "hidden_params", f"{_KEY}*"),
    operation=("gen_ai.operation.name", "litellm.call_type", "llm.request.type"),
    calls=dict.fromkeys(
        ("completion", "acompletion", "anthropic_messages", "aresponses", "responses",
         "text_completion", "atext_completion", "agenerate_content"), "chat"
    )
    | dict.fromkeys(("embedding", "aembedding"), "embeddings")
    | dict.fromkeys(("rerank", "arerank"), "rerank")
    | dict.fromkeys(
        ("image_generation", "aimage_generation", "transcription", "atranscription", "speech",
         "aspeech", "ocr", "aocr"), "generate_content"
    ),
    span_names={"raw_gen_ai_request": "raw_gen_ai_request", "guardrail*": "guardrail"},
    texts={
        "provider_name": ("gen_ai.provider.name", "gen_ai.system", "llm.provider"),
        "response_model": ("gen_ai.response.model", _MODEL),
        "service_tier": (f"{_USAGE}service_tier",),
        "user_id": (
            "litellm.end_user.id", f"{_KEY}end_user_id", "llm.user", "gen_ai.user",
            f"{_KEY}user_id", f"{_KEY}user_email", f"{_KEY_2}end_user_id", f"{_KEY_2}user_id",
            f"{_KEY_2}user_email", "litellm.metadata.user_id",
        ),
        "department": (
            "litellm.metadata.department", "litellm.team.alias", f"{_KEY}team_alias",
            f"{_KEY_2}team_alias", "litellm.team.id", f"{_KEY}team_id", f"{_KEY_2}team_id",
        ),
        "agent_id": ("metadata.agent_id", "litellm.metadata.agent_id"),
        "conversation_id": ("litellm.metadata.session_id", "metadata.session_id"),
    },
    claimed_cost=("gen_ai.cost.total_cost", "litellm.cost.total"),
    cache_hit=("litellm.cache_hit", "metadata.cache_hit", "gen_ai.cache_hit"),
    tags=("tallyspan.tag.", "litellm.metadata."),
    tokens=usage_object.joined(
        usage_object.at(_USAGE, usage_object.TOKENS),
        {"cache_write_1h_tokens": (f"{_WRITTEN}ephemeral_1h_input_tokens",)},
    ),
    cache_write_5m=(
        f"{_WRITTEN}ephemeral_5m_input_tokens",
        *usage_object.under(_USAGE, usage_object.CACHE_WRITE_5M),
    ),
    meters=usage_object.joined(usage_object.at(_USAGE, usage_object.METERS), _METERS),
    conditions=usage_object.at(_USAGE, usage_object.CONDITIONS),
    usage=(f"{_USAGE}*",),
    counted=usage_object.under(_USAGE, usage_object.REFINED),
    harmless={
        **usage_object.reasons(_USAGE, usage_object.AGAIN, usage_object.HARMLESS),
        f"{_USAGE}server_tool_use.tool_search_requests": "free: the tokens alone are billed",
        f"{_PROMPT}initial_prompt_tokens": "a part of the input",
        f"{_WRITTEN}ephemeral_30m_input_tokens": "OpenAI's usual lifetime, and so its price",
    },
    refine=_refine,
    refines=_may_refine,
    fails_with_zeros=True,  # version 2
    trust=4,
)  # fmt: skip
