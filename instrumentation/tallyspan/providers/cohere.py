"""Cohere: `billed_units` are billed (7 where `tokens` says 69); v1 and v2 differ in place."""

from tallyspan.answer import Answer, Json, count, mapping, text
from tallyspan.framing import Interest
from tallyspan.usage import Usage

INTEREST = Interest((b'"message-end"', b'"stream-end"', b'"message-start"', b'"stream-start"'))


def read(body: Json, answer: Answer) -> None:
    """Take what an answer, or one event of a stream, says."""
    ended = mapping(body.get("delta")) or mapping(body.get("response")) or body
    answer.response_id = answer.response_id or text(ended.get("id")) or text(body.get("id"))
    answer.response_id = answer.response_id or text(ended.get("generation_id"))
    answer.finished(ended.get("finish_reason"))
    stated = mapping(ended.get("usage")) or mapping(ended.get("meta"))
    billed = mapping(stated.get("billed_units"))
    if billed:
        found = Usage(
            input_tokens=count(billed.get("input_tokens")),
            output_tokens=count(billed.get("output_tokens")),
            input_image_tokens=count(billed.get("image_tokens")),
        )
        answer.usage = found or answer.usage
        answer.billed("search_units", billed.get("search_units"))
