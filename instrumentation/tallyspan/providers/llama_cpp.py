"""llama.cpp's own `/completion`: counts at the root of the answer, or of the last event."""

from tallyspan.answer import Answer, Json, count, failure, text
from tallyspan.framing import Interest, spelled, spelled_oddly
from tallyspan.usage import Usage

INTEREST = Interest((*spelled("stop", "true"), b'"error"'), odd_needles=spelled_oddly("stop"))


def read(body: Json, answer: Answer) -> None:
    """Take what an answer, or one event of a stream, says."""
    answer.model = answer.model or text(body.get("model"))
    if body.get("stop") is True:
        answer.finished(text(body.get("stop_type")) or "stop")
        # Each event has the counts so far; `tokens_evaluated` is the prompt, what was cached in it.
        found = Usage(
            input_tokens=count(body.get("tokens_evaluated")),
            output_tokens=count(body.get("tokens_predicted")),
        )
        answer.usage = found or answer.usage
    answer.error_type = failure(body, "type", "code") or answer.error_type
