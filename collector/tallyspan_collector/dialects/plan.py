"""Which attributes hold which field, for a shape of spans (a scope, a service, a set of keys)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter

from tallyspan import semconv
from tallyspan.conditions import CONDITIONS
from tallyspan.meters import METERS
from tallyspan.usage import TOKEN_FIELDS
from tallyspan_collector.dialects.reading import Kind
from tallyspan_collector.dialects.table import Attributes, Dialect, Names, Rule, matches
from tallyspan_collector.dialects.unread import is_unread
from tallyspan_collector.read.call import Draft

OWN = ("response_id", "user_id", "conversation_id", "agent_id", "same_call_id")
"""Text fields of `Call` that differ from call to call; the others repeat, and are remembered."""
MAX_COMMON = 2_000
"""Combinations of repeating values that are remembered for a shape; then all are forgotten."""
MAX_PLACES = 2_000
"""Places in blobs that are remembered for a shape; then all are forgotten."""
_MAX_TAGS = 32
UNCOLUMNED = {
    meter.attribute: meter.name
    for meter in METERS
    if not (meter.is_column or meter.is_of_collector)
}
CONDITION_ATTRIBUTES = {
    condition.attribute: condition.name for condition in CONDITIONS if not condition.is_of_collector
}
_FINISH = (
    semconv.FINISH_REASONS,
    "gen_ai.response.finish_reason",
    "gen_ai.completion.0.finish_reason",
    "llm.finish_reason",
    "ai.response.finishReason",
    "anthropic.message.stop_reason",
)
_STREAM = (semconv.REQUEST_STREAM, "llm.is_streaming", "gen_ai.is_streaming", "llm.stream")
_STATUS = (semconv.HTTP_STATUS, "http.status_code", "error.code", "litellm.provider.error.code")
_FIRST_CHUNK = (semconv.TIME_TO_FIRST_CHUNK, "gen_ai.server.time_to_first_token")


@dataclass(frozen=True, slots=True)
class Common:
    """What spans have in common whose repeating attributes agree.

    `fields` has every field of `Call`: those that differ from span to span are blank. `rule` is
    the token rule.
    """

    kind: Kind
    reason: str
    is_inferred: bool
    is_agent: bool
    is_settled: bool
    rule: Rule
    fields: Draft


@dataclass(slots=True)
class Plan:
    """How to read spans of a shape: only the keys that are there.

    `repeating` fetches the values that repeat from span to span; `memo` is what followed from them.
    `unread` are attributes of usage that nothing reads; `is_read` remembers which places
    in blobs need no mention, `read` has all that are read.
    """

    dialect: Dialect
    blobs: Names
    quoted: Names
    operation: Names
    wrapper_key: str
    texts: tuple[tuple[str, Names], ...]
    own: tuple[tuple[str, Names], ...]
    tokens: tuple[tuple[int, Names], ...]
    total: Names
    added: tuple[tuple[int, Names], ...]
    cache_write_5m: Names
    tags: tuple[tuple[str, str], ...]
    meters: tuple[tuple[str, str], ...]
    conditions: tuple[tuple[str, str], ...]
    claimed_cost: Names
    reported_cost: tuple[tuple[str, int], ...]
    unread: Names
    names_unread: bool
    read: frozenset[str]
    cache_hit: Names
    finish: Names
    stream: Names
    status: Names
    first_chunk: Names
    repeating: Callable[[Attributes], tuple[object, ...]]
    memo: dict[tuple[object, ...], Common] = field(default_factory=dict)
    is_read: dict[str, bool] = field(default_factory=dict)


def plan(dialect: Dialect, keys: frozenset[str]) -> Plan:
    """Return how to read spans that have these attributes."""

    def here(names: Names) -> Names:
        return tuple(name for name in names if name.partition("#")[0] in keys)

    def table(of: Mapping[str, Names]) -> tuple[tuple[str, Names], ...]:
        return tuple((name, present) for name, names in of.items() if (present := here(names)))

    def counts(of: Mapping[str, Names]) -> tuple[tuple[int, Names], ...]:
        return tuple((TOKEN_FIELDS.index(name), present) for name, present in table(of))

    texts = table(dialect.texts)
    taken = {name for names in dialect.texts.values() for name in names}
    read = _read(dialect)
    blobs = {name.partition("#")[0] for name in here((*read, *dialect.usage)) if "#" in name}
    operation, cache_hit, stream = here(dialect.operation), here(dialect.cache_hit), here(_STREAM)
    status = here(_STATUS)
    repeating_texts = tuple(each for each in texts if each[0] not in OWN)
    repeating = (*operation, *cache_hit, *stream, *status)
    repeating += tuple(name for _, names in repeating_texts for name in names)
    meters = _registered(table(dialect.meters), UNCOLUMNED, keys)
    conditions = _registered(table(dialect.conditions), CONDITION_ATTRIBUTES, keys)
    repeating += tuple(key for key, _ in conditions)
    return Plan(
        dialect=dialect,
        blobs=tuple(sorted(blobs)),
        quoted=tuple(key for key, _ in _under(dialect.quoted, keys)),
        operation=operation,
        wrapper_key=next(
            (key for key in sorted(keys) for mark in dialect.wrapper_keys if matches(mark, key)), ""
        ),
        texts=repeating_texts,
        own=tuple(each for each in texts if each[0] in OWN),
        tokens=counts(dialect.tokens),
        total=here(dialect.total),
        added=counts(dialect.added),
        cache_write_5m=here(dialect.cache_write_5m),
        tags=_under(dialect.tags, keys - taken)[:_MAX_TAGS],
        meters=meters,
        conditions=conditions,
        claimed_cost=here(dialect.claimed_cost),
        reported_cost=tuple(
            (name, of_one) for name, of_one in dialect.reported_cost.items() if here((name,))
        ),
        unread=tuple(key for key in sorted(keys - blobs) if is_unread(key, dialect, read)),
        names_unread=semconv.USAGE_UNREAD in keys,
        read=read,
        cache_hit=cache_hit,
        finish=here(_FINISH),
        stream=stream,
        status=status,
        first_chunk=here(_FIRST_CHUNK),
        repeating=_fetch(tuple(dict.fromkeys(repeating)), is_sparse=bool(blobs)),
    )


def _registered(
    own: tuple[tuple[str, Names], ...], attributes: Mapping[str, str], keys: frozenset[str]
) -> tuple[tuple[str, str], ...]:
    """Return key and name of the meters or conditions that are there, ours first."""
    ours = [(key, name) for key, name in attributes.items() if key in keys]
    return (*ours, *((key, name) for name, present in own for key in present))


def _read(dialect: Dialect) -> frozenset[str]:
    """Return the attributes, and the places in blobs, that the dialect reads."""
    tables = (dialect.texts, dialect.tokens, dialect.added, dialect.meters, dialect.conditions)
    return frozenset(
        (
            *(name for table in tables for names in table.values() for name in names),
            *(*dialect.total, *dialect.cache_write_5m),
            *(*dialect.claimed_cost, *dialect.reported_cost),
            *(*dialect.operation, *dialect.cache_hit),
            *(*UNCOLUMNED, *CONDITION_ATTRIBUTES),
            *(*_FINISH, *_STREAM, *_FIRST_CHUNK, semconv.USAGE_UNREAD),
        )
    )


def _fetch(keys: Names, *, is_sparse: bool) -> Callable[[Attributes], tuple[object, ...]]:
    """Return a function that fetches the values of the keys.

    `is_sparse`: some keys are places inside a blob, and a span may lack them.
    """
    if len(keys) > 1 and not is_sparse:
        return itemgetter(*keys)  # of several keys: a tuple
    return lambda attributes: tuple(map(attributes.get, keys))


def _under(prefixes: Names, keys: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """Return key and the rest of it, of the keys that start with one of the prefixes."""
    return tuple(
        (key, key.removeprefix(prefix))
        for prefix in prefixes
        for key in sorted(keys)
        if key.startswith(prefix)
    )
