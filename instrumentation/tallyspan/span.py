"""An exchange as one CLIENT span: opened with the request, closed when the body is over."""

from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from tallyspan import semconv
from tallyspan.answer import Answer, Part
from tallyspan.sampling import CallTracer
from tallyspan.usage import TOKEN_FIELDS, Usage, counts_of

_BOOKED = {"provider", "estimated"}

_THEIRS = {
    semconv.OPERATION,
    semconv.PROVIDER,
    semconv.REQUEST_MODEL,
    semconv.USER_ID,
    semconv.CONVERSATION_ID,
    semconv.AGENT_ID,
    semconv.AGENT_NAME,
}

_SHARED_WITH_PARTS = {
    semconv.OPERATION,
    semconv.PROVIDER,
    semconv.ENDPOINT_ID,
    semconv.SERVER_ADDRESS,
    semconv.SERVER_PORT,
    semconv.HTTP_STATUS,
    semconv.SERVICE_TIER,
    semconv.USER_ID,
    semconv.CONVERSATION_ID,
    semconv.AGENT_ID,
    semconv.AGENT_NAME,
    semconv.DEPARTMENT,
}

Attributes = dict[str, AttributeValue]
_COUNT_NAMES = tuple(semconv.USAGE_ATTRIBUTES[field] for field in TOKEN_FIELDS)


def open_call_span(model: str) -> Span | None:
    """Return the current span if another instrumentation opened it for this very call.

    SDKs and other packages emit GenAI spans too (the anthropic SDK does by default): completing
    theirs instead of opening a second one keeps one call one span.
    """
    span = trace.get_current_span()
    attributes = getattr(span, "attributes", None)
    if not attributes or not span.is_recording():
        return None
    if attributes.get(semconv.OPERATION) not in semconv.CALL_OPERATIONS:
        return None
    if model and attributes.get(semconv.REQUEST_MODEL) not in {None, model}:
        return None
    return None if has_usage(span) else span


def has_usage(span: Span) -> bool:
    """Whether we have written a call's usage into another's span: a second call there is its own.

    One span may be around several requests, as where an SDK calls the tools that a model asks for.
    """
    attributes = getattr(span, "attributes", None) or {}
    return attributes.get(semconv.USAGE_SOURCE) in _BOOKED


def start(
    tracer: CallTracer, attributes: Attributes, start_time_ns: int | None = None
) -> tuple[Span, Span]:
    """Return a new CLIENT span and the one to be current during the call, often the same.

    Its name is by the conventions: `{operation} {request model}`.
    """
    operation = str(attributes[semconv.OPERATION])
    name = f"{operation} {attributes.get(semconv.REQUEST_MODEL, '')!s}".rstrip()
    return tracer.start(name, kind=SpanKind.CLIENT, attributes=attributes, start_time=start_time_ns)


def start_in(
    tracer: CallTracer, attributes: Attributes, start_time_ns: int, parent: context.Context
) -> Span:
    """Return a new span that began earlier, below the given context."""
    token = context.attach(parent)
    try:
        return start(tracer, attributes, start_time_ns)[0]
    finally:
        context.detach(token)


def call_id(span: Span) -> str:
    """Return how other spans name the call of this one: `<trace id>-<span id>`."""
    ids = span.get_span_context()
    return f"{ids.trace_id:032x}-{ids.span_id:016x}"


def describe(answer: Answer, usage_source: str) -> Attributes:
    """Return the attributes of what the answer said."""
    said: Attributes = {semconv.USAGE_SOURCE: usage_source}
    if answer.model:
        said[semconv.RESPONSE_MODEL] = answer.model
    if answer.response_id:
        said[semconv.RESPONSE_ID] = answer.response_id
    if answer.finish_reasons:
        said[semconv.FINISH_REASONS] = answer.finish_reasons
    if answer.service_tier:
        said[semconv.SERVICE_TIER] = answer.service_tier
    if answer.reported_cost_usd:
        said[semconv.REPORTED_COST_USD] = answer.reported_cost_usd
    if answer.usage is not None:
        said.update(counts(answer.usage))
    for unit, billed in answer.units.items():
        said[semconv.UNITS_PREFIX + unit] = billed
    return said


def counts(usage: Usage) -> Attributes:
    """Return the attributes of the counts that were stated."""
    return {
        name: tokens
        for name, tokens in zip(_COUNT_NAMES, counts_of(usage), strict=True)
        if tokens is not None
    }


def of_part(part: Part, call: Attributes) -> Attributes:
    """Return the attributes of a model call inside the answer of the call with these attributes."""
    said = {
        key: value
        for key, value in call.items()
        if key in _SHARED_WITH_PARTS or key.startswith(semconv.TAG_PREFIX)
    }
    said[semconv.REQUEST_MODEL] = part.model or str(
        call.get(semconv.RESPONSE_MODEL) or call.get(semconv.REQUEST_MODEL, "")
    )
    said[semconv.CALL_PART] = part.kind
    said[semconv.USAGE_SOURCE] = "provider"
    return said | counts(part.usage)


def close(span: Span, attributes: Attributes, error_type: str, end_time_ns: int) -> None:
    """Write the attributes, say whether it failed, and end the span at the time given."""
    span.set_attributes(attributes)
    if error_type:
        span.set_attribute(semconv.ERROR_TYPE, error_type)
        span.set_status(Status(StatusCode.ERROR))
    span.end(end_time_ns)


def complete(span: Span, attributes: Attributes) -> None:
    """Give another instrumentation's span what it lacks; ending it stays its own affair.

    What it says of the operation and of people stays; what the provider said is written anew, for
    an earlier attempt of the same call may have left its own.
    """
    present = getattr(span, "attributes", None) or {}
    span.set_attributes(
        {
            key: value
            for key, value in attributes.items()
            if key not in _THEIRS or key not in present
        }
    )
