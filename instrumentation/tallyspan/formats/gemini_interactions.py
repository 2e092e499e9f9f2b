"""Gemini Interactions: `usage`; prompts of tools and thoughts stand beside input and output."""

from tallyspan.answer import Answer, Json, count, failure, mapping, text, total
from tallyspan.framing import Interest
from tallyspan.providers import GEMINI
from tallyspan.usage import Usage
from tallyspan.wire_format import USER_KEYS, Format, NoEstimate, Path, RequestKeys


def read(body: Json, answer: Answer) -> None:
    """Take what an interaction, or an event that holds one, says."""
    interaction = mapping(body.get("interaction")) or body
    answer.model = answer.model or text(interaction.get("model")) or text(interaction.get("agent"))
    answer.response_id = answer.response_id or text(interaction.get("id"))
    status = text(interaction.get("status"))
    if status in {"completed", "failed", "cancelled", "requires_action"}:
        answer.finished(status)
    usage = mapping(interaction.get("usage"))
    counts = Usage(
        input_tokens=total(
            count(usage.get("total_input_tokens")), count(usage.get("total_tool_use_tokens"))
        ),
        output_tokens=total(
            count(usage.get("total_output_tokens")), count(usage.get("total_thought_tokens"))
        ),
        cache_read_tokens=count(usage.get("total_cached_tokens")),
        reasoning_tokens=count(usage.get("total_thought_tokens")),
    )
    answer.usage = counts or answer.usage
    answer.error_type = failure(body, "status", "code") or answer.error_type


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
    read_headers=None,
    read_request=None,
)
