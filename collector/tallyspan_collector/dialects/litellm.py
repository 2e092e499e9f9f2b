"""LiteLLM's two OpenTelemetry integrations. Source: litellm/integrations/opentelemetry.py, otel/.

Version 1 puts the call's attributes on the proxy's own span where there is one; the raw span below
has none of the usage. Costs are after margins and discounts.
"""

from tallyspan.usage import Usage
from tallyspan_collector.dialects.otel_genai import extend
from tallyspan_collector.dialects.table import Attributes
from tallyspan_collector.read.call import Draft

_KEY = "metadata.user_api_key_"
_USAGE = "metadata.usage_object#"


def _failed(draft: Draft, _: Attributes) -> None:
    """Make the usage of a failed call unknown: version 2 reports zeros for it."""
    usage: Usage = draft["usage"]
    if draft["is_error"] and not (usage.input_tokens or usage.output_tokens):
        draft["usage"], draft["usage_source"] = Usage(), "unknown"


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
        "response_model": ("gen_ai.response.model", "litellm.provider.model"),
        "user_id": (
            "litellm.end_user.id", f"{_KEY}end_user_id", "llm.user", "gen_ai.user",
            f"{_KEY}user_id", f"{_KEY}user_email", "litellm.metadata.user_id",
        ),
        "department": (
            "litellm.metadata.department", "litellm.team.alias", f"{_KEY}team_alias",
            "litellm.team.id", f"{_KEY}team_id",
        ),
        "agent_id": ("metadata.agent_id", "litellm.metadata.agent_id"),
        "conversation_id": ("litellm.metadata.session_id", "metadata.session_id"),
    },
    claimed_cost=("gen_ai.cost.total_cost", "litellm.cost.total"),
    cache_hit=("litellm.cache_hit", "metadata.cache_hit", "gen_ai.cache_hit"),
    tags=("tallyspan.tag.", "litellm.metadata."),
    tokens={
        "cache_read_tokens": (f"{_USAGE}prompt_tokens_details.cached_tokens",
                              f"{_USAGE}cache_read_input_tokens"),
        "cache_write_tokens": (f"{_USAGE}prompt_tokens_details.cache_creation_tokens",
                               f"{_USAGE}cache_creation_input_tokens"),
        "reasoning_tokens": (f"{_USAGE}completion_tokens_details.reasoning_tokens",),
        "input_audio_tokens": (f"{_USAGE}prompt_tokens_details.audio_tokens",),
        "output_audio_tokens": (f"{_USAGE}completion_tokens_details.audio_tokens",),
        "input_image_tokens": (f"{_USAGE}prompt_tokens_details.image_tokens",),
        "output_image_tokens": (f"{_USAGE}completion_tokens_details.image_tokens",),
    },
    usage=(f"{_USAGE}*",),
    harmless={
        f"{_USAGE}prompt_tokens": "the input again",
        f"{_USAGE}completion_tokens": "the output again",
        f"{_USAGE}total_tokens": "their sum",
        f"{_USAGE}*.text_tokens": "the rest of a count whose other parts are read",
        f"{_USAGE}*_prediction_tokens": "part of the output and billed as such",
    },
    refine=_failed,
    trust=4,
)  # fmt: skip
