"""Ollama's own API: counts at the root of the last object; JSON lines unless told not to."""

from tallyspan.answer import Answer, Json, count, failure, text
from tallyspan.framing import Interest, spelled, spelled_oddly
from tallyspan.usage import Usage

INTEREST = Interest((*spelled("done", "true"), b'"error"'), odd_needles=spelled_oddly("done"))


def read(body: Json, answer: Answer) -> None:
    """Take what an answer, or one line of a stream, says."""
    answer.model = answer.model or text(body.get("model"))
    answer.finished(body.get("done_reason"))
    answer.error_type = failure(body) or answer.error_type
    found = Usage(
        input_tokens=count(body.get("prompt_eval_count")),
        output_tokens=count(body.get("eval_count")),
        cache_read_tokens=count(body.get("prompt_eval_cached_count")),
    )
    answer.usage = found or answer.usage
