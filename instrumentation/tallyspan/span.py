"""An exchange as one CLIENT span: opened with the request, closed when the body is over."""

from collections.abc import Mapping
from typing import NamedTuple

from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from tallyspan import conditions, meters, semconv
from tallyspan.answer import Answer, Part
from tallyspan.batch import Batch, Group
from tallyspan.sampling import CallTracer
from tallyspan.usage import TOKEN_FIELDS, Usage, counts_of

_SOURCES_WITH_USAGE = {"provider", "estimated"}

# If another instrumentation's span has these, they stay: it knows them better than we do.
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
    *conditions.SHARED_ATTRIBUTES,
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

BATCH_OPERATION = "batch"
"""What is no call of a model, but says of some."""
Attributes = dict[str, AttributeValue]
_COUNT_NAMES = tuple(semconv.USAGE_ATTRIBUTES[field] for field in TOKEN_FIELDS)


class OtherSpan(NamedTuple):
    """State of another instrumentation's span that was open for the call when it was sent.

    `has_usage`: we have written the usage of a call into it. `is_completed`: of this very call.
    """

    is_recording: bool = True
    has_usage: bool = False
    is_completed: bool = False


def open_call_span(model: str, scope: context.Context) -> Span | None:
    """Return the context's span if another instrumentation opened it for this very call.

    SDKs and other packages emit GenAI spans too (the anthropic SDK does by default): completing
    theirs instead of opening a second one keeps one call one span.
    """
    span = trace.get_current_span(scope)
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

    One span may be around several requests, as where an SDK calls the tools that a model wants.
    """
    attributes = getattr(span, "attributes", None) or {}
    return attributes.get(semconv.USAGE_SOURCE) in _SOURCES_WITH_USAGE


def start(
    tracer: CallTracer,
    attributes: Attributes,
    parent: context.Context,
    start_time_ns: int | None = None,
) -> tuple[Span, Span]:
    """Return a new CLIENT span and the one to be current during the call, often the same.

    It is below the span of the context. Its name is by the conventions: `{operation} {request
    model}`. `start_time_ns` None: now.
    """
    operation = str(attributes[semconv.OPERATION])
    name = f"{operation} {attributes.get(semconv.REQUEST_MODEL, '')!s}".rstrip()
    return tracer.start(
        name,
        context=parent,
        kind=SpanKind.CLIENT,
        attributes=attributes,
        start_time=start_time_ns,
    )


def call_id(ids: SpanContext) -> str:
    """Return how other spans name the call of the span with these ids: `<trace id>-<span id>`."""
    return f"{ids.trace_id:032x}-{ids.span_id:016x}"


def describe(answer: Answer, usage_source: str) -> Attributes:
    """Return the attributes that the answer has a value for."""
    attributes: Attributes = {semconv.USAGE_SOURCE: usage_source}
    if answer.model:
        attributes[semconv.RESPONSE_MODEL] = answer.model
    if answer.response_id:
        attributes[semconv.RESPONSE_ID] = answer.response_id
    if answer.finish_reasons:
        attributes[semconv.FINISH_REASONS] = answer.finish_reasons
    if answer.service_tier:
        attributes[semconv.SERVICE_TIER] = answer.service_tier
    if answer.reported_cost_usd:
        attributes[semconv.REPORTED_COST_USD] = answer.reported_cost_usd
    if answer.usage is not None:
        _add_counts(attributes, answer.usage)
    if answer.meters or answer.conditions or answer.unread:
        _add_rarer(attributes, answer.meters, answer.conditions, answer.unread)
    return attributes


def _add_rarer(
    attributes: Attributes,
    amounts: Mapping[str, int | float],
    of_price: Mapping[str, str],
    unread: list[str],
) -> None:
    for meter, amount in amounts.items():
        attributes[meters.PREFIX + meter] = amount
    for condition, value in of_price.items():
        attributes[conditions.PREFIX + condition] = value
    if unread:
        attributes[semconv.USAGE_UNREAD] = unread


def _add_counts(attributes: Attributes, usage: Usage) -> None:
    for name, tokens in zip(_COUNT_NAMES, counts_of(usage), strict=True):
        if tokens is not None:
            attributes[name] = tokens


def of_part(part: Part, call: Attributes) -> Attributes:
    """Return the attributes of a model call inside the answer of the call with these attributes."""
    attributes = {
        key: value
        for key, value in call.items()
        if key in _SHARED_WITH_PARTS or key.startswith(semconv.TAG_PREFIX)
    }
    attributes[semconv.REQUEST_MODEL] = part.model or str(
        call.get(semconv.RESPONSE_MODEL) or call.get(semconv.REQUEST_MODEL, "")
    )
    attributes[semconv.CALL_PART] = part.kind
    attributes[semconv.USAGE_SOURCE] = "provider"
    _add_counts(attributes, part.usage)
    _add_rarer(attributes, part.meters, part.conditions, [])
    return attributes


def of_results(group: Group, call: Attributes, tier: str) -> Attributes:
    """Return the attributes of a span with results of a batch, of the call that read them."""
    names, items = group.packed()
    attributes: Attributes = {
        **call,
        semconv.OPERATION: BATCH_OPERATION,
        semconv.BATCH_EVENT: "results",
        semconv.BATCH_OPERATION: group.kind.operation,
        semconv.RESPONSE_MODEL: group.kind.model,
        semconv.BATCH_COLUMNS: names,
        semconv.BATCH_ITEMS: items,
    }
    if tier:
        attributes[semconv.SERVICE_TIER] = tier
    _add_rarer(attributes, {}, dict(group.kind.conditions), group.unread)
    return attributes


def of_batch(batch: Batch, call: Attributes, event: str) -> Attributes:
    """Return the attributes of a span that says of a batch that it was created, or its state."""
    attributes: Attributes = {
        **(call if batch.total is None else of_results(batch.total, call, batch.tier)),
        semconv.OPERATION: BATCH_OPERATION,
        semconv.BATCH_EVENT: event,
        semconv.BATCH_ID: call[semconv.BATCH_ID],
    }
    if batch.model:
        attributes[semconv.REQUEST_MODEL] = batch.model
    if batch.files:
        attributes[semconv.BATCH_FILES] = batch.files
    if batch.requests:
        attributes[semconv.BATCH_REQUESTS] = batch.requests
    if batch.each:
        attributes[semconv.BATCH_EACH] = [f"{name}={value}" for name, value in batch.each.items()]
    return attributes


def close(span: Span, attributes: Attributes, error_type: str, end_time_ns: int) -> None:
    """Write the attributes and the error, if there is one, and end the span at that time."""
    span.set_attributes(attributes)
    if error_type:
        span.set_attribute(semconv.ERROR_TYPE, error_type)
        span.set_status(Status(StatusCode.ERROR))
    span.end(end_time_ns)


def complete(span: Span, attributes: Attributes) -> None:
    """Add to another instrumentation's span what it lacks, and leave ending it to its owner.

    Its operation and people stay; what comes from the provider is written anew, for an earlier
    attempt of the same call may have left its own.
    """
    present = getattr(span, "attributes", None) or {}
    span.set_attributes(
        {
            key: value
            for key, value in attributes.items()
            if key not in _THEIRS or key not in present
        }
    )
