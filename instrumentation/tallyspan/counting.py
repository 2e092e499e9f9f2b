"""The usage of an answer whose provider sent none, or only its input: read again, else estimated.

It takes as long as the texts are, so it is for the estimator's thread.
"""

from dataclasses import replace

from tallyspan import estimate
from tallyspan.answer import Answer
from tallyspan.body import Body
from tallyspan.guard import ours
from tallyspan.recognise import Endpoint
from tallyspan.usage import Usage


def fill_usage(endpoint: Endpoint, body: Body, request_body: bytes, model: str) -> bool:
    """Put a usage into the body's answer; return whether it is an estimate.

    `model` is the request's, for answers that name none.
    """
    if body.answer.usage is None:
        again = _read_again(endpoint, body)
        if again.usage is not None:
            body.answer = again
            return False
    body.answer.usage = _estimated(endpoint, body, request_body, body.answer.model or model)
    return True


def _read_again(endpoint: Endpoint, body: Body) -> Answer:
    """Return what all events of the body have, not only those of interest."""
    answer, read = Answer(), endpoint.format.open_reader()
    for event in body.events():
        with ours("read an event of an answer"):
            read(event, answer)
    return answer


def _estimated(endpoint: Endpoint, body: Body, request_body: bytes, model: str) -> Usage:
    usage = body.answer.usage or Usage()
    input_tokens, output_tokens = usage.input_tokens, usage.output_tokens
    if input_tokens is None:
        input_tokens = estimate.input_tokens(request_body, endpoint.format, model)
    if endpoint.operation != "embeddings":
        counted = estimate.output_tokens(body.events(), endpoint.format, model)
        # A stream that opens with its usage and was cut has a count that is too low.
        output_tokens = max(output_tokens or 0, counted)
    return replace(usage, input_tokens=input_tokens, output_tokens=output_tokens)
