"""Anthropic's Text Completions of 2023: no usage at all, so its tokens are always an estimate."""

from tallyspan.answer import Answer, Json
from tallyspan.framing import Interest, spelled, spelled_oddly

INTEREST = Interest(
    (*spelled("stop_reason", '"'), b'"error"'), odd_needles=spelled_oddly("stop_reason")
)


def read(body: Json, answer: Answer) -> None:
    """Take what a completion, or one event of its stream, says."""
    answer.identify(body)
    answer.finished(body.get("stop_reason"))
