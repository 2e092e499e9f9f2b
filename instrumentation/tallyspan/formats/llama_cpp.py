"""llama.cpp `/completion`: counts at the root of the answer, or of the last event."""

from tallyspan.answer import Answer, Json, count, failure, text
from tallyspan.framing import Interest, spelled, spelled_oddly
from tallyspan.providers import Provider
from tallyspan.usage import Usage
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import USER_KEYS, Format, NoEstimate, Path, RequestKeys


def read(body: Json, answer: Answer) -> None:
    """Take what an answer, or one event of a stream, says."""
    answer.model = answer.model or text(body.get("model"))
    if body.get("stop") is True:
        answer.finished(text(body.get("stop_type")) or "stop")
        # Each event has the counts so far; `tokens_evaluated` is the prompt, what was cached in it.
        counts = Usage(
            input_tokens=count(body.get("tokens_evaluated")),
            output_tokens=count(body.get("tokens_predicted")),
        )
        answer.usage = counts or answer.usage
    answer.error_type = failure(body, "type", "code") or answer.error_type


FORMAT = Format(
    name="llama_cpp",
    provider=Provider("llama_cpp", hosts=()),
    paths=(Path("/completion", "text_completion"),),
    request=RequestKeys(model="model", stream="stream", user=USER_KEYS, call=frozenset({"prompt"})),
    estimate=NoEstimate("a server of one's own, which nobody bills by token"),
    usage_option=None,
    opens_with_usage=False,
    interest=Interest((*spelled("stop", "true"), b'"error"'), odd_needles=spelled_oddly("stop")),
    reader=lambda: read,
    usage=UsageKeys(
        at=(".",),
        read=("tokens_evaluated", "tokens_predicted"),
        harmless={
            "tokens_cached": "what the server keeps for the next call",
            "tokens": "the answer",
        },
    ),
    read_headers=None,
    read_request=None,
)
