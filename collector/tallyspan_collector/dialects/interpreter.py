"""Reads a span by its dialect's table.

Spans of one emitter look alike. So which attribute holds which field is worked out once per shape
and kept (`plan.py`), and what follows from the attributes that repeat from span to span (operation,
model, host, department ...) once per combination of their values. A span then costs a look-up for
each value that is its own.
"""

from collections.abc import Iterable, Iterator

from tallyspan import semconv
from tallyspan.answer import MAX_CONDITION_CHARACTERS, amount
from tallyspan.meters import UNIT_METERS
from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.dialects import values
from tallyspan_collector.dialects.convention import Counts, add_lifetimes, rule_of, settle
from tallyspan_collector.dialects.plan import MAX_COMMON, MAX_PLACES, Common, Plan
from tallyspan_collector.dialects.providers import provider
from tallyspan_collector.dialects.reading import Kind, Reading
from tallyspan_collector.dialects.refusal import note_refusal
from tallyspan_collector.dialects.region import region_of
from tallyspan_collector.dialects.table import Attributes, Dialect, Names, matches
from tallyspan_collector.dialects.unread import has_value, is_unread, kept, with_value
from tallyspan_collector.read.call import BLANK, Draft, Flag
from tallyspan_collector.read.otlp import Span
from tallyspan_collector.read.received import Receipt, as_received

CLIENT = 3
MIN_STATUS, FIRST_REFUSED, MAX_STATUS = 100, 300, 599
_MAX_TAG_CHARACTERS = 256
_UNITS = frozenset(each.name for each in UNIT_METERS if not (each.is_extra or each.is_of_collector))
"""Meters that a call may be billed by alone; the others come on top of tokens."""
_SEARCHES = frozenset({"web_search"})
_NO_PLACES: Attributes = {}
_NO_COUNTS: tuple[int | None, ...] = (None,) * len(TOKEN_FIELDS)


def interpret(span: Span, plan: Plan, receipt: Receipt | None = None) -> Reading:
    """Return what the span is. Never raises, whatever the attributes hold."""
    attributes: Attributes = span.attributes
    dialect = plan.dialect
    if plan.quoted:
        texts = {key: values.unquoted(attributes[key]) for key in plan.quoted}
        attributes = {**attributes, **texts}
    places: Attributes = _unpacked(attributes, plan.blobs) if plan.blobs else _NO_PLACES
    if places:
        attributes = {**attributes, **places}
    common = _common(span, attributes, plan)
    kind, reason = common.kind, common.reason
    if kind is Kind.NOTHING:
        return Reading(kind, dialect.name, reason)
    draft = common.fields.copy()
    draft["trace_id"] = span.trace_id
    draft["span_id"] = span.span_id
    draft["parent_span_id"] = span.parent_span_id
    draft["start_time_ns"] = span.start_time_ns
    draft["end_time_ns"] = max(span.start_time_ns, span.end_time_ns)
    for name, keys in plan.own:
        for key in keys:
            if value := values.text(attributes.get(key)):
                draft[name] = value
                break
    draft["is_error"] = span.is_error or bool(draft["error_type"])
    _measure(draft, attributes, plan)
    flags = _count(draft, attributes, plan, common)
    if plan.unread or plan.names_unread or places:
        draft["unread"] = kept(_unread(attributes, places, plan))
        if draft["unread"]:
            flags = (*flags, Flag.UNREAD_USAGE)
    if flags:
        draft["quality_flags"] = (*draft["quality_flags"], *flags)
    if dialect.refine is not None:
        dialect.refine(draft, attributes)
    if dialect.fails_with_zeros:
        forget_zeros(draft)
    note_refusal(draft)
    usage: Usage = draft["usage"]
    has_model = bool(draft["response_model"] or draft["request_model"])
    if common.is_inferred:
        if not (has_model and usage):
            return Reading(Kind.NOTHING, dialect.name, f"{reason}, and no model with usage")
        draft["quality_flags"] = (*draft["quality_flags"], Flag.INFERRED)
    if kind is Kind.CALL:
        if not (draft["provider_name"] or has_model):
            return Reading(Kind.NOTHING, dialect.name, "neither a provider nor a model")
        return Reading(kind, dialect.name, reason, as_received(draft, receipt))
    may_be_charged = common.is_agent and span.kind == CLIENT and bool(usage)
    return Reading(kind, dialect.name, reason, as_received(draft, receipt), may_be_charged)


def forget_zeros(draft: Draft) -> None:
    """Make a failed call's usage unknown if it has no tokens, see `Dialect.fails_with_zeros`."""
    usage: Usage = draft["usage"]
    if draft["is_error"] and not (usage.input_tokens or usage.output_tokens):
        draft["usage"], draft["usage_source"] = Usage(), "unknown"


def _common(span: Span, attributes: Attributes, plan: Plan) -> Common:
    """Return what follows from the repeating attributes, from memory if they were met before."""
    resource = span.resource
    repeating = (
        resource.get("service.name"),
        resource.get(semconv.DEPARTMENT),
        resource.get("department"),
        *plan.repeating(attributes),
    )
    types = tuple(map(type, repeating))
    if float in types:  # 0.0 equals -0.0, and is another text
        return conclude(span, attributes, plan)
    name = span.name if plan.dialect.span_names else ""
    key = (repeating, types, span.scope_name, name)  # True equals 1, and is another text
    try:
        common = plan.memo.get(key)
    except TypeError:  # a list or a table where a text should be
        return conclude(span, attributes, plan)
    if common is None:
        if len(plan.memo) >= MAX_COMMON:
            plan.memo.clear()
        common = plan.memo[key] = conclude(span, attributes, plan)
    return common


def conclude(span: Span, attributes: Attributes, plan: Plan) -> Common:
    """Return what follows from the attributes that repeat, the resource, scope and span's name."""
    dialect = plan.dialect
    kind, operation, reason, is_inferred = _kind(span, attributes, plan)
    texts = _texts(attributes, plan)
    host = texts.get("server_address", "")
    model = texts.get("response_model") or texts.get("request_model", "")
    texts["provider_name"], is_provider_inferred = provider(
        texts.get("provider_name", ""), host, model
    )
    resource = span.resource
    fields: Draft = {
        **BLANK,
        "operation_name": operation,
        "service_name": values.text(resource.get("service.name")),
        "scope_name": span.scope_name,
        "dialect": dialect.name,
        "usage_source": "",
        **texts,
    }
    fields["endpoint_id"] = texts.get("endpoint_id") or host
    if not texts.get("department"):
        owner = resource.get(semconv.DEPARTMENT) or resource.get("department")
        fields["department"] = values.text(owner)
    if is_provider_inferred:
        fields["quality_flags"] = (Flag.PROVIDER_INFERRED,)
    fields["is_stream"] = any(attributes.get(key) in (True, "true") for key in plan.stream)
    fields["is_cache_hit"] = any(
        values.text(attributes.get(key)).lower() == "true" for key in plan.cache_hit
    )
    if host or plan.conditions:
        fields["conditions"] = _conditions(attributes, plan, host)
    fields["http_status"] = _status(attributes, plan, fields["error_type"])
    return Common(
        kind,
        reason,
        is_inferred,
        is_agent=kind is Kind.WRAPPER
        and operation == "invoke_agent"
        and not dialect.runs_its_agents,
        # our instrumentation read the provider's answer itself
        is_settled=semconv.USAGE_SOURCE in attributes,
        rule=rule_of(dialect, texts["provider_name"], model),
        fields=fields,
    )


def _conditions(attributes: Attributes, plan: Plan, host: str) -> dict[str, str]:
    """Return what the price depends on: the first attribute that names it, the region's host."""
    conditions: dict[str, str] = {}
    for key, name in plan.conditions:
        if value := values.text(attributes.get(key)).lower():
            conditions.setdefault(name, value[:MAX_CONDITION_CHARACTERS])
    if "region" not in conditions and (region := region_of(host)):
        conditions["region"] = region
    return conditions


def _status(attributes: Attributes, plan: Plan, error_type: str) -> int:
    """Return the HTTP status, 0 if it is not told; many name it as the type of the error."""
    for value in (*(attributes.get(key) for key in plan.status), error_type):
        status = values.tokens(value) or 0
        if MIN_STATUS <= status <= MAX_STATUS:
            return status
    return 0


def _kind(span: Span, attributes: Attributes, plan: Plan) -> tuple[Kind, str, str, bool]:
    """Return the kind, the operation, why, and whether that is only a conclusion."""
    dialect = plan.dialect
    if plan.wrapper_key:
        return Kind.WRAPPER, "", f"{plan.wrapper_key} marks a wrapper", False
    for key in plan.operation:
        value = values.text(attributes.get(key))
        if not value:
            continue
        if dialect.operation_after and dialect.operation_after in value:
            value = value.rpartition(dialect.operation_after)[2]
        short = value.partition(" ")[0]
        operation = dialect.calls.get(short) or dialect.calls.get(short.lower())
        if operation:
            if dialect.wrapper_providers and _names_a_wrapper(attributes, dialect):
                return Kind.WRAPPER, operation, "its provider is a framework", False
            return Kind.CALL, operation, f"{key} = {short}", False
        if short.lower() in dialect.wrappers:
            return Kind.WRAPPER, short.lower(), f"{key} = {short} is no call of its own", False
        return Kind.CALL, short.lower(), f"{key} = {short} is unknown", True
    for start, operation in dialect.span_names.items():
        if matches(start, span.name):
            kind = Kind.CALL if operation in dialect.calls.values() else Kind.WRAPPER
            return kind, operation, f"span {span.name!r}", False
    if dialect.wrapper_providers and _names_a_wrapper(attributes, dialect):
        return Kind.WRAPPER, "", "its provider is a framework", False
    if plan.tokens and not dialect.span_names:
        return Kind.CALL, "chat", "no operation is named", True
    if dialect.count is not None:
        return Kind.CALL, "chat", "no operation is named", True
    return Kind.NOTHING, "", "neither an operation nor usage", False


def _names_a_wrapper(attributes: Attributes, dialect: Dialect) -> bool:
    return any(
        values.text(attributes.get(key)).lower() in dialect.wrapper_providers
        for key in dialect.texts["provider_name"]
    )


def _texts(attributes: Attributes, plan: Plan) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, keys in plan.texts:
        for key in keys:
            value = values.text(attributes.get(key))
            if value:
                texts[name] = value
                break
    return texts


def _measure(draft: Draft, attributes: Attributes, plan: Plan) -> None:
    if plan.tags:
        draft["tags"] = tags_of((name, values.text(attributes[key])) for key, name in plan.tags)
    if plan.meters:
        meters = draft["meters"] = {}
        for key, name in plan.meters:
            sent = attributes.get(key)
            if sent is not None and name not in meters and (used := amount(sent)):
                meters[name] = used
    if plan.finish:
        draft["finish_reason"] = finish_reason(attributes, plan)
    for key in plan.first_chunk:
        draft["time_to_first_chunk_us"] = values.microseconds(attributes.get(key))
    for key in plan.claimed_cost:
        if draft["claimed_cost_picousd"] is None:
            draft["claimed_cost_picousd"] = values.picousd(attributes.get(key))
    for key, of_one in plan.reported_cost:
        if key in attributes and draft["reported_cost_picousd"] is None:
            draft["reported_cost_picousd"] = values.picousd(attributes[key], of_one)


def tags_of(texts: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the tags that have a text, of names and texts."""
    return {name: value[:_MAX_TAG_CHARACTERS] for name, value in texts if value}


def finish_reason(attributes: Attributes, plan: Plan) -> str:
    """Return why the answer ended: of the first attribute that has a value."""
    return next(filter(None, (values.first(attributes.get(key)) for key in plan.finish)), "")


def usage_source(fields: Draft, *, has_counts: bool) -> str:
    """Return where the counts come from, as far as the sender does not say it itself."""
    source: str = fields["usage_source"]
    if not has_counts:
        return source if source == "deferred" else "unknown"
    if source:
        return source
    # no answer that is refused has usage: the sender counted it itself
    return "estimated" if fields["http_status"] >= FIRST_REFUSED else "provider"


def _count(draft: Draft, attributes: Attributes, plan: Plan, common: Common) -> tuple[Flag, ...]:
    """Put the usage into the draft, in our convention; return what is doubtful about it."""
    dialect = plan.dialect
    rule, is_bad = common.rule, False
    if dialect.count is None:
        counts, total, added, is_bad = _counts(attributes, plan)
    else:
        counted = dialect.count(attributes)
        counts, total, added = (
            [*map(counted.counts.get, TOKEN_FIELDS)],
            counted.total,
            counted.added,
        )
        rule = counted.rule(rule)
        if counted.meters:
            draft["meters"] = {**draft["meters"], **counted.meters}
    flags = settle(counts, total, rule, added, is_settled=common.is_settled, is_bad=is_bad)
    draft["usage"] = Usage(*counts)
    has_counts = counts != [*_NO_COUNTS]
    draft["usage_source"] = usage_source(draft, has_counts=has_counts)
    if not has_counts and draft["usage_source"] == "unknown" and _is_of_units(draft):
        draft["usage_source"] = "provider"
    return flags


def _is_of_units(draft: Draft) -> bool:
    """Whether all that the call is billed for is a number of units: pictures, pages, seconds."""
    units = _UNITS if draft["operation_name"] != "web_search" else _SEARCHES
    return not units.isdisjoint(draft["meters"])


def _counts(attributes: Attributes, plan: Plan) -> tuple[Counts, int | None, tuple[int, int], bool]:
    """Return the emitter's counts, its total, and what comes on top of input and output.

    The flag: a count that was to be added cannot be one.
    """
    counts = [*_NO_COUNTS]
    is_bad = False
    for at, keys in plan.tokens:
        for key in keys:
            # most places in a blob are not there: the look-up is all that they may cost
            sent = attributes.get(key)
            if sent is not None and (count := values.tokens(sent)) is not None:
                counts[at] = count
                break
    added = (0, 0)
    if plan.added:
        added, is_bad = _added(attributes, plan)
    for key in plan.cache_write_5m:
        add_lifetimes(counts, values.tokens(attributes.get(key)))
    total = None
    for key in plan.total:
        total = values.tokens(attributes.get(key)) if total is None else total
    return counts, total, added, is_bad


def _added(attributes: Attributes, plan: Plan) -> tuple[tuple[int, int], bool]:
    added = [0, 0]
    is_bad = False
    for at, keys in plan.added:
        for key in keys:
            extra = values.tokens(attributes.get(key)) or 0
            is_bad = is_bad or extra < 0
            added[at] += max(extra, 0)
    return (added[0], added[1]), is_bad


def _unread(attributes: Attributes, places: Attributes, plan: Plan) -> Iterator[object]:
    """Yield what nothing read of the usage, and what the sender itself could not read."""
    yield from with_value(attributes, plan.unread)
    for place, value in places.items():
        is_read = plan.is_read.get(place)
        if is_read is None:
            if len(plan.is_read) >= MAX_PLACES:
                plan.is_read.clear()
            is_read = plan.is_read[place] = not is_unread(place, plan.dialect, plan.read)
        if not is_read and has_value(value):
            yield place
    if plan.names_unread:
        sent = attributes[semconv.USAGE_UNREAD]
        yield from sent if isinstance(sent, list) else [sent]


def _unpacked(attributes: Attributes, blobs: Names) -> dict[str, object]:
    unpacked: dict[str, object] = {}
    for key in blobs:
        unpacked |= values.places(attributes.get(key), f"{key}#")
    return unpacked
