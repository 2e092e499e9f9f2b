"""Reads a span by its dialect's table.

Spans of one emitter look alike, so which attribute answers what is worked out once per shape and
kept (`plan.py`), and what the attributes come to that repeat from span to span (operation, model,
host, department ...) once per combination. A span then costs a look-up for each thing of its own.
"""

from collections.abc import Mapping
from typing import Any

from tallyspan import semconv
from tallyspan.answer import MAX_TOKENS, amount
from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.dialects import values
from tallyspan_collector.dialects.convention import settle
from tallyspan_collector.dialects.plan import COMMON_LIMIT, Common, Plan
from tallyspan_collector.dialects.providers import provider
from tallyspan_collector.dialects.reading import Kind, Reading
from tallyspan_collector.dialects.table import Basis, Dialect, Names, matches
from tallyspan_collector.read.call import FIELDS, Call, Flag
from tallyspan_collector.read.otlp import Span

CLIENT = 3
_TAG_CHARACTERS = 256
_UNSTATED: tuple[int | None, ...] = (None,) * len(TOKEN_FIELDS)
_FROM_SPAN = 5
"""So many fields of `Call` are the span's own ids and times."""
_EMPTY = Call("", "", "", 0, 0, "", "", "")
_FIRST_SAID = tuple(getattr(_EMPTY, name) for name in FIELDS[_FROM_SPAN:])
_AT = {name: number for number, name in enumerate(FIELDS[_FROM_SPAN:])}


def interpret(span: Span, plan: Plan) -> Reading:
    """Return what the span is. Never raises, whatever the attributes hold."""
    said: Mapping[str, object] = span.attributes
    dialect = plan.dialect
    if plan.blobs:
        said = {**said, **_unpacked(said, plan.blobs)}
    common = _common(span, said, plan)
    kind, reason, is_inferred, is_agent, is_settled, basis, arguments = common
    if kind is Kind.NOTHING:
        return Reading(kind, dialect.name, reason)
    start, end = span.start_time_ns, span.end_time_ns
    call = Call(
        span.trace_id, span.span_id, span.parent_span_id, start, max(start, end), *arguments
    )
    for name, keys in plan.own:
        for key in keys:
            value = values.text(said.get(key))
            if value:
                setattr(call, name, value)
                break
    call.is_error = span.is_error or bool(call.error_type)
    _measure(call, said, plan)
    is_bad = False
    if dialect.count is None:
        counts, total, is_bad = _counted(said, plan)
    else:
        stated = dialect.count(said)
        counts, total = [stated.counts.get(name) for name in TOKEN_FIELDS], stated.total
        is_settled = is_settled or stated.is_settled
    flags = settle(
        counts,
        total,
        basis,
        call.provider_name,
        is_settled=is_settled,
        is_reasoning_outside=dialect.is_reasoning_outside,
        is_bad=is_bad,
    )
    call.usage = usage = Usage(*counts)
    if counts == [*_UNSTATED]:
        if call.usage_source != "deferred":
            call.usage_source = "unknown"
    elif not call.usage_source:
        call.usage_source = "provider"
    if dialect.refine is not None:
        dialect.refine(call, said)
        usage = call.usage
    if is_inferred:
        if not (call.model_name and usage):
            return Reading(Kind.NOTHING, dialect.name, f"{reason}, and no model with usage")
        flags = (*flags, Flag.INFERRED)
    if flags:
        call.quality_flags = (*call.quality_flags, *flags)
    if kind is Kind.CALL:
        if not (call.provider_name or call.model_name):
            return Reading(Kind.NOTHING, dialect.name, "neither a provider nor a model")
        return Reading(kind, dialect.name, reason, call)
    is_charged = is_agent and span.kind == CLIENT and bool(usage)
    return Reading(kind, dialect.name, reason, call, is_charged)


def _common(span: Span, said: Mapping[str, object], plan: Plan) -> Common:
    """Return what the repeating attributes come to, from memory where it is known."""
    resource = span.resource
    service, owner = resource.get("service.name"), resource.get(semconv.DEPARTMENT)
    key = (
        service,
        owner,
        resource.get("department"),
        span.scope_name,
        span.name if plan.dialect.span_names else "",
        plan.repeating(said),
    )
    try:
        found = plan.known.get(key)
    except TypeError:  # a list or a table where a text should be
        return _concluded(span, said, plan)
    if found is None:
        if len(plan.known) >= COMMON_LIMIT:
            plan.known.clear()
        found = plan.known[key] = _concluded(span, said, plan)
    return found


def _concluded(span: Span, said: Mapping[str, object], plan: Plan) -> Common:
    dialect = plan.dialect
    kind, operation, reason, is_inferred = _kind(span, said, plan)
    texts = _texts(said, plan)
    host = texts.get("server_address", "")
    model = texts.get("response_model") or texts.get("request_model", "")
    texts["provider_name"], is_provider_inferred = provider(
        texts.get("provider_name", ""), host, model
    )
    resource = span.resource
    call: dict[str, Any] = {
        "operation_name": operation,
        "service_name": values.text(resource.get("service.name")),
        "scope_name": span.scope_name,
        "dialect": dialect.name,
        "usage_source": "",
        **texts,
    }
    call["endpoint_id"] = texts.get("endpoint_id") or host
    if not texts.get("department"):
        said_by = resource.get(semconv.DEPARTMENT) or resource.get("department")
        call["department"] = values.text(said_by)
    if is_provider_inferred:
        call["quality_flags"] = (Flag.PROVIDER_INFERRED,)
    call["is_stream"] = any(said.get(key) in (True, "true") for key in plan.stream)
    call["is_cache_hit"] = any(
        values.text(said.get(key)).lower() == "true" for key in plan.cache_hit
    )
    call["http_status"] = max(0, values.tokens(said.get(semconv.HTTP_STATUS)) or 0)
    arguments = list(_FIRST_SAID)
    for name, value in call.items():
        arguments[_AT[name]] = value
    return Common(
        kind,
        reason,
        is_inferred,
        kind is Kind.WRAPPER and operation == "invoke_agent",
        # our instrumentation read the provider's answer itself
        semconv.USAGE_SOURCE in said,
        dialect.basis.get(texts["provider_name"]) or dialect.basis.get("", Basis.INCLUSIVE),
        tuple(arguments),
    )


def _kind(span: Span, said: Mapping[str, object], plan: Plan) -> tuple[Kind, str, str, bool]:
    """Return the kind, the operation, why, and whether that is only a conclusion."""
    dialect = plan.dialect
    if plan.wrapper_key:
        return Kind.WRAPPER, "", f"{plan.wrapper_key} marks a wrapper", False
    for key in plan.operation:
        value = values.text(said.get(key))
        if not value:
            continue
        if dialect.operation_after and dialect.operation_after in value:
            value = value.rpartition(dialect.operation_after)[2]
        short = value.partition(" ")[0]
        operation = dialect.calls.get(short) or dialect.calls.get(short.lower())
        if operation:
            if dialect.wrapper_providers and _names_a_wrapper(said, dialect):
                return Kind.WRAPPER, operation, "its provider is a framework", False
            return Kind.CALL, operation, f"{key} = {short}", False
        if short.lower() in dialect.wrappers:
            return Kind.WRAPPER, short.lower(), f"{key} = {short} is no call of its own", False
        return Kind.CALL, short.lower(), f"{key} = {short} is unknown", True
    for start, operation in dialect.span_names.items():
        if matches(start, span.name):
            kind = Kind.CALL if operation in dialect.calls.values() else Kind.WRAPPER
            return kind, operation, f"span {span.name!r}", False
    if dialect.wrapper_providers and _names_a_wrapper(said, dialect):
        return Kind.WRAPPER, "", "its provider is a framework", False
    if plan.tokens and not dialect.span_names:
        return Kind.CALL, "chat", "no operation is named", True
    if dialect.count is not None:
        return Kind.CALL, "chat", "no operation is named", True
    return Kind.NOTHING, "", "neither an operation nor usage", False


def _names_a_wrapper(said: Mapping[str, object], dialect: Dialect) -> bool:
    return any(
        values.text(said.get(key)).lower() in dialect.wrapper_providers
        for key in dialect.texts["provider_name"]
    )


def _texts(said: Mapping[str, object], plan: Plan) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, keys in plan.texts:
        for key in keys:
            value = values.text(said.get(key))
            if value:
                texts[name] = value
                break
    return texts


def _measure(call: Call, said: Mapping[str, object], plan: Plan) -> None:
    # what `Common` holds is shared by many calls: tables are a call's own
    call.tags = {
        name: value[:_TAG_CHARACTERS]
        for key, name in plan.tags
        if (value := values.text(said[key]))
    }
    call.units = {
        name: units for key, name in plan.units if (units := amount(said[key])) is not None
    }
    for key in plan.finish:
        call.finish_reason = call.finish_reason or values.first(said.get(key))
    for key in plan.first_chunk:
        call.time_to_first_chunk_us = values.microseconds(said.get(key))
    for key in plan.claimed_cost:
        if call.claimed_cost_picousd is None:
            call.claimed_cost_picousd = values.picousd(said.get(key))
    if plan.has_reported_cost:
        call.reported_cost_picousd = values.picousd(said.get(semconv.REPORTED_COST_USD))


def _counted(said: Mapping[str, object], plan: Plan) -> tuple[list[int | None], int | None, bool]:
    """Return the counts as stated, in the order of `Usage`, and the total the emitter states.

    The flag: a count that was to be added cannot be one.
    """
    counts = [*_UNSTATED]
    is_bad = False
    for at, keys in plan.tokens:
        for key in keys:
            value = said.get(key)
            count = (
                value if type(value) is int and 0 <= value < MAX_TOKENS else values.tokens(value)
            )
            if count is not None:
                counts[at] = count
                break
    for at, keys in plan.added:
        for key in keys:
            extra = values.tokens(said.get(key)) or 0
            is_bad = is_bad or extra < 0
            stated = counts[at]
            if extra > 0 and (stated is None or stated >= 0):
                counts[at] = (stated or 0) + extra
    total = None
    for key in plan.total:
        total = values.tokens(said.get(key)) if total is None else total
    return counts, total, is_bad


def _unpacked(said: Mapping[str, object], blobs: Names) -> dict[str, object]:
    return {
        f"{key}#{path}": value
        for key in blobs
        for path, value in values.places(said.get(key)).items()
    }
