"""Gemini Interactions: `usage`, by modality; prompts of tools and thoughts beside; grounding."""

from tallyspan.answer import Answer, Json, count, failure, items, mapping, text, total
from tallyspan.formats.gemini import Modalities
from tallyspan.framing import Interest
from tallyspan.providers import GEMINI
from tallyspan.usage_keys import UsageKeys, leave_unread
from tallyspan.wire_format import USER_KEYS, Format, NoEstimate, Path, RequestKeys

_DETAILS = {
    "input": ("input_tokens_by_modality", "tool_use_tokens_by_modality"),
    "cache": ("cached_tokens_by_modality",),
    "output": ("output_tokens_by_modality",),
}
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
        _read_usage(usage, answer)
        # With its usage alone: until then it is what the request wants.
        answer.service_tier = text(interaction.get("service_tier")) or answer.service_tier
    answer.error_type = failure(body, "status", "code") or answer.error_type


def _read_usage(usage: Json, answer: Answer) -> None:
    prompt = count(usage.get("total_input_tokens"))
    if prompt is not None:
        prompt = total(prompt, count(usage.get("total_tool_use_tokens")))
    generated = count(usage.get("total_output_tokens"))
    thoughts = count(usage.get("total_thought_tokens"))
    output_tokens = total(generated, thoughts)
    if thoughts and count(usage.get("total_tokens")) == total(prompt, generated):
        output_tokens = generated  # the total says that the thoughts are in there
    modalities = Modalities(usage, _DETAILS, "tokens")
    cached = count(usage.get("total_cached_tokens"))
    answer.usage = modalities.usage(prompt, output_tokens, thoughts, cached) or answer.usage
    modalities.bill(answer)
    for key in modalities.unknown_at:
        leave_unread(answer, f"usage.{key}[].modality")
    for tool in items(usage.get("grounding_tool_count")):
        meter = _GROUNDING.get(text(tool.get("type")))
        if meter:
            answer.billed(meter, tool.get("count"))
        elif tool.get("count"):
            leave_unread(answer, "usage.grounding_tool_count[].type")


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
                for keys in _DETAILS.values()
                for key in keys
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
