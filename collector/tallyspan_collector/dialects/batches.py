"""Spans that say of batches: their results, packed many in a span, become a call each.

The instrumentation writes them (`tallyspan/batch.py`): a span when a batch is created, one with its
state, and spans of its results. A result is known by the batch, or the file it was in, and by a
hash of its name in it, wherever and however often it is read.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b

from tallyspan import semconv
from tallyspan.answer import MAX_CONDITION_CHARACTERS
from tallyspan.conditions import BY_NAME as CONDITIONS
from tallyspan.meters import BY_NAME
from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.dialects.reading import BatchPart, Kind, Reading
from tallyspan_collector.read.call import MAX_UNREAD, Call, Flag
from tallyspan_collector.read.otlp import Span
from tallyspan_collector.read.received import FIRST_CALL_NS

MAX_ITEMS = 2_000
"""Of a span; the instrumentation puts 200 into one."""
MAX_FILES = 8
MAX_REQUESTS = 10_000_000
MAX_EACH = 8
COUNTED = "videos"
"""Meter of results that do not say themselves what they bill."""
ITEM, TOTAL, REST = "batch_item", "batch_total", "batch_rest"
_SECOND_NS = 1_000_000_000
_MAX_AGE_NS = 60 * 86_400 * _SECOND_NS
"""An answer to a request of a batch cannot be older when it is read."""
_KEY = re.compile(r"[0-9a-f]{16}")
_ID = re.compile(r"[!-~]{1,256}")
_WHOLE, _DECIMAL = re.compile(r"[0-9]{1,15}"), re.compile(r"[0-9]{1,15}\.[0-9]{1,18}")
_NOTHING = "-"
_OF_BATCHES = frozenset({
    semconv.BATCH_ID, semconv.BATCH_FILE, semconv.BATCH_FILES, semconv.BATCH_EVENT,
    semconv.BATCH_OPERATION, semconv.BATCH_REQUESTS, semconv.BATCH_COLUMNS, semconv.BATCH_ITEMS,
    semconv.BATCH_EACH,
})  # fmt: skip
Read = Callable[[Span], Reading]


def is_of_batch(span: Span) -> bool:
    """Whether the span says something of a batch."""
    return semconv.BATCH_EVENT in span.attributes


def items_in(span: Span) -> int:
    """Return how many results a span has."""
    return len(_texts(span.attributes.get(semconv.BATCH_ITEMS)))


def read_batch(span: Span, read: Read) -> list[Reading]:
    """Return a reading for each result in the span, or for what it says of the batch itself.

    `read` reads an ordinary span. Results that are no packed items are left out.
    """
    attributes = span.attributes
    batch_id, file_id = (_id(attributes.get(key)) for key in (semconv.BATCH_ID, semconv.BATCH_FILE))
    event = attributes.get(semconv.BATCH_EVENT)
    reading = read(replace(span, attributes=_of_a_call(attributes)))
    call = reading.call
    is_results = event == "results"
    if call is None or not (batch_id or (file_id and is_results)):
        return [Reading(Kind.NOTHING, reading.dialect, "of a batch without an id")]
    files = tuple(filter(None, map(_id, _texts(attributes.get(semconv.BATCH_FILES)))))[:MAX_FILES]
    each = tuple(_each(_texts(attributes.get(semconv.BATCH_EACH))))
    part = BatchPart(str(event), batch_id, file_id, files, each)
    names = _texts(attributes.get(semconv.BATCH_COLUMNS))
    items = _texts(attributes.get(semconv.BATCH_ITEMS))[:MAX_ITEMS]
    total_of = attributes.get(semconv.BATCH_REQUESTS)
    if not is_results and isinstance(total_of, int) and 0 < total_of < MAX_REQUESTS:
        call = call._replace(meters={**call.meters, "requests": float(total_of)})
    calls = list(_calls(_template(call, part), names, items, is_total=not is_results))
    if is_results:
        reason = "a result of a batch"
        return [Reading(Kind.CALL, reading.dialect, reason, each, batch=part) for each in calls]
    for total in calls[:1]:
        return [Reading(Kind.CALL, reading.dialect, "the sum of a batch", total, batch=part)]
    return [Reading(Kind.WRAPPER, reading.dialect, "says of a batch", call, batch=part)]


def _each(texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield meters and conditions with their values, as far as they are known and can be."""
    for text in texts[:MAX_EACH]:
        name, _, value = text.partition("=")
        if name in CONDITIONS and not CONDITIONS[name].is_of_collector:
            yield name, value.lower()[:MAX_CONDITION_CHARACTERS]
        elif name in BY_NAME and not BY_NAME[name].is_of_collector and _amount(value) is not None:
            yield name, value


def billed_each(call: Call, each: Sequence[tuple[str, str]]) -> Call:
    """Return a result that is counted only, with what each result of its batch bills instead."""
    videos = call.meters.get(COUNTED, 0)
    if not videos or not each:
        return call
    meters = {name: amount for name, amount in call.meters.items() if name != COUNTED}
    conditions = dict(call.conditions)
    for name, value in each:
        if name in CONDITIONS:
            conditions.setdefault(name, value)
        else:
            meters[name] = float(value) * videos
    return call._replace(meters=meters, conditions=conditions)


def _of_a_call(attributes: Mapping[str, object]) -> dict[str, object]:
    """Return the attributes that a call of the batch would have, without its usage."""
    operation = attributes.get(semconv.BATCH_OPERATION) or "chat"
    own = {key: value for key, value in attributes.items() if key not in _OF_BATCHES}
    return {**own, semconv.OPERATION: operation, semconv.USAGE_SOURCE: "provider"}


def _template(call: Call, part: BatchPart) -> Call:
    """Return what all calls of the span have in common: the batch is their trace."""
    source = part.file_id or part.batch_id
    trace = blake2b(f"{call.provider_name}\0{source}".encode(), digest_size=16)
    return call._replace(trace_id=trace.hexdigest(), parent_span_id="", usage_source="provider")


def _calls(
    template: Call, names: Sequence[str], items: Sequence[str], *, is_total: bool
) -> Iterator[Call]:
    counts = [name if name in TOKEN_FIELDS else "" for name in names]
    are_meters = [name in BY_NAME and not BY_NAME[name].is_of_collector for name in names]
    for packed in items:
        key, *rest = packed.split(" ")
        if len(rest) != len(names) + 2 or not (is_total or _KEY.fullmatch(key)):
            continue
        created, response_id, *texts = rest
        amounts = [_amount(text) for text in texts]
        usage = {
            name: int(amount)
            for name, amount in zip(counts, amounts, strict=True)
            if name and amount is not None
        }
        meters = {
            name: float(amount)
            for name, count, is_meter, amount in zip(
                names, counts, are_meters, amounts, strict=True
            )
            if is_meter and not count and amount is not None
        }
        if not usage and not meters:
            continue
        at = _created_ns(created, template)
        yield _flagged(
            template._replace(
                span_id=TOTAL_KEY if is_total else key,
                start_time_ns=at or template.start_time_ns,
                end_time_ns=at or template.end_time_ns,
                response_id="" if response_id == _NOTHING else response_id,
                usage=Usage(**usage),
                meters={**template.meters, **meters},
                part=TOTAL if is_total else ITEM,
                quality_flags=(*template.quality_flags, Flag.BATCH_SUM)
                if is_total
                else template.quality_flags,
            ),
            [name for name, is_meter in zip(names, are_meters, strict=True) if not is_meter],
        )


TOTAL_KEY = "0" * 15 + "1"
"""Instead of the hash of a result's name, for the sum of a batch."""


def _flagged(call: Call, unread: Sequence[str]) -> Call:
    if not unread:
        return call
    paths = tuple(sorted({*call.unread, *(name[:120] for name in unread)})[:MAX_UNREAD])
    flags = tuple(dict.fromkeys((*call.quality_flags, Flag.UNREAD_USAGE)))
    return call._replace(unread=paths, quality_flags=flags)


def _created_ns(text: str, template: Call) -> int:
    """Return when the answer was made (ns), as the provider has it; 0: it does not say."""
    if not _WHOLE.fullmatch(text):
        return 0
    at = int(text) * _SECOND_NS
    end = template.end_time_ns
    return at if max(FIRST_CALL_NS, end - _MAX_AGE_NS) <= at <= end else 0


def _amount(text: str) -> int | float | None:
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else None


def _id(value: object) -> str:
    return value if isinstance(value, str) and _ID.fullmatch(value) else ""


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
