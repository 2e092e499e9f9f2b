"""The reader without a compiled part: protobuf's C parser, and slices of whole columns.

Same behaviour as `_reader.pyx`: the same rows, and the same spans left to be read one by one.
"""

from array import array
from collections import Counter
from collections.abc import Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any

from google.protobuf.message import DecodeError as ProtobufError

from tallyspan.semconv import ERROR_TYPE
from tallyspan_collector.columns.part import ID_BYTES, Part
from tallyspan_collector.columns.shapes import (
    MAX_ATTRIBUTES,
    MAX_COUNT,
    MAX_KEY_BYTES,
    Origin,
    Outcome,
    Role,
    Shape,
    Shapes,
    error_attribute,
    refusals,
)
from tallyspan_collector.dialects.interpreter import CLIENT
from tallyspan_collector.dialects.values import text
from tallyspan_collector.errors import DecodeError
from tallyspan_collector.read import wire
from tallyspan_collector.read.otlp import MAX_MEMO_BYTES

_Raws = Sequence[bytes]
MAX_MEMO = 65_536
"""Counts that are remembered; then all are forgotten."""
MAX_READABLE = 1_000
"""Attributes of one place of a shape that are remembered as readable."""
_STRING, _VALUE, _BOOL, _INT, _DOUBLE, _ARRAY, _BYTES = 0x0A, 0x12, 0x10, 0x18, 0x21, 0x2A, 0x3A
_MORE = 0x80
_MIN_ATTRIBUTE, _MIN_TEXT = 4, 3
_MAX_VARINT_BYTES, _MAX_COUNT_BYTES, _MAX_INT_BYTES = 5, 9, 10
_MAX_DEPTH = 8
_TRACE_ID, _SPAN_ID = 16, 8
_MAX_TIME_NS = 1 << 62
_ERROR = 2
_DOUBLE_HEAD = bytes([9, _DOUBLE])
_WITH_PARENT, _WITHOUT_PARENT = (1).to_bytes(8, "little"), bytes(_SPAN_ID + 8)
_fields = attrgetter(
    "trace_id", "span_id", "parent_span_id", "start_time_unix_nano", "end_time_unix_nano"
)
_ERROR_PREFIX = b"\x0a%c%b\x12" % (len(ERROR_TYPE), ERROR_TYPE.encode())
_SHORT_HEADS = tuple(
    bytes([size - 1, _STRING, size - 3]) if size >= _MIN_TEXT else b"" for size in range(129)
)
"""What a short text begins with, by the bytes of the whole: the value's length, the text's."""
_WORDS = frozenset({"none", "null", "undefined", "unknown"})


class _OddError(Exception):
    """A value is not what its column holds, or is not laid out as every encoder does."""


class _Counts(dict[bytes, int]):
    """Serialised value -> count."""

    def __missing__(self, raw: bytes) -> int:
        place = _filled(raw, 0)
        if raw[place] != _INT:
            raise _OddError
        count, end = _varint(raw, place + 1, _MAX_COUNT_BYTES)
        if end != len(raw) or count >= MAX_COUNT:
            raise _OddError
        if len(self) >= MAX_MEMO:
            self.clear()
        self[raw] = count
        return count


_count = _Counts().__getitem__


def _varint(raw: bytes, place: int, most: int = _MAX_VARINT_BYTES) -> tuple[int, int]:
    """Return the integer of at most so many bytes at a place, and the place after it."""
    number = 0
    for at in range(most):
        if place >= len(raw):
            break
        byte = raw[place]
        number |= (byte & 0x7F) << 7 * at
        place += 1
        if byte < _MORE:
            return number, place
    raise _OddError


def _filled(raw: bytes, place: int) -> int:
    """Return the place after a length, of which nothing may be missing or left over, nor be 0."""
    size, place = _varint(raw, place)
    if not size or size != len(raw) - place:
        raise _OddError
    return place


def _is_readable(raw: bytes, place: int) -> bool:
    """Whether the attribute whose key ends at a place has a value that is laid out as usual."""
    try:
        size, place = _varint(raw, place)
        return size == len(raw) - place and _is_value(raw[place:], 0)
    except (_OddError, UnicodeDecodeError):
        return False


def _is_value(raw: bytes, depth: int) -> bool:
    if not raw:
        return True
    kind = raw[0]
    if kind in (_STRING, _BYTES, _ARRAY):
        size, place = _varint(raw, 1)
        if size != len(raw) - place:
            return False
        if kind == _STRING:
            raw[place:].decode()
        return kind != _ARRAY or _are_values(raw, place, depth + 1)
    if kind == _BOOL:
        return len(raw) == 2 and raw[1] < 2  # noqa: PLR2004  a byte: 0 or 1
    if kind == _INT:
        end = _varint(raw, 1, _MAX_INT_BYTES)[1]
        return end == len(raw) and (end <= _MAX_INT_BYTES or raw[-1] < 2)  # noqa: PLR2004  64 bits
    return kind == _DOUBLE and len(raw) == 1 + 8


def _are_values(raw: bytes, place: int, depth: int) -> bool:
    while place < len(raw):
        if raw[place] != _STRING or depth > _MAX_DEPTH:
            return False
        size, place = _varint(raw, place + 1)
        end = place + size
        if end > len(raw) or not _is_value(raw[place:end], depth):
            return False
        place = end
    return True


def _keys(raws: _Raws) -> tuple[bytes, ...] | None:
    """Return the keys of attributes; None: one is not laid out as every encoder does."""
    if len(raws) > MAX_ATTRIBUTES:
        return None
    keys = []
    for raw in raws:
        if len(raw) < _MIN_ATTRIBUTE or raw[0] != _STRING or not 0 < raw[1] <= MAX_KEY_BYTES:
            return None
        end = 2 + raw[1]
        if end + 1 >= len(raw) or raw[end] != _VALUE or not _is_whole(raw, end + 1):
            return None
        keys.append(raw[2:end])
    return tuple(keys)


def _is_whole(raw: bytes, place: int) -> bool:
    """Whether a length at a place is that of the rest."""
    try:
        size, place = _varint(raw, place)
    except _OddError:
        return False
    return size == len(raw) - place


def _texts(column: _Raws, place: int) -> list[str]:
    """Return the texts whose length begins at a place, as `values.text` has them."""
    start, heads = place + 3, _SHORT_HEADS
    longest = len(heads)
    try:
        texts = [
            raw[start:].decode()
            if (size := len(raw) - place) < longest and raw[place:start] == heads[size]
            else _long_text(raw, place)
            for raw in column
        ]
    except UnicodeDecodeError:
        raise _OddError from None
    if [*map(str.strip, texts)] != texts or not _WORDS.isdisjoint(map(str.lower, texts)):
        return [text(each) for each in texts]
    return texts


def _long_text(raw: bytes, place: int) -> str:
    place = _filled(raw, place)
    if raw[place] != _STRING:
        raise _OddError
    size, place = _varint(raw, place + 1)
    if size != len(raw) - place:
        raise _OddError
    return raw[place:].decode()


def _doubles(column: _Raws, place: int) -> list[float]:
    """Return the floats whose length begins at a place."""
    start = place + 2
    if {raw[place:start] for raw in column} != {_DOUBLE_HEAD} or {*map(len, column)} != {start + 8}:
        raise _OddError
    return array("d", b"".join([raw[start:] for raw in column])).tolist()


class _Columns:
    """The columns of a shape so far, and the bytes by which its sorts are found."""

    def __init__(self, shape: Shape) -> None:
        layout = shape.layout
        self.shape = shape
        self.places = tuple(zip(layout.prefixes, layout.roles, layout.columns, strict=True))
        self.repeating = tuple(at for at, role in enumerate(layout.roles) if role is Role.REPEAT)
        self.has_name = bool(layout.plan.dialect.span_names)
        self.readable: list[set[bytes]] = [set() for _ in layout.roles]
        self.numbers: dict[tuple[bytes, ...], int] = {}
        self.ids: list[bytes] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.errors: list[bool] = []
        self.sorts: list[int] = []
        self.requests: list[int] = []
        self.counts: list[list[int]] = [[] for _ in layout.counts]
        self.texts: list[list[str]] = [[] for _ in layout.texts]
        self.seconds: list[float] = []
        self.amounts: list[list[float]] = [[] for _ in range(layout.amounts)]

    def take(self) -> Part:
        """Return the rows so far, and begin anew."""
        times = array("q", self.starts + self.ends)
        times[::2], times[1::2] = array("q", self.starts), array("q", self.ends)
        part = Part(
            self.shape,
            len(self.sorts),
            b"".join(self.ids),
            times.tobytes(),
            bytes(self.errors),
            array("i", self.sorts).tobytes(),
            array("i", self.requests).tobytes(),
            [array("q", column).tobytes() for column in self.counts],
            self.texts,
            array("d", self.seconds).tobytes(),
            self.amounts,
        )
        self.texts = [[] for _ in self.texts]
        self.amounts = [[] for _ in self.amounts]
        self.cut(0)
        return part

    def cut(self, rows: int) -> None:
        """Forget the rows after the first so many."""
        of_rows: list[list[Any]] = [self.ids, self.starts, self.ends, self.errors, self.sorts]
        of_rows += [self.requests, self.seconds]
        for column in (*of_rows, *self.counts, *self.texts, *self.amounts):
            del column[rows:]

    def are_of(self, columns: Sequence[_Raws]) -> bool:
        """Whether attributes, place by place, have the shape's keys and can be read.

        Of the columns' own only the keys: their values are looked at when they are put in.
        """
        for (prefix, role, _), readable, column in zip(
            self.places, self.readable, columns, strict=True
        ):
            size = len(prefix)
            if role > Role.REPEAT:
                if not all(map(bytes.startswith, column, repeat(prefix))):
                    return False
                continue
            if new := {*column} - readable:
                is_fine = _is_whole if role is Role.CONTENT else _is_readable
                if not all(raw.startswith(prefix) and is_fine(raw, size) for raw in new):
                    return False
                if role is not Role.CONTENT and len(readable) < MAX_READABLE:
                    readable.update(raw for raw in new if len(raw) <= MAX_MEMO_BYTES)
        return True

    def put(
        self, spans: Sequence[Any], failed: Sequence[bool], columns: Sequence[_Raws], request: int
    ) -> list[int]:
        """Take spans of the shape in; return the `Outcome` of each, 0 for those taken in."""
        numbers = self._numbers(spans, columns)
        traces, own, parents, starts, ends = zip(*map(_fields, spans), strict=True)
        is_sound = (
            min(numbers) >= 0
            and {*map(len, traces)} == {_TRACE_ID}
            and {*map(len, own)} == {_SPAN_ID}
            and {*map(len, parents)} <= {0, _SPAN_ID}
            and max(*starts, *ends) < _MAX_TIME_NS
        )
        if not is_sound or not self._put_values(columns):
            return self._put_some(spans, failed, columns, request, numbers)
        self.ids += [
            trace + span + (parent + _WITH_PARENT if parent else _WITHOUT_PARENT)
            for trace, span, parent in zip(traces, own, parents, strict=True)
        ]
        self.starts += [start or end for start, end in zip(starts, ends, strict=True)]
        self.ends += map(max, starts, ends)
        self.errors += failed
        self.sorts += numbers
        self.requests += [request] * len(spans)
        return [0] * len(spans)

    def _put_some(
        self,
        spans: Sequence[Any],
        failed: Sequence[bool],
        columns: Sequence[_Raws],
        request: int,
        numbers: Sequence[int],
    ) -> list[int]:
        """Take in those of the spans that are as they should be; return the outcomes."""
        if len(spans) == 1:
            return [self._outcome(spans[0], [raw for (raw,) in columns], numbers[0])]
        outcomes = [
            self._outcome(span, [column[at] for column in columns], number)
            if number < 0 or _outcome_of_ids(span)
            else 0
            for at, (span, number) in enumerate(zip(spans, numbers, strict=True))
        ]
        sound = [at for at, outcome in enumerate(outcomes) if not outcome]
        # where nothing but a value is odd, span after span must tell which
        groups = [[at] for at in sound] if len(sound) == len(spans) else [sound]
        for places in filter(None, groups):
            of_group = self.put(
                [spans[at] for at in places],
                [failed[at] for at in places],
                [[column[at] for at in places] for column in columns],
                request,
            )
            for at, outcome in zip(places, of_group, strict=True):
                outcomes[at] = outcome
        return outcomes

    def _outcome(self, span: Any, raws: _Raws, number: int) -> int:
        """Return why a span with the shape's keys is not taken in."""
        if not all(
            _is_whole(raw, len(prefix)) for (prefix, *_), raw in zip(self.places, raws, strict=True)
        ):
            return Outcome.ATTRIBUTE
        return number if number < 0 else _outcome_of_ids(span) or Outcome.VALUE

    def _put_values(self, columns: Sequence[_Raws]) -> bool:
        """Put the values of the columns in; False: one is odd, and none was put in."""
        values: list[tuple[list[Any], list[Any]]] = []
        try:
            for (prefix, role, number), raws in zip(self.places, columns, strict=True):
                place = len(prefix)
                if role is Role.COUNT:
                    values.append((self.counts[number], [_count(raw[place:]) for raw in raws]))
                elif role is Role.TEXT:
                    values.append((self.texts[number], _texts(raws, place)))
                elif role is Role.SECONDS:
                    values.append((self.seconds, _doubles(raws, place)))
                elif role is Role.AMOUNT:
                    values.append((self.amounts[number], _doubles(raws, place)))
        except _OddError:
            return False
        for column, new in values:
            column.extend(new)
        return True

    def _numbers(self, spans: Sequence[Any], columns: Sequence[_Raws]) -> list[int]:
        """Return the sort of each span, or the `Outcome`."""
        names = [[span.name for span in spans]] if self.has_name else []
        by_span: list[tuple[bytes, ...]] = [
            *zip(*(columns[at] for at in self.repeating), *names, strict=True)
        ] or [()] * len(spans)
        numbers = []
        for raws in by_span:
            number = self.numbers.get(raws)
            if number is None:
                number = (
                    self.shape.sort(raws[:-1], raws[-1])
                    if self.has_name
                    else self.shape.sort(raws, b"")
                )
                if number != Outcome.SORTS:
                    self.numbers[raws] = number
            numbers.append(number)
        if agents := self.shape.agents:
            return [
                Outcome.AGENT if number in agents and span.kind == CLIENT else number
                for span, number in zip(spans, numbers, strict=True)
            ]
        return numbers


def _outcome_of_ids(span: Any) -> int:
    if (
        len(span.trace_id) != _TRACE_ID
        or len(span.span_id) != _SPAN_ID
        or len(span.parent_span_id) not in (0, _SPAN_ID)
        or max(span.start_time_unix_nano, span.end_time_unix_nano) >= _MAX_TIME_NS
    ):
        return Outcome.IDS
    return 0


class Decoder:
    """Gathers the columns of the spans of several requests.

    `refused` counts the spans that left, by `Outcome`; `not_calls` those that are none.
    """

    def __init__(self, shapes: Shapes) -> None:
        self.refused: Counter[str] = Counter()
        self.not_calls = 0
        self._shapes = shapes
        self._open: dict[Shape, _Columns] = {}
        self._rows_before: dict[Shape, int] = {}

    def add(self, body: bytes, request: int) -> list[bytes]:
        """Take a request's spans in; return requests of those that are to be read one by one.

        `request` is the number that its rows get. Raises `DecodeError`, and takes none in, if the
        bytes are no ExportTraceServiceRequest.
        """
        self._rows_before = {}
        try:
            scopes = [
                (resource, scope, self._shapes.origin(resource, scope.scope))
                for of_resource in wire.Export.FromString(body).of_resources
                for resource in (of_resource.resource,)
                # a resource without scopes must be readable as well
                for scope in map(wire.ScopeSpans.FromString, of_resource.of_scopes or [b""])
            ]
        except ProtobufError as error:
            raise DecodeError(f"not an OTLP ExportTraceServiceRequest: {error}") from None
        outcomes: Counter[int] = Counter()
        leaving = []
        try:
            for resource, scope, origin in scopes:
                of_scope = self._put(origin, scope.spans, request)
                outcomes.update(of_scope)
                spans = [
                    span
                    for span, outcome in zip(scope.spans, of_scope, strict=True)
                    if outcome < Outcome.NOT_A_CALL
                ]
                if spans:
                    leaving.append(_request(resource, scope.scope, spans))
        except BaseException:
            for shape, rows in self._rows_before.items():
                self._open[shape].cut(rows)
            raise
        self.not_calls += outcomes[Outcome.NOT_A_CALL]
        self.refused += refusals(outcomes)
        return leaving

    @property
    def rows(self) -> int:
        """How many rows there are since the last `take`."""
        return sum(len(columns.sorts) for columns in self._open.values())

    def take(self) -> list[Part]:
        """Return the columns of every shape that has some, and begin anew."""
        parts = [columns.take() for columns in self._open.values() if columns.sorts]
        self._open = {}
        self._shapes.renew()
        return parts

    def _put(self, origin: Origin, spans: Sequence[Any], request: int) -> list[int]:
        """Take the spans of a scope in; return the `Outcome` of each, 0 for those taken in."""
        if not spans:
            return []
        attributes = [list(span.attributes) for span in spans]
        failed = [span.status.code == _ERROR for span in spans]
        if any(failed):
            for span, raws, is_failed in zip(spans, attributes, failed, strict=True):
                if is_failed and not any(raw.startswith(_ERROR_PREFIX) for raw in raws):
                    raws.extend(filter(None, (error_attribute(span.status.message),)))
        if len({*map(len, attributes)}) == 1:
            shape = self._shape(origin, attributes[0])
            if isinstance(shape, Shape):
                columns: list[_Raws] = [*zip(*attributes, strict=True)]
                state = self._columns(shape)
                if state.are_of(columns):
                    return state.put(spans, failed, columns, request)
        groups: dict[Shape, list[int]] = {}
        outcomes = [0] * len(spans)
        for at, raws in enumerate(attributes):
            shape = self._shape(origin, raws)
            if isinstance(shape, Shape):
                groups.setdefault(shape, []).append(at)
            else:
                outcomes[at] = shape
        for shape, places in groups.items():
            state = self._columns(shape)
            if not state.are_of([*zip(*(attributes[at] for at in places), strict=True)]):
                for at in places:
                    if not state.are_of([[raw] for raw in attributes[at]]):
                        outcomes[at] = Outcome.ATTRIBUTE
            rest = [at for at in places if not outcomes[at]]
            if rest:
                of_group = state.put(
                    [spans[at] for at in rest],
                    [failed[at] for at in rest],
                    [*zip(*(attributes[at] for at in rest), strict=True)],
                    request,
                )
                for at, outcome in zip(rest, of_group, strict=True):
                    outcomes[at] = outcome
        return outcomes

    def _shape(self, origin: Origin, raws: _Raws) -> Shape | Outcome:
        keys = _keys(raws)
        return Outcome.ATTRIBUTE if keys is None else self._shapes.shape(origin, keys)

    def _columns(self, shape: Shape) -> _Columns:
        if shape.reader is None:
            shape.reader = _Columns(shape)
        columns: _Columns = self._open.setdefault(shape, shape.reader)
        self._rows_before.setdefault(shape, len(columns.sorts))
        return columns


def _request(resource: bytes, scope: bytes, spans: Sequence[Any]) -> bytes:
    of_scope = wire.ScopeSpans(scope=scope, spans=spans)
    export = wire.Export()
    export.of_resources.add(resource=resource, of_scopes=[of_scope.SerializeToString()])
    raw: bytes = export.SerializeToString()
    return raw


def remainders(ids: bytes, prime: int) -> tuple[bytes, bytes, bytes]:
    """Return the remainders of each row's trace, of trace and span, of trace and parent.

    As bytes of uint64; a row without a parent has what its eight zeros give.
    """
    number = int.from_bytes
    starts = range(0, len(ids), ID_BYTES)
    traces = [number(ids[at : at + 16]) % prime for at in starts]
    spans = [number(ids[at : at + 24]) % prime for at in starts]
    parents = [
        (trace << 64 | number(ids[at + 24 : at + 32])) % prime
        for at, trace in zip(starts, traces, strict=True)
    ]
    columns = [array("Q", column).tobytes() for column in (traces, spans, parents)]
    return columns[0], columns[1], columns[2]
