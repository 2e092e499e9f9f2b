"""Reads a span by its dialect's table.

Spans of one emitter look alike, so which attribute answers what is worked out once per shape (the
scope and the set of keys) and kept: a `Plan`. A span then costs a look-up for each thing it says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tallyspan import semconv
from tallyspan.answer import amount
from tallyspan.usage import TOKEN_FIELDS
from tallyspan_collector.call import Call, Flag
from tallyspan_collector.dialects import values
from tallyspan_collector.dialects.convention import settle
from tallyspan_collector.dialects.providers import provider
from tallyspan_collector.dialects.reading import Kind, Reading
from tallyspan_collector.dialects.table import Basis, Counted, Dialect, Names, matches
from tallyspan_collector.otlp import Span

CLIENT = 3
_TAGS_LIMIT = 32
_TAG_CHARACTERS = 256
_FINISH = (
    semconv.FINISH_REASONS,
    "gen_ai.response.finish_reason",
    "gen_ai.completion.0.finish_reason",
    "llm.finish_reason",
    "ai.response.finishReason",
    "anthropic.message.stop_reason",
)
_STREAM = (semconv.REQUEST_STREAM, "llm.is_streaming", "gen_ai.is_streaming", "llm.stream")
_FIRST_CHUNK = (semconv.TIME_TO_FIRST_CHUNK, "gen_ai.server.time_to_first_token")


@dataclass(frozen=True, slots=True)
class Plan:
    """Which keys of a shape answer what; only what is there."""

    dialect: Dialect
    blobs: Names
    operation: Names
    wrapper_key: str
    texts: tuple[tuple[str, Names], ...]
    tokens: tuple[tuple[str, Names], ...]
    total: Names
    added: tuple[tuple[str, Names], ...]
    tags: tuple[tuple[str, str], ...]
    units: tuple[tuple[str, str], ...]
    claimed_cost: Names
    cache_hit: Names
    finish: Names
    stream: Names
    first_chunk: Names
    has_status: bool
    has_reported_cost: bool


def plan(dialect: Dialect, keys: frozenset[str]) -> Plan:
    """Return how to read spans that have these attributes."""
    blobs = tuple(
        sorted(
            {
                name.partition("#")[0]
                for names in (*dialect.texts.values(), *dialect.tokens.values(), dialect.total)
                for name in names
                if "#" in name and name.partition("#")[0] in keys
            }
        )
    )

    def here(names: Names) -> Names:
        return tuple(name for name in names if name.partition("#")[0] in keys)

    def table(of: Mapping[str, Names]) -> tuple[tuple[str, Names], ...]:
        return tuple((name, found) for name, names in of.items() if (found := here(names)))

    taken = {name for names in dialect.texts.values() for name in names}
    return Plan(
        dialect=dialect,
        blobs=blobs,
        operation=here(dialect.operation),
        wrapper_key=next(
            (key for key in sorted(keys) for mark in dialect.wrapper_keys if matches(mark, key)), ""
        ),
        texts=table(dialect.texts),
        tokens=table(dialect.tokens),
        total=here(dialect.total),
        added=table(dialect.added),
        tags=_under(dialect.tags, keys - taken)[:_TAGS_LIMIT],
        units=_under(dialect.units, keys),
        claimed_cost=here(dialect.claimed_cost),
        cache_hit=here(dialect.cache_hit),
        finish=here(_FINISH),
        stream=here(_STREAM),
        first_chunk=here(_FIRST_CHUNK),
        has_status=semconv.HTTP_STATUS in keys,
        has_reported_cost=semconv.REPORTED_COST_USD in keys,
    )


def _under(prefixes: Names, keys: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """Return key and the rest of it, of the keys that start with one of the prefixes."""
    return tuple(
        (key, key.removeprefix(prefix))
        for prefix in prefixes
        for key in sorted(keys)
        if key.startswith(prefix)
    )


def interpret(span: Span, plan: Plan) -> Reading:
    """Return what the span is. Never raises, whatever the attributes hold."""
    said: Mapping[str, object] = span.attributes
    dialect = plan.dialect
    if plan.blobs:
        said = {**said, **_unpacked(said, plan.blobs)}
    kind, operation, reason, is_inferred = _kind(span, said, plan)
    if kind is Kind.NOTHING:
        return Reading(kind, dialect.name, reason)
    call = _call(span, said, plan, operation)
    counted = dialect.count(said) if dialect.count else _counted(said, plan)
    if semconv.USAGE_SOURCE in said:  # our instrumentation read the provider's answer itself
        counted = replace(counted, is_settled=True)
    basis = dialect.basis.get(call.provider_name) or dialect.basis.get("", Basis.INCLUSIVE)
    call.usage, flags = settle(
        counted, basis, call.provider_name, is_reasoning_outside=dialect.is_reasoning_outside
    )
    if not call.usage and call.usage_source != "deferred":
        call.usage_source = "unknown"
    elif not call.usage_source:
        call.usage_source = "provider"
    if dialect.refine is not None:
        dialect.refine(call, said)
    if is_inferred:
        if not (call.model_name and call.usage):
            return Reading(Kind.NOTHING, dialect.name, f"{reason}, and no model with usage")
        flags.append(Flag.INFERRED)
    if flags:
        call.quality_flags = (*call.quality_flags, *flags)
    if kind is Kind.CALL and not (call.provider_name or call.model_name):
        return Reading(Kind.NOTHING, dialect.name, "neither a provider nor a model")
    return Reading(
        kind,
        dialect.name,
        reason,
        call,
        may_be_charged=kind is Kind.WRAPPER
        and operation == "invoke_agent"
        and span.kind == CLIENT
        and bool(call.usage),
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


def _call(span: Span, said: Mapping[str, object], plan: Plan, operation: str) -> Call:
    texts: dict[str, Any] = {}
    for name, keys in plan.texts:
        for key in keys:
            value = values.text(said.get(key))
            if value:
                texts[name] = value
                break
    host = texts.get("server_address", "")
    model = texts.get("response_model") or texts.get("request_model", "")
    texts["provider_name"], is_inferred = provider(texts.get("provider_name", ""), host, model)
    texts.setdefault("request_model", "")
    resource = span.resource
    call = Call(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        start_time_ns=span.start_time_ns,
        end_time_ns=max(span.end_time_ns, span.start_time_ns),
        operation_name=operation,
        service_name=values.text(resource.get("service.name")),
        scope_name=span.scope_name,
        dialect=plan.dialect.name,
        **texts,
    )
    call.endpoint_id = call.endpoint_id or host
    if not texts.get("usage_source"):
        call.usage_source = ""
    if not call.department:
        call.department = values.text(
            resource.get(semconv.DEPARTMENT) or resource.get("department")
        )
    call.is_error = span.is_error or bool(call.error_type)
    if is_inferred:
        call.quality_flags = (Flag.PROVIDER_INFERRED,)
    _measure(call, said, plan)
    return call


def _measure(call: Call, said: Mapping[str, object], plan: Plan) -> None:
    if plan.tags:
        call.tags = {
            name: values.text(said[key])[:_TAG_CHARACTERS]
            for key, name in plan.tags
            if values.text(said[key])
        }
    if plan.units:
        call.units = {
            name: units for key, name in plan.units if (units := amount(said[key])) is not None
        }
    for key in plan.finish:
        call.finish_reason = call.finish_reason or values.first(said.get(key))
    for key in plan.stream:
        call.is_stream = call.is_stream or said.get(key) is True or said.get(key) == "true"
    for key in plan.first_chunk:
        call.time_to_first_chunk_us = values.microseconds(said.get(key))
    for key in plan.claimed_cost:
        if call.claimed_cost_picousd is None:
            call.claimed_cost_picousd = values.picousd(said.get(key))
    for key in plan.cache_hit:
        call.is_cache_hit = call.is_cache_hit or values.text(said.get(key)).lower() == "true"
    if plan.has_status:
        call.http_status = max(0, values.tokens(said.get(semconv.HTTP_STATUS)) or 0)
    if plan.has_reported_cost:
        call.reported_cost_picousd = values.picousd(said.get(semconv.REPORTED_COST_USD))


def _counted(said: Mapping[str, object], plan: Plan) -> Counted:
    counts = dict.fromkeys(TOKEN_FIELDS)
    found: dict[str, int | None] = {**counts}
    for name, keys in plan.tokens:
        for key in keys:
            count = values.tokens(said.get(key))
            if count is not None:
                found[name] = count
                break
    for name, keys in plan.added:
        for key in keys:
            extra = values.tokens(said.get(key)) or 0
            stated = found[name]
            if extra > 0 and (stated is None or stated >= 0):
                found[name] = (stated or 0) + extra
    total = None
    for key in plan.total:
        total = values.tokens(said.get(key)) if total is None else total
    return Counted(found, total)


def _unpacked(said: Mapping[str, object], blobs: Names) -> dict[str, object]:
    return {
        f"{key}#{path}": value
        for key in blobs
        for path, value in values.places(said.get(key)).items()
    }
