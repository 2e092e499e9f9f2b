"""Hugging Face Text Generation Inference: `/generate` and `/generate_stream`.

Counts are among the `details`, which come only if the request asks for them; an answer that is no
stream has them in its headers too. A stream's `index` is how many tokens there are so far. Neither
request nor answer names the model: such a server has one.
"""

from collections.abc import Mapping

from tallyspan.answer import Answer, Json, count, items, mapping, text, total
from tallyspan.framing import Interest, spelled, spelled_oddly
from tallyspan.usage import Usage

INTEREST = Interest((*spelled("details", "{"), b'"error"'), odd_needles=spelled_oddly("details"))


def read(body: Json, answer: Answer) -> None:
    """Take what an answer, or one event of a stream, says."""
    if body.get("error"):
        answer.error_type = text(body.get("error_type")) or "error"
    details = mapping(body.get("details"))
    if details:
        answer.finished(details.get("finish_reason"))
        sequences = (details, *items(details.get("best_of_sequences")))
        made = total(*(count(each.get("generated_tokens")) for each in sequences))
        given = _given(details)
        before = answer.usage or Usage()
        answer.usage = Usage(
            input_tokens=before.input_tokens if given is None else given,
            output_tokens=before.output_tokens if made is None else made,
        )
    elif mapping(body.get("token")):
        answer.usage = Usage(output_tokens=count(body.get("index")) or 1)


def read_headers(headers: Mapping[str, str], answer: Answer) -> None:
    """Take the counts that an answer states in its headers."""
    found = Usage(
        input_tokens=count(headers.get("x-prompt-tokens")),
        output_tokens=count(headers.get("x-generated-tokens")),
    )
    answer.usage = found or None


def _given(details: Json) -> int | None:
    said = count(details.get("input_length"))
    return len(items(details.get("prefill"))) or None if said is None else said
