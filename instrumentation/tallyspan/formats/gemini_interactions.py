"""Gemini Interactions: `usage`, by modality; prompts of tools and thoughts beside; grounding."""

from tallyspan.answer import Answer, Json, count, failure, items, mapping, text, total
from tallyspan.formats.gemini import MODALITIES
from tallyspan.framing import Interest
from tallyspan.providers import GEMINI
from tallyspan.usage import Usage
from tallyspan.usage_keys import UsageKeys, leave_unread
from tallyspan.wire_format import USER_KEYS, Format, NoEstimate, Path, RequestKeys

_PROMPT = ("input_tokens_by_modality", "tool_use_tokens_by_modality")
_CACHE = ("cached_tokens_by_modality",)
_ANSWER = ("output_tokens_by_modality",)
_GROUNDING = {
    "google_search": "web_search",
    "google_maps": "maps_grounding",
    "retrieval": "file_search",
}
"""Tools as the usage names them -> meters."""


def read(body: Json, answer: Answer) -> None:
    """Take what an interaction, or an event that holds one, says."""
    interaction = mapping(body.get("interaction")) or body
    answer.model = answer.model or text(interaction.get("model")) or text(interaction.get("agent"))
    answer.response_id = answer.response_id or text(interaction.get("id"))
    status = text(interaction.get("status"))
    if status in {"completed", "failed", "cancelled", "requires_action"}:
        answer.finished(status)
    usage = mapping(interaction.get("usage"))
    if usage:
        answer.usage = _read_usage(usage) or answer.usage
        _read_meters(usage, answer)
        # With its usage alone: until then it is what the request wants.
        answer.service_tier = text(interaction.get("service_tier")) or answer.service_tier
    answer.error_type = failure(body, "status", "code") or answer.error_type


def _read_usage(usage: Json) -> Usage | None:
    generated, thoughts = (
        count(usage.get("total_output_tokens")),
        count(usage.get("total_thought_tokens")),
    )
    prompt = count(usage.get("total_input_tokens"))
    if prompt is not None:
        prompt = total(prompt, count(usage.get("total_tool_use_tokens")))
    output_tokens = total(generated, thoughts)
    if thoughts and count(usage.get("total_tokens")) == total(prompt, generated):
        output_tokens = generated  # the total says that the thoughts are in there
    counts = Usage(
        input_tokens=prompt,
        output_tokens=output_tokens,
        cache_read_tokens=count(usage.get("total_cached_tokens")),
        cache_read_audio_tokens=_modality(usage, _CACHE, "AUDIO"),
        reasoning_tokens=thoughts,
        input_audio_tokens=_modality(usage, _PROMPT, "AUDIO"),
        output_audio_tokens=_modality(usage, _ANSWER, "AUDIO"),
        input_image_tokens=_modality(usage, _PROMPT, "IMAGE"),
        output_image_tokens=_modality(usage, _ANSWER, "IMAGE"),
    )
    return counts or None


def _read_meters(usage: Json, answer: Answer) -> None:
    for name in ("VIDEO", "DOCUMENT"):
        answer.billed(f"input_{name.lower()}_tokens", _modality(usage, _PROMPT, name))
    for name in ("IMAGE", "VIDEO", "DOCUMENT"):
        answer.billed(f"cache_read_{name.lower()}_tokens", _modality(usage, _CACHE, name))
    answer.billed("output_video_tokens", _modality(usage, _ANSWER, "VIDEO"))
    for key in (*_PROMPT, *_CACHE, *_ANSWER):
        for part in items(usage.get(key)):
            if part.get("tokens") and text(part.get("modality")).upper() not in MODALITIES:
                leave_unread(answer, f"usage.{key}[].modality")
    for tool in items(usage.get("grounding_tool_count")):
        meter = _GROUNDING.get(text(tool.get("type")))
        if meter:
            answer.billed(meter, tool.get("count"))
        elif tool.get("count"):
            leave_unread(answer, "usage.grounding_tool_count[].type")


def _modality(usage: Json, keys: tuple[str, ...], wanted: str) -> int | None:
    return total(
        *(
            count(part.get("tokens"))
            for key in keys
            for part in items(usage.get(key))
            if text(part.get("modality")).upper() == wanted
        )
    )


FORMAT = Format(
    name="gemini_interactions",
    provider=GEMINI,
    paths=(Path("/v1beta/interactions", "generate_content", "gcp.gemini"),),
    request=RequestKeys(model="model", stream="stream", user=USER_KEYS, call=frozenset({"input"})),
    estimate=NoEstimate("the prompt includes earlier turns, which the server keeps"),
    usage_option=None,
    opens_with_usage=False,
    interest=Interest((b'"usage"', b'"error"')),
    reader=lambda: read,
    usage=UsageKeys(
        at=("usage", "interaction.usage"),
        read=(
            "total_input_tokens",
            "total_output_tokens",
            "total_cached_tokens",
            "total_thought_tokens",
            "total_tool_use_tokens",
            "total_tokens",
            *(
                f"{key}[].{name}"
                for key in (*_PROMPT, *_CACHE, *_ANSWER)
                for name in ("modality", "tokens")
            ),
            "grounding_tool_count[].type",
            "grounding_tool_count[].count",
        ),
        harmless={"initial_input_tokens": "a part of total_input_tokens"},
        beside={"service_tier": "the tier"},
    ),
    read_headers=None,
    read_request=None,
)
