"""How spans of one shape are read into columns: an origin and one tuple of attribute keys.

Each attribute has a role by its place, from the `Plan` of its dialect. The bytes of the attributes
that repeat from span to span together name a `Sort`: all that `interpreter` concludes from them,
worked out once. What a plan cannot say in columns makes the shape leave: its spans are read one by
one, as `dialects.Reader` does. The rule for everything here: it may refuse a span, and never
differs from what is read one by one.
"""

from array import array
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError as ProtobufError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tallyspan import semconv
from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.dialects import interpreter
from tallyspan_collector.dialects.plan import Plan, plan
from tallyspan_collector.dialects.reading import Kind
from tallyspan_collector.dialects.refusal import note_refusal
from tallyspan_collector.dialects.registry import SERVICES, recognise
from tallyspan_collector.dialects.table import Names, Rule
from tallyspan_collector.errors import DecodeError
from tallyspan_collector.read import otlp
from tallyspan_collector.read.call import Draft
from tallyspan_collector.read.otlp import Attributes, Span


class Role(IntEnum):
    """What an attribute of a shape is for."""

    # A prompt or an answer: not looked at.
    CONTENT = 0
    # Nothing is made of it, but it must be readable: one that is not counts as absent.
    SKIP = 1
    # One of those whose bytes together name the sort.
    REPEAT = 2
    # Each has a column of its own.
    TEXT = 3
    COUNT = 4
    SECONDS = 5
    AMOUNT = 6


class Outcome(IntEnum):
    """Why spans get no row; the name in lower case is the reason that is counted."""

    # Nothing of ours: no call, and nothing around one.
    NOT_A_CALL = -1
    # The request is not laid out as every encoder does.
    LAYOUT = -2
    # An attribute is not laid out as every encoder does, cannot be read, or is there twice.
    ATTRIBUTE = -3
    # An id or a time is not what it should be.
    IDS = -4
    # A count, text or amount has another type, or is none.
    VALUE = -5
    # The dialect has rules for single spans.
    DIALECT = -6
    # A remote agent that reports usage: it may be charged itself.
    AGENT = -7
    # A refusal costs by what was answered.
    REFUSAL = -8
    # More combinations of repeating values, or shapes, than are remembered.
    SORTS = -9
    SHAPES = -10


def refusals(outcomes: Mapping[int, int]) -> Counter[str]:
    """Return how many spans left for which reason, of how many have which outcome."""
    return Counter({
        outcome.name.lower(): spans
        for outcome in Outcome
        if outcome is not Outcome.NOT_A_CALL and (spans := outcomes.get(outcome, 0))
    })  # fmt: skip


MAX_ATTRIBUTES = 128
MAX_KEY_BYTES = 127
MAX_SORTS, MAX_ALL_SORTS = 2_000, 20_000
"""Combinations of repeating values that are remembered, of a shape and in all."""
MAX_SORT_BYTES = 4_096
MAX_SHAPES, MAX_NEW_SHAPES = 5_000, 1_000
"""Shapes that are remembered, and that are new between two calls of `Shapes.renew`."""
MAX_ORIGINS = 2_000
MAX_COUNT = 1 << 53
TOTAL = len(TOKEN_FIELDS)
"""The number of the emitter's total among the columns of counts."""
_OF_SEVERAL = frozenset({semconv.NOT_UNDERSTOOD, semconv.BATCH_EVENT})
"""Attributes of spans that are not of one call: a row could not hold them."""
_FREE = ("agent_name",)
"""Repeating texts that nothing else is concluded from: they may have a column of their own."""


@dataclass(slots=True, eq=False)
class Sort:
    """What rows have in common whose repeating attributes agree.

    `fields` has every field of `Call`; those with columns of their own are blank. `is_inferred`:
    that the span is a call is only a conclusion. `is_agent`: in a client span it is an agent that
    may be charged itself. `fails_with_zeros`: see `Dialect`.
    """

    kind: Kind
    reason: str
    fields: Draft
    rule: Rule
    is_settled: bool
    is_inferred: bool
    is_agent: bool
    fails_with_zeros: bool


@dataclass(slots=True, eq=False)
class Origin:
    """A resource and a scope. Without `shapes` it is not remembered, and its spans leave."""

    resource: Attributes
    scope_name: str
    scope_version: str
    own_service: str
    shapes: "dict[tuple[bytes, ...], Shape | Outcome] | None" = None


class Layout(NamedTuple):
    """How attributes with these keys are read, whatever the origin.

    By place: `prefixes` begin the attributes' bytes, `roles`, and `columns`: which of the shape's
    texts, counts or amounts it is. `texts` names fields of `Call`, or `tag:` and a tag; several
    columns may have one field: the first that has a value wins. `counts` are numbers of fields in
    `Usage`, and TOTAL. `amounts` is how many columns have a claimed cost.
    """

    plan: Plan
    prefixes: tuple[bytes, ...]
    roles: tuple[Role, ...]
    columns: tuple[int, ...]
    texts: tuple[str, ...]
    counts: tuple[int, ...]
    amounts: int
    has_seconds: bool


class Shape:
    """A layout with an origin, and the sorts of its spans; belongs to one reader.

    `rules` is the token rule of each sort as `rule_bits` has it; `agents` are the sorts whose
    client spans leave, as `Outcome.AGENT`; `reader` is whatever the reader keeps with the shape.
    `is_full`: no further sort is remembered.
    """

    __slots__ = (
        "_met", "_owner", "agents", "is_full", "layout", "origin", "reader", "rules", "sorts",
    )  # fmt: skip

    def __init__(self, origin: Origin, layout: Layout, owner: "Shapes") -> None:
        self.origin = origin
        self.layout = layout
        self.sorts: list[Sort] = []
        self.rules = array("i")
        self.agents: set[int] = set()
        self.reader: Any = None
        self.is_full = False
        self._met = 0
        self._owner = owner

    def sort(self, raws: Sequence[bytes], name: bytes) -> int:
        """Return the number of the sort that these repeating attributes make, or an `Outcome`.

        `name` is the span's, and empty where it does not matter. Outcome SORTS is about what was
        met before, the others about the attributes: they may be remembered.
        """
        if self.is_full or sum(map(len, raws)) + len(name) > MAX_SORT_BYTES:
            return Outcome.SORTS
        if self._met >= MAX_SORTS:
            self.is_full = True
            self._owner.full.append(self)
            return Outcome.SORTS
        self._met += 1
        self._owner.sorts += 1
        sort = self._sort(raws, name)
        if not isinstance(sort, Sort):
            return sort
        if sort.is_agent:
            self.agents.add(len(self.sorts))
        self.sorts.append(sort)
        self.rules.append(rule_bits(sort))
        return len(self.sorts) - 1

    def _sort(self, raws: Sequence[bytes], name: bytes) -> Sort | Outcome:
        layout, origin = self.layout, self.origin
        attributes = otlp.attributes_of(raws)
        if len(attributes) != len(raws):
            return Outcome.ATTRIBUTE
        span = Span(
            "", "", "", 0, 0,
            is_error=False,
            attributes=attributes,
            resource=origin.resource,
            scope_name=origin.scope_name,
            name=name.decode("utf-8", "replace"),
            scope_version=origin.scope_version,
        )  # fmt: skip
        common = interpreter.conclude(span, attributes, layout.plan)
        if common.kind is Kind.NOTHING:
            return Outcome.NOT_A_CALL
        fields = common.fields
        has_counts = any(at != TOTAL for at in layout.counts)
        has_model = bool(fields["response_model"] or fields["request_model"])
        if common.kind is Kind.CALL:
            if not has_model and (common.is_inferred or not fields["provider_name"]):
                return Outcome.NOT_A_CALL
            if common.is_inferred and not has_counts:
                return Outcome.NOT_A_CALL
        fails_with_zeros = layout.plan.dialect.fails_with_zeros
        if common.is_inferred and fails_with_zeros:  # without usage it is no call
            return Outcome.DIALECT
        fields["finish_reason"] = interpreter.finish_reason(attributes, layout.plan)
        fields["usage_source"] = interpreter.usage_source(fields, has_counts=has_counts)
        if _may_be_refused(fields):
            return Outcome.REFUSAL
        return Sort(
            common.kind,
            common.reason,
            fields,
            common.rule,
            common.is_settled,
            common.is_inferred,
            is_agent=common.is_agent and has_counts,
            fails_with_zeros=fails_with_zeros,
        )


def _may_be_refused(fields: Draft) -> bool:
    refused: Draft = {**fields, "usage": Usage(output_tokens=0)}
    note_refusal(refused)
    return bool(refused["conditions"] != fields["conditions"])


class Shapes:
    """The shapes of spans that were met; belongs to one reader."""

    def __init__(self) -> None:
        self.sorts = 0
        self.full: list[Shape] = []
        self._origins: dict[tuple[bytes, bytes], Origin] = {}
        self._layouts: dict[tuple[str, str, tuple[bytes, ...]], Layout | Outcome] = {}
        self._shapes = self._new = 0

    def origin(self, resource: bytes, scope: bytes) -> Origin:
        """Return the origin of a serialised resource and scope.

        Raises `DecodeError` if they are none.
        """
        origin = self._origins.get((resource, scope))
        if origin is None:
            try:
                attributes, (name, version) = otlp.resource_of(resource), otlp.scope_of(scope)
            except (ProtobufError, UnicodeDecodeError) as error:
                raise DecodeError(f"not an OTLP ExportTraceServiceRequest: {error}") from None
            service = attributes.get("service.name")
            own = service if isinstance(service, str) and service in SERVICES else ""
            origin = Origin(attributes, name, version, own)
            is_short = len(resource) + len(scope) <= otlp.MAX_ORIGIN_BYTES
            if is_short and len(self._origins) < MAX_ORIGINS:
                origin.shapes = {}
                self._origins[resource, scope] = origin
        return origin

    def shape(self, origin: Origin, keys: tuple[bytes, ...]) -> Shape | Outcome:
        """Return how spans with these keys are read, or what becomes of them."""
        if origin.shapes is None:
            return Outcome.SHAPES
        shape = origin.shapes.get(keys)
        if shape is None:
            if self._new >= MAX_NEW_SHAPES:
                return Outcome.SHAPES
            self._new += 1
            self._shapes += 1
            layout = self._layout(origin, keys)
            shape = layout if isinstance(layout, Outcome) else Shape(origin, layout, self)
            origin.shapes[keys] = shape
        return shape

    def renew(self) -> None:
        """Forget what is full; called when no columns of the shapes are open any more."""
        for shape in self.full:
            self._forget(shape)
        self.full.clear()
        self._new = 0
        if (
            self.sorts > MAX_ALL_SORTS
            or self._shapes > MAX_SHAPES
            or len(self._origins) >= MAX_ORIGINS
        ):
            self._origins.clear()
            self._layouts.clear()
            self._shapes = self.sorts = 0

    def _forget(self, shape: Shape) -> None:
        """Forget the sorts of a shape; a text that is another in most gets a column of its own."""
        layout, origin = shape.layout, shape.origin
        keys = tuple(prefix[2:-1] for prefix in layout.prefixes)
        own = tuple(
            name
            for name in _FREE
            if 2 * len({sort.fields[name] for sort in shape.sorts}) > len(shape.sorts)
        )
        if own:
            self._layouts[origin.scope_name, origin.own_service, keys] = layout_of(
                layout.plan, origin.scope_name, keys, own
            )
        if origin.shapes is not None:
            origin.shapes.pop(keys, None)
        self._shapes -= 1
        self.sorts -= MAX_SORTS

    def _layout(self, origin: Origin, keys: tuple[bytes, ...]) -> Layout | Outcome:
        key = (origin.scope_name, origin.own_service, keys)
        layout = self._layouts.get(key)
        if layout is None:
            layout = self._layouts[key] = _new_layout(*key)
        return layout


def _new_layout(scope: str, service: str, keys: tuple[bytes, ...]) -> Layout | Outcome:
    if len(set(keys)) < len(keys) or len(keys) > MAX_ATTRIBUTES:
        return Outcome.ATTRIBUTE
    try:
        names = [name for key in keys if (name := otlp.key_of(key))]
    except UnicodeDecodeError:
        return Outcome.ATTRIBUTE
    if not _OF_SEVERAL.isdisjoint(names):
        return Outcome.DIALECT
    dialect = recognise(scope, service, names)
    if dialect is None:
        return Outcome.NOT_A_CALL
    return layout_of(plan(dialect, frozenset(names)), scope, keys)


def layout_of(how: Plan, scope: str, keys: tuple[bytes, ...], own: Names = ()) -> Layout | Outcome:
    """Return how attributes with these keys are read by a plan, in spans of a scope.

    `own` are repeating fields that get columns of their own. DIALECT: the plan cannot be said in
    columns, or an attribute has several roles.
    """
    names = [otlp.key_of(key) for key in keys]
    if not _is_columnar(how, scope, names):
        return Outcome.DIALECT
    roles: dict[str, tuple[Role, int]] = {}
    texts: list[str] = []
    counts: list[int] = []
    repeating = {*how.operation, *how.cache_hit, *how.finish, *how.stream, *how.status}
    repeating |= {key for key, _ in how.conditions} | {semconv.USAGE_SOURCE}
    repeating |= {key for name, names in how.texts if name not in own for key in names}
    columns: list[tuple[str, Role, int]] = [(key, Role.REPEAT, 0) for key in repeating]
    of_texts = [(name, key) for name, names in how.texts if name in own for key in names]
    of_texts += [(name, key) for name, names in how.own for key in names]
    of_texts += [(f"tag:{tag}", key) for key, tag in how.tags]
    for name, key in of_texts:
        columns.append((key, Role.TEXT, len(texts)))
        texts.append(name)
    # the first name of a count wins if it has a count, and it must: the others are not looked at
    of_counts = [(at, names[0]) for at, names in how.tokens]
    of_counts += [(TOTAL, key) for key in how.total[:1]]
    for at, key in of_counts:
        columns.append((key, Role.COUNT, len(counts)))
        counts.append(at)
    # the last name of the first chunk's time wins, whatever it has
    columns += [(key, Role.SECONDS, 0) for key in how.first_chunk[-1:]]
    columns += [(key, Role.AMOUNT, number) for number, key in enumerate(how.claimed_cost)]
    for key, role, column in columns:
        if roles.setdefault(key, (role, column)) != (role, column):
            return Outcome.DIALECT
    by_place = [roles.get(name, (Role.SKIP, 0)) if name else (Role.CONTENT, 0) for name in names]
    return Layout(
        plan=how,
        prefixes=tuple(b"\x0a%c%b\x12" % (len(key), key) for key in keys),
        roles=tuple(role for role, _ in by_place),
        columns=tuple(column for _, column in by_place),
        texts=tuple(texts),
        counts=tuple(counts),
        amounts=len(how.claimed_cost),
        has_seconds=bool(how.first_chunk),
    )


def _is_columnar(how: Plan, scope: str, names: Collection[str]) -> bool:
    """Whether nothing of the plan is about single spans."""
    dialect = how.dialect
    return not (
        dialect.count
        or (dialect.refine and (dialect.refines is None or dialect.refines(scope, names)))
        or how.blobs
        or how.quoted
        or how.added
        or how.cache_write_5m
        or how.meters
        or how.reported_cost
        or how.unread
        or how.names_unread
    )


RULE_BITS = (
    "is_exclusive", "is_undecided", "is_input_certain", "is_reasoning_outside", "may_be_outside",
    "is_total_whole", "is_settled",
)  # fmt: skip
"""What the bits of a sort's rule mean, from the lowest."""


def rule_bits(sort: Sort) -> int:
    """Return the token rule of a sort as a number: see RULE_BITS."""
    rule = sort.rule
    facts = {
        "is_exclusive": rule.basis == "exclusive",
        "is_undecided": rule.basis == "undecided",
        "is_settled": sort.is_settled,
    }
    return sum(
        bool(facts[name] if name in facts else getattr(rule, name)) << at
        for at, name in enumerate(RULE_BITS)
    )


@lru_cache(maxsize=4_096)
def error_attribute(message: bytes) -> bytes:
    """Return the serialised `error.type` of a failed span by its message; empty: it names none."""
    name = otlp.error_name(message)
    if not name:
        return b""
    return KeyValue(key=semconv.ERROR_TYPE, value=AnyValue(string_value=name)).SerializeToString()
