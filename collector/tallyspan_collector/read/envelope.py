"""The outer layers of an OTLP request, walked by tags and lengths: nothing in them is parsed.

An export request of any signal has the same layers (`wire.Export`): resources, in them scopes, in
them spans or records. What a request may consist of is bounded here, while it is walked: a few
kilobytes of compressed empty messages would be gigabytes of objects. Source: protobuf,
"Encoding", and opentelemetry-proto.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tallyspan_collector.errors import DecodeError

MAX_ITEMS = 100_000
"""Spans or log records in a request; and, counted apart, resources and scopes."""
MIN_BYTES = 30
"""Bytes that an item has at least, on average: the ids and times of a span are 46."""
UNMEASURED_ITEMS = 1_000
"""Items that may be smaller than that."""
WHOLE_BYTES, PIECE_BYTES = 1 << 20, 1 << 18
"""A scope up to the one is parsed at once, a larger one in pieces: each holds the interpreter."""
MAX_FIELDS = 50_000
"""Attributes and other fields in a span or record of more than `LARGE_BYTES`."""
LARGE_BYTES = 1 << 16
_RESOURCE, _SCOPE, _ITEM = 0x0A, 0x12, 0x12
"""Tags: the resources of a request, the scopes of a resource, the spans or records of a scope."""
_CONTAINERS = "resources and scopes"
_LENGTH, _GROUP, _GROUP_END = 2, 3, 4
_LONG_OR_KIND = 0x87
"""Bits of the first byte of a tag: whether more bytes follow, and the kind of the field."""
_VARINT_BYTES, _TAG_BYTES, _MAX_GROUPS = 10, 5, 100
_MAX_TAG = (1 << 32) - 1
_WINDOW_BYTES = 1 << 20
Part = tuple[int, int]
"""Offsets into the body: the first byte of a field's tag, and the byte after its end."""
_Field = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Scope:
    """A scope of a request, by offsets into the body; `left_out` are spans or records in it."""

    start: int
    content: int
    end: int
    left_out: Sequence[Part] = ()


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource of a request; `others` are its fields that are no scopes."""

    others: list[Part]
    scopes: list[Scope]


def resources(body: bytes) -> list[Resource]:
    """Return the resources of a request. Raises `DecodeError`: it is unsound or of too many."""
    result: list[Resource] = []
    containers = 0
    for _, tag, content, end in fields(body, 0, len(body)):
        if tag != _RESOURCE:
            continue
        resource = Resource([], [])
        result.append(resource)
        containers += 1
        check_items(containers, end, _CONTAINERS)
        for start, inner_tag, inner_content, inner_end in fields(body, content, end):
            if inner_tag == _SCOPE:
                resource.scopes.append(Scope(start, inner_content, inner_end))
            else:
                resource.others.append((start, inner_end))
            containers += 1
            check_items(containers, inner_end, _CONTAINERS)
    return result


def joined(body: bytes, kept: Sequence[Resource]) -> bytes:
    """Return a request of these resources and scopes of the body, less what is left out."""
    return b"".join(
        _delimited(
            _RESOURCE,
            *(body[start:end] for start, end in resource.others),
            *(_scope(body, scope) for scope in resource.scopes),
        )
        for resource in kept
    )


def _scope(body: bytes, scope: Scope) -> bytes:
    if not scope.left_out:
        return body[scope.start : scope.end]
    parts, at = [], scope.content
    for start, end in scope.left_out:
        parts.append(body[at:start])
        at = end
    return _delimited(_SCOPE, *parts, body[at : scope.end])


def _delimited(tag: int, *parts: bytes) -> bytes:
    size = sum(map(len, parts))
    head = bytearray([tag])
    while size > 0x7F:  # noqa: PLR2004  seven bits a byte
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return b"".join([bytes(head), *parts])


def check_items(count: int, walked_bytes: int, name: str) -> None:
    """Raise `DecodeError` if so many bytes of a request hold more items than they may."""
    if count > UNMEASURED_ITEMS + walked_bytes // MIN_BYTES:
        raise DecodeError(f"{count} {name} in {walked_bytes} bytes: they are empty")
    if count > MAX_ITEMS:
        raise DecodeError(f"more than {MAX_ITEMS} {name} in a request: send smaller batches")


Search = Callable[[bytes, int, int, tuple[bytes, ...]], bool]
"""`has_any`, or what does the same."""


def has_any(body: bytes, start: int, end: int, needles: tuple[bytes, ...]) -> bool:
    """Whether the part of a body has one of these texts, of at most 64 bytes."""
    # By windows: a search holds the interpreter, and other senders wait for as long.
    for window in range(start, end, _WINDOW_BYTES):
        window_end = min(end, window + _WINDOW_BYTES + 64)
        for needle in needles:
            if body.find(needle, window, window_end) >= 0:
                return True
    return False


def pieces(body: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a scope's content, each of whole fields and `PIECE_BYTES` at most.

    A span or record that is larger is a part of its own. Raises `DecodeError` if one has too many
    fields, or the content is unsound.
    """
    if end - start <= WHOLE_BYTES:
        yield start, end
        return
    begin = start
    for at, tag, content, field_end in fields(body, start, end):
        if tag == _ITEM and field_end - content > LARGE_BYTES:
            for number, _ in enumerate(fields(body, content, field_end)):
                if number >= MAX_FIELDS:
                    raise DecodeError(f"more than {MAX_FIELDS} fields in a span or record")
        if field_end - begin > PIECE_BYTES and at > begin:
            yield begin, at
            begin = at
    yield begin, end


def items(content: bytes) -> list[Part]:
    """Return where in a scope's content its spans or records are."""
    return [(at, stop) for at, tag, _, stop in fields(content, 0, len(content)) if tag == _ITEM]


def fields(body: bytes, position: int, end: int) -> Iterator[_Field]:
    """Yield the fields of a message: offset, tag, offset of the content, end.

    Raises `DecodeError` where protobuf's parser would refuse the message.
    """
    while position < end:
        start = position
        tag = body[start]
        content = start + 2
        if tag & _LONG_OR_KIND == _LENGTH and tag > _LENGTH and content <= end:
            size = body[start + 1]
            if size > 0x7F:  # noqa: PLR2004  a length of two bytes or more
                if content < end and body[content] <= 0x7F:  # noqa: PLR2004  of two
                    size = size & 0x7F | body[content] << 7
                    content += 1
                else:
                    size, content = _varint(body, start + 1, end, _VARINT_BYTES)
            position = content + size
        else:
            tag, content, position = _rare(body, start, end)
        if position > end:
            raise DecodeError("a field is longer than the message it is in")
        yield start, tag, content, position


def _rare(body: bytes, start: int, end: int) -> tuple[int, int, int]:
    """Return tag, offset of the content and end of a field of any kind."""
    tag, content = _varint(body, start, end, _TAG_BYTES)
    if tag < 8 or tag > _MAX_TAG:  # noqa: PLR2004  field numbers begin at 1
        raise DecodeError("a field without a number")
    match tag & 7:
        case 0:  # an integer
            _, position = _varint(body, content, end, _VARINT_BYTES)
        case 1:
            position = content + 8
        case 2:  # text, bytes or a message
            size, content = _varint(body, content, end, _VARINT_BYTES)
            position = content + size
        case 3:
            position = _group_end(body, content, end, tag)
        case 5:
            position = content + 4
        case kind:
            raise DecodeError(f"a field of kind {kind}")
    return tag, content, position


def _varint(body: bytes, position: int, end: int, max_bytes: int) -> tuple[int, int]:
    number = shift = 0
    for at in range(position, min(end, position + max_bytes)):
        byte = body[at]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004  the last byte of a number
            return number, at + 1
        shift += 7
    raise DecodeError("a number has no end")


def _group_end(body: bytes, position: int, end: int, tag: int) -> int:
    """Return the end of a group, an old way to nest messages that OTLP does not use."""
    open_tags = [tag]
    while open_tags:
        if len(open_tags) > _MAX_GROUPS:
            raise DecodeError("groups are nested too deeply")
        tag, after_tag = _varint(body, position, end, _TAG_BYTES)
        if tag & 7 == _GROUP:
            open_tags.append(tag)
            position = after_tag
        elif tag & 7 == _GROUP_END:
            if open_tags.pop() >> 3 != tag >> 3:
                raise DecodeError("a group has the end of another one")
            position = after_tag
        else:
            *_, position = next(fields(body, position, end))
    return position
