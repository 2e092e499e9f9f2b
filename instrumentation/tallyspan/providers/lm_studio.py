"""LM Studio's own `/api/v1/chat`: counts among the `stats` of the answer, or of its last event.

`input_tokens` is the whole prompt, `total_output_tokens` includes reasoning. Source: LM Studio's
REST documentation. Its `/api/v0` states `usage` as OpenAI does.
"""

from tallyspan.answer import Answer, Json, count, failure, mapping
from tallyspan.framing import Interest
from tallyspan.usage import Usage

INTEREST = Interest((b'"chat.end"', b'"error"'))


def read(body: Json, answer: Answer) -> None:
    """Take what an answer, or one event of a stream, says."""
    said = mapping(body.get("result")) or body
    answer.identify(said, model="model_instance_id", response_id="response_id")
    answer.error_type = failure(body, "code", "type") or answer.error_type
    stats = mapping(said.get("stats"))
    if stats:
        answer.finished("stop")
        found = Usage(
            input_tokens=count(stats.get("input_tokens")),
            output_tokens=count(stats.get("total_output_tokens")),
            reasoning_tokens=count(stats.get("reasoning_output_tokens")),
        )
        answer.usage = found or answer.usage
