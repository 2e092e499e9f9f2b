"""Hugging Face TGI `/generate`, `/generate_stream`: headers and `details`; no model's name.

Counts are among the `details`, which come only if the request asks for them; an answer that is no
stream has them in its headers too. A stream's `index` is how many tokens there are so far. Neither
request nor answer names the model: such a server has one.
"""

from collections.abc import Mapping

from tallyspan.answer import Answer, Json, count, items, mapping, text, total
from tallyspan.framing import Interest, spelled, spelled_oddly
from tallyspan.providers import HUGGING_FACE
from tallyspan.usage import Usage
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import USER_KEYS, Estimate, Format, Path, RequestKeys, texts_under


def read(body: Json, answer: Answer) -> None:
    """Take what an answer, or one event of a stream, says."""
    if body.get("error"):
        answer.error_type = text(body.get("error_type")) or "error"
    details = mapping(body.get("details"))
    if details:
        answer.finished(details.get("finish_reason"))
        sequences = (details, *items(details.get("best_of_sequences")))
        output_tokens = total(*(count(each.get("generated_tokens")) for each in sequences))
        input_tokens = _input_tokens(details)
        before = answer.usage or Usage()
        answer.usage = Usage(
            input_tokens=before.input_tokens if input_tokens is None else input_tokens,
            output_tokens=before.output_tokens if output_tokens is None else output_tokens,
        )
    elif mapping(body.get("token")):
        answer.usage = Usage(output_tokens=count(body.get("index")) or 1)


def read_headers(headers: Mapping[str, str], answer: Answer) -> None:
    """Take the counts that an answer has in its headers."""
    counts = Usage(
        input_tokens=count(headers.get("x-prompt-tokens")),
        output_tokens=count(headers.get("x-generated-tokens")),
    )
    answer.usage = counts or None


def _input_tokens(details: Json) -> int | None:
    length = count(details.get("input_length"))
    return len(items(details.get("prefill"))) or None if length is None else length


FORMAT = Format(
    name="tgi",
    provider=HUGGING_FACE,
    # Many a path ends with the word: whoever has a longer one goes first.
    paths=(Path("/generate(?P<stream>_stream)?", "text_completion", rank=1, example="/generate"),),
    request=RequestKeys(model="model", stream="stream", user=USER_KEYS, call=frozenset({"inputs"})),
    estimate=Estimate(prompt=("inputs",), system=(), answer=texts_under("token")),
    usage_option=None,
    opens_with_usage=True,
    interest=Interest((*spelled("details", "{"), b'"error"'), odd_needles=spelled_oddly("details")),
    reader=lambda: read,
    usage=UsageKeys(
        at=("details",),
        read=("generated_tokens", "input_length", "best_of_sequences[].generated_tokens"),
        harmless={
            "finish_reason": "no count",
            "prefill": "the tokens of the prompt, one by one",
            "tokens": "the tokens of the answer, one by one",
            "top_tokens": "tokens that could have been the answer",
            "seed": "no count",
            "best_of_sequences[].finish_reason": "no count",
            "best_of_sequences[].generated_text": "the text",
            "best_of_sequences[].prefill": "the tokens of the prompt, one by one",
            "best_of_sequences[].tokens": "the tokens of the answer, one by one",
            "best_of_sequences[].top_tokens": "tokens that could have been the answer",
            "best_of_sequences[].seed": "no count",
        },
    ),
    read_headers=read_headers,
    read_request=None,
)
