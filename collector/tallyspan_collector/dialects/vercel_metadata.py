"""What the AI SDK's provider packages report beside its common usage, in one blob of metadata.

Anthropic's usage is there as it came, Google's as well: what its tools put into the prompt is
nowhere else, and in version 6 the total is a sum without it. OpenRouter, Perplexity and xAI have
what they billed. Sources: @ai-sdk/anthropic 3.0.140, google 3.0.141, amazon-bedrock 4.0.186,
openai 3.0.141, xai 3.0.138, perplexity 3.0.61, deepseek 2.0.69; @openrouter/ai-sdk-provider 2.10.0.
"""

from collections.abc import Mapping

from tallyspan.answer import Answer, Json, items, mapping
from tallyspan.formats import gemini
from tallyspan_collector.dialects import usage_object, values
from tallyspan_collector.dialects.otel_genai import GENERIC
from tallyspan_collector.dialects.table import Attributes, Names
from tallyspan_collector.dialects.values import PICOUSD_OF_USD
from tallyspan_collector.read.call import Draft

_BLOB = "ai.response.providerMetadata"
_PM = f"{_BLOB}#"
_ANTHROPIC = f"{_PM}anthropic.usage."
_BEDROCK = f"{_PM}bedrock.usage."
_OPENROUTER = f"{_PM}openrouter.usage."
_UPSTREAM = f"{_OPENROUTER}costDetails.upstreamInferenceCost"
_GOOGLE_KEYS = ("google", "vertex")
"""The key differs by the version of the provider's package."""
_MAX_FEE = 0.5
"""OpenRouter's fee, as a part of what the other provider bills, is far less than this."""


def _google(name: str) -> Names:
    return tuple(f"{_PM}{key}.usageMetadata.{name}" for key in _GOOGLE_KEYS)


def _modality(details: str, name: str) -> Names:
    return _google(f"{details}[{name}].tokenCount")


_OF_ANTHROPIC = usage_object.at(_ANTHROPIC, usage_object.TOKENS)
TOKENS: Mapping[str, Names] = {
    "cache_read_tokens": (
        f"{_PM}anthropic.cacheReadInputTokens", *_OF_ANTHROPIC["cache_read_tokens"],
        f"{_PM}openai.cachedPromptTokens", f"{_PM}deepseek.promptCacheHitTokens",
        f"{_OPENROUTER}promptTokensDetails.cachedTokens", *_google("cachedContentTokenCount"),
    ),
    "cache_write_tokens": (
        f"{_PM}anthropic.cacheCreationInputTokens", *_OF_ANTHROPIC["cache_write_tokens"],
        f"{_BEDROCK}cacheWriteInputTokens",
    ),
    "cache_write_1h_tokens": (
        *_OF_ANTHROPIC["cache_write_1h_tokens"], f"{_BEDROCK}cacheDetails[1h].inputTokens",
    ),
    "cache_read_audio_tokens": _modality("cacheTokensDetails", "AUDIO"),
    "reasoning_tokens": (
        f"{_PM}openai.reasoningTokens", *_OF_ANTHROPIC["reasoning_tokens"],
        f"{_OPENROUTER}completionTokensDetails.reasoningTokens", *_google("thoughtsTokenCount"),
    ),
    "input_audio_tokens": _modality("promptTokensDetails", "AUDIO"),
    "output_audio_tokens": _modality("candidatesTokensDetails", "AUDIO"),
    "input_image_tokens": _modality("promptTokensDetails", "IMAGE"),
    "output_image_tokens": _modality("candidatesTokensDetails", "IMAGE"),
}  # fmt: skip
CACHE_WRITE_5M = (
    *usage_object.under(_ANTHROPIC, usage_object.CACHE_WRITE_5M),
    f"{_BEDROCK}cacheDetails[5m].inputTokens",
)
ADDED: Mapping[str, Names] = {"input_tokens": _google("toolUsePromptTokenCount")}
TOTAL = _google("totalTokenCount")
METERS: Mapping[str, Names] = {
    "web_search": (
        *usage_object.under(_ANTHROPIC, usage_object.METERS["web_search"]),
        f"{_PM}perplexity.usage.numSearchQueries",
    ),
    "cache_read_image_tokens": _modality("cacheTokensDetails", "IMAGE"),
    "cache_read_video_tokens": _modality("cacheTokensDetails", "VIDEO"),
    "cache_read_document_tokens": _modality("cacheTokensDetails", "DOCUMENT"),
    "input_video_tokens": _modality("promptTokensDetails", "VIDEO"),
    "input_document_tokens": _modality("promptTokensDetails", "DOCUMENT"),
    "output_video_tokens": _modality("candidatesTokensDetails", "VIDEO"),
}
CONDITIONS: Mapping[str, Names] = usage_object.at(_ANTHROPIC, usage_object.CONDITIONS)
SERVICE_TIER: Names = (
    f"{_ANTHROPIC}service_tier",
    *(f"{_PM}{key}.serviceTier" for key in ("openai", "azure", "google", "vertex", "xai")),
    f"{_PM}bedrock.serviceTier.type",
    *_google("serviceTier"),
    *_google("trafficType"),
)
CLAIMED_COST: Names = (f"{_PM}gateway.cost", *GENERIC.claimed_cost)
REPORTED_COST: Mapping[str, int] = {
    f"{_OPENROUTER}cost": PICOUSD_OF_USD,
    f"{_PM}perplexity.cost.totalCost": PICOUSD_OF_USD,
    f"{_PM}xai.costInUsdTicks": usage_object.PICOUSD_OF_TICK,
}
REFINED: Names = (*usage_object.under(_ANTHROPIC, usage_object.REFINED), _UPSTREAM)
"""What `refine` reads."""

USAGE: Names = (f"{_PM}*.usage.*", *_google("*"), f"{_PM}*.serviceTier*", f"{_PM}*Tokens")
_AGAIN = "the same count is in ai.usage"
_TEXT = "text is what a price without modality is for"
_NAME = "the name of a count that is listed itself"
_TURNS = "the turns of one answer, whose sum is in ai.usage"
_COPIED = (
    *usage_object.CACHE_WRITE_5M,
    *usage_object.SERVICE_TIER,
    usage_object.SPEED,
    *(
        key
        for table in (usage_object.TOKENS, usage_object.METERS, usage_object.CONDITIONS)
        for keys in table.values()
        for key in keys
    ),
)
HARMLESS: Mapping[str, str] = {
    # under a name of the user's own Anthropic's usage is there a second time
    **usage_object.reasons(f"{_PM}*.usage.", usage_object.AGAIN, usage_object.HARMLESS),
    **dict.fromkeys(usage_object.under(f"{_PM}*.usage.", _COPIED), "read under `anthropic`"),
    f"{_PM}*.cacheCreationInputTokens": "read under `anthropic`",
    f"{_PM}*iterations[[]message].*": _TURNS,
    f"{_PM}*iterations[[]compaction].*": _TURNS,
    f"{_OPENROUTER}promptTokens": _AGAIN,
    f"{_OPENROUTER}completionTokens": _AGAIN,
    f"{_OPENROUTER}totalTokens": _AGAIN,
    f"{_PM}deepseek.promptCacheMissTokens": "the rest of the input",
    f"{_PM}*PredictionTokens": "predicted output is part of the output and billed as such",
    f"{_BEDROCK}*.ttl": _NAME,
    **dict.fromkeys(
        (*_google("promptTokenCount"), *_google("candidatesTokenCount")), _AGAIN
    ),
    **dict.fromkeys(_google("*[[]TEXT].*"), _TEXT),
    **dict.fromkeys(_google("*.modality"), _NAME),
}  # fmt: skip


def refine(draft: Draft, attributes: Attributes) -> None:
    """Take fast mode, the whole bill of a call with a key of one's own, and Google's searches."""
    metadata = values.parse(attributes.get(_BLOB))
    if not isinstance(metadata, Mapping):
        return
    draft["service_tier"] = draft["service_tier"].lower()
    if "anthropic" in metadata:
        usage_object.refine(draft, attributes, _ANTHROPIC)
    if "openrouter" in metadata:
        _add_upstream(draft, attributes)
    for key in _GOOGLE_KEYS:
        if key in metadata:
            _ground(draft, mapping(metadata[key]))


def _add_upstream(draft: Draft, attributes: Attributes) -> None:
    fee, upstream = draft["reported_cost_picousd"], values.picousd(attributes.get(_UPSTREAM))
    if fee is not None and upstream is not None and fee < upstream * _MAX_FEE:
        draft["reported_cost_picousd"] = fee + upstream


def _ground(draft: Draft, of_google: Json) -> None:
    """Count what grounding is billed by, as in an answer that our own instrumentation reads."""
    grounding = (
        of_google.get("groundingMetadata"),
        *items(of_google.get("groundingMetadataPerRequest")),
    )
    candidates = [{"groundingMetadata": each} for each in grounding if isinstance(each, dict)]
    if candidates:
        answer = Answer()
        gemini.FORMAT.reader()({"candidates": candidates}, answer)
        draft["meters"] = {**draft["meters"], **answer.meters}
