"""Gemini Interactions: prompts of tools and thoughts stand beside input and output, not inside."""

from tallyspan.answer import Answer, Json, count, failure, mapping, text, total
from tallyspan.framing import Interest
from tallyspan.usage import Usage

INTEREST = Interest((b'"usage"', b'"error"'))


def read(body: Json, answer: Answer) -> None:
    """Take what an interaction, or an event that holds one, says."""
    said = mapping(body.get("interaction")) or body
    answer.model = answer.model or text(said.get("model")) or text(said.get("agent"))
    answer.response_id = answer.response_id or text(said.get("id"))
    status = text(said.get("status"))
    if status in {"completed", "failed", "cancelled", "requires_action"}:
        answer.finished(status)
    usage = mapping(said.get("usage"))
    found = Usage(
        input_tokens=total(
            count(usage.get("total_input_tokens")), count(usage.get("total_tool_use_tokens"))
        ),
        output_tokens=total(
            count(usage.get("total_output_tokens")), count(usage.get("total_thought_tokens"))
        ),
        cache_read_tokens=count(usage.get("total_cached_tokens")),
        reasoning_tokens=count(usage.get("total_thought_tokens")),
    )
    answer.usage = found or answer.usage
    answer.error_type = failure(body, "status", "code") or answer.error_type
