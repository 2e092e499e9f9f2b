"""What the end of a call means: facts in, the spans to write out. Pure, so a table can test it."""

from typing import Literal, NamedTuple

from opentelemetry.trace import SpanContext

from tallyspan import estimate, semconv, span
from tallyspan.answer import Answer
from tallyspan.batch import Batch
from tallyspan.recognise import Endpoint
from tallyspan.span import Attributes, OtherSpan

_REFUSED = 400


# How far the counting of tokens is, for a call whose provider sent no usage. "skipped": refused,
# failed, or a second reading of the answer had the usage after all.
Counting = Literal["pending", "skipped", "done"]
# The span that takes the attributes: ours, another instrumentation's, or one that is started late.
Place = Literal["ours", "theirs", "new"]


class Facts(NamedTuple):
    """All that an end depends on.

    `attributes`: the request's. `status` 0: no answer came. `error_type`: what the transport or
    the application gave up with, or empty. `ids`: of the span that was open for the call when it
    was sent; None: the request retrieves an earlier answer and has none. `other` None: that span
    is ours. `has_request_body`: its bytes are at hand. `opens_with_usage`: a stream in this format
    has its input tokens at the beginning and its output tokens at the end. `deferred`: attributes
    of the background call whose usage this answer has (empty: another process sent it); None: that
    is booked already, or there is none.
    """

    endpoint: Endpoint
    attributes: Attributes
    answer: Answer
    status: int
    error_type: str
    ids: SpanContext | None
    other: OtherSpan | None
    is_stream: bool
    has_request_body: bool
    opens_with_usage: bool
    seconds_to_first_chunk: float | None = None
    deferred: Attributes | None = None
    counting: Counting = "pending"


class Write(NamedTuple):
    """Attributes for one span; ours and new ones are then ended, with the error if there is one."""

    place: Place
    attributes: Attributes
    error_type: str = ""


class Ending(NamedTuple):
    """What to do; empty: nothing, the request was no call.

    `deferred`: attributes to remember until the answer is retrieved. `needs_counting`: after the
    writes, count the tokens and decide again.
    """

    writes: tuple[Write, ...] = ()
    deferred: Attributes | None = None
    needs_counting: bool = False


def decide(facts: Facts) -> Ending:
    """Return which spans to write, and what is to be remembered or counted."""
    answer = facts.answer
    if facts.endpoint.is_batch:
        return Ending(_of_batch(facts, is_over=True))
    refused = str(facts.status) if facts.status >= _REFUSED else ""
    error_type = refused or facts.error_type or answer.error_type
    if not (facts.endpoint.is_certain or error_type or _is_of_a_model(facts) or answer.unread):
        return Ending()
    if facts.endpoint.is_retrieval:
        return _decide_retrieval(facts)
    source = "unknown" if answer.usage is None else "provider"
    if answer.is_background and is_accepted(facts.status):
        if answer.usage is not None:
            return Ending(_writes(facts, source, error_type))
        deferred = facts.attributes | _call_id(facts)
        return Ending(_writes(facts, "deferred", error_type), deferred)
    if facts.counting == "pending" and _lacks_usage(facts):
        # Another's span ends when the application wants, so it gets what there is before counting.
        is_urgent = _place(facts) == "theirs"
        writes = _writes(facts, source, error_type) if is_urgent else ()
        return Ending(writes, needs_counting=True)
    if facts.counting == "done":
        source = "estimated"
    return Ending(_writes(facts, source, error_type))


def results(facts: Facts) -> tuple[Write, ...]:
    """Return spans of those results of a batch that need not wait for the end of the answer."""
    return _of_batch(facts, is_over=False)


def _of_batch(facts: Facts, *, is_over: bool) -> tuple[Write, ...]:
    answer = facts.answer
    if not is_accepted(facts.status):
        return ()
    batches = [*([] if answer.batch is None else [answer.batch]), *answer.listed]
    return tuple(
        Write("new", attributes)
        for batch in batches
        for attributes in _of_one_batch(batch, facts, is_over=is_over)
    )


def _of_one_batch(batch: Batch, facts: Facts, *, is_over: bool) -> list[Attributes]:
    batch_id = batch.id or facts.endpoint.response_id
    call = {**facts.attributes, semconv.BATCH_ID: batch_id}
    if facts.endpoint.file_id:
        call[semconv.BATCH_FILE] = facts.endpoint.file_id
    written = [span.of_results(group, call, batch.tier) for group in batch.take(is_over=is_over)]
    if is_over and batch_id and not (facts.endpoint.is_retrieval or batch.is_older):
        written.append(span.of_batch(batch, call, "created"))
    elif is_over and batch_id and (batch.files or batch.total or batch.model):
        written.append(span.of_batch(batch, call, "state"))
    return written


def is_accepted(status: int) -> bool:
    """Whether an answer came and the provider did not refuse the call."""
    return 0 < status < _REFUSED


def has_background_usage(status: int, answer: Answer) -> bool:
    """Whether the answer states the usage of a background call, which must be booked once only."""
    return answer.is_background and answer.usage is not None and is_accepted(status)


def _decide_retrieval(facts: Facts) -> Ending:
    if facts.deferred is None:
        return Ending()
    facts = facts._replace(attributes=facts.attributes | facts.deferred)
    return Ending(_writes(facts, "provider", ""))


def _is_of_a_model(facts: Facts) -> bool:
    answer = facts.answer
    has_begun = facts.is_stream and answer.has_text
    return bool(answer.usage or answer.response_id or answer.finish_reasons or has_begun)


def _lacks_usage(facts: Facts) -> bool:
    """Whether a model wrote something that the provider bills and sent no final count of."""
    answer = facts.answer
    if answer.usage is not None:
        is_cut = facts.is_stream and not answer.finish_reasons
        lacks = is_cut and facts.opens_with_usage
    else:
        has_begun = _is_of_a_model(facts) or answer.model
        lacks = bool(has_begun) and not answer.error_type
    return (
        lacks
        and facts.has_request_body
        and is_accepted(facts.status)
        and estimate.is_possible(facts.endpoint.format, facts.endpoint.operation)
    )


def _place(facts: Facts) -> Place:
    if facts.ids is None:
        return "new"
    if facts.other is None:
        return "ours"
    return "theirs" if facts.other.is_recording and not _is_of_another_call(facts.other) else "new"


def _is_of_another_call(other: OtherSpan) -> bool:
    return other.has_usage and not other.is_completed


def _call_id(facts: Facts) -> Attributes:
    if facts.ids is None or (facts.other is not None and _is_of_another_call(facts.other)):
        return {}
    return {semconv.CALL_ID: span.call_id(facts.ids)}


def _writes(facts: Facts, source: str, error_type: str) -> tuple[Write, ...]:
    """Return the attributes of the call's span, and of one span for each model call inside it."""
    fresh = span.describe(facts.answer, source)
    if facts.status:
        fresh[semconv.HTTP_STATUS] = facts.status
    if facts.is_stream and facts.seconds_to_first_chunk is not None:
        fresh[semconv.TIME_TO_FIRST_CHUNK] = facts.seconds_to_first_chunk
    place = _place(facts)
    if place == "ours":
        call = Write(place, fresh, error_type)  # it has the request's attributes since its start
    elif place == "theirs":
        call = Write(place, facts.attributes | fresh)
    else:
        call = Write(place, facts.attributes | fresh | _call_id(facts), error_type)
    # Parts are written with the first completion of another's span, and not again.
    if not facts.answer.parts or (facts.other is not None and facts.other.is_completed):
        return (call,)
    whole = facts.attributes | fresh
    return (call, *(Write("new", span.of_part(part, whole)) for part in facts.answer.parts))
