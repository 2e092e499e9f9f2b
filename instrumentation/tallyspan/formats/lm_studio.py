"""LM Studio `/api/v1/chat`: counts among the `stats` of the answer, or of its last event.

`input_tokens` is the whole prompt, `total_output_tokens` includes reasoning. Source: LM Studio's
REST documentation. Its `/api/v0` has `usage` as OpenAI does.
"""

from tallyspan.answer import Answer, Json, count, failure, mapping
from tallyspan.framing import Interest
from tallyspan.providers import Provider
from tallyspan.usage import Usage
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import USER_KEYS, Estimate, Format, Path, RequestKeys, texts_under


def read(body: Json, answer: Answer) -> None:
    """Take what an answer, or one event of a stream, says."""
    result = mapping(body.get("result")) or body
    answer.identify(result, model="model_instance_id", response_id="response_id")
    answer.error_type = failure(body, "code", "type") or answer.error_type
    stats = mapping(result.get("stats"))
    if stats:
        answer.finished("stop")
        counts = Usage(
            input_tokens=count(stats.get("input_tokens")),
            output_tokens=count(stats.get("total_output_tokens")),
            reasoning_tokens=count(stats.get("reasoning_output_tokens")),
        )
        answer.usage = counts or answer.usage


FORMAT = Format(
    name="lm_studio",
    provider=Provider("lm_studio", hosts=()),
    paths=(Path("/api/v1/chat", "chat"),),
    request=RequestKeys(model="model", stream="stream", user=USER_KEYS, call=frozenset({"input"})),
    estimate=Estimate(prompt=("input",), system=("system_prompt",), answer=texts_under("content")),
    usage_option=None,
    opens_with_usage=False,
    interest=Interest((b'"chat.end"', b'"error"')),
    reader=lambda: read,
    usage=UsageKeys(
        at=("stats", "result.stats"),
        read=("input_tokens", "total_output_tokens", "reasoning_output_tokens"),
        harmless=dict.fromkeys(
            (
                "tokens_per_second",
                "time_to_first_token_seconds",
                "model_load_time_seconds",
            ),
            "a time, and nobody bills it",
        ),
    ),
    read_headers=None,
    read_request=None,
)
