import gzip
import itertools
import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallyspan.framing import Interest
from tallyspan.framing.encoding import UnreadableCodingError, unpacker
from tallyspan.framing.lines import Events, json_lines, server_sent_events
from tallyspan.framing.whole import Whole

ANY = Interest((b"usage",))
EVENTS = (
    b': comment\n\ndata: {"id":1}\n\nevent: x\ndata: {"delta":"usage?"}\n\n'
    b'data: {"delta":2}\n\ndata:{"usage":\ndata: {}}\n\ndata: [DONE]\n\n'
)
FOUND = [b'{"id":1}', b'{"delta":"usage?"}', b'{"usage":\n{}}']


def cut(body: bytes, places: list[int]) -> list[bytes]:
    borders = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
    return [body[a:b] for a, b in itertools.pairwise(borders)]


def read(framing: Events | Whole, chunks: list[bytes]) -> list[bytes]:
    found = [data for chunk in chunks for data in framing.feed(chunk)]
    return found + framing.end()


@given(st.lists(st.integers(0, 500)), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_events_do_not_depend_on_cuts_or_line_ends(places: list[int], end: bytes) -> None:
    body = EVENTS.replace(b"\n", end)

    assert read(server_sent_events(ANY), cut(body, places)) == FOUND


def test_every_single_cut_gives_the_same_events() -> None:
    for place in range(len(EVENTS)):
        assert read(server_sent_events(ANY), [EVENTS[:place], EVENTS[place:]]) == FOUND


def test_a_last_event_without_a_blank_line_counts() -> None:
    assert read(server_sent_events(ANY), [b'data: {"id":1}\n\ndata: {"usage":1}']) == [
        b'{"id":1}',
        b'{"usage":1}',
    ]


PIECES = [b'data: {"usage":1}', b'data: {"x":2}', b'data:{"a":', b"data: 3}", b": usage", b"event: usage",
          b"data: [DONE]", b"data", b"", b"", b""]  # fmt: skip
ENDS = [b"\n", b"\r\n", b"\r"]


def by_the_letter(body: bytes) -> list[bytes]:
    """The events as the standard has them: line by line, over the whole body."""
    events: list[bytes] = []
    data: list[bytes] = []
    for line in [*body.splitlines(), b""]:
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            events.append(b"\n".join(data))
            data = []
    objects = [event for event in events if event.startswith(b"{")]
    return objects[:1] + [event for event in objects[1:] if b"usage" in event]


@given(
    st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(ENDS)), max_size=30),
    st.lists(st.integers(0, 500)),
)
def test_events_are_those_of_the_standard_though_lines_end_in_all_ways(
    lines: list[tuple[bytes, bytes]], places: list[int]
) -> None:
    body = b"".join(line + end for line, end in lines)

    assert read(server_sent_events(ANY), cut(body, places)) == by_the_letter(body)


def test_a_byte_order_mark_and_spaces_before_the_object_are_no_part_of_it() -> None:
    body = b'\xef\xbb\xbfdata:  {"id":1}\n\ndata:\t{"usage":1}\n\n'

    assert read(server_sent_events(ANY), [body]) == [b' {"id":1}', b'\t{"usage":1}']


@given(st.lists(st.integers(0, 5000)), st.integers(0, 60))
def test_of_growing_counts_the_last_at_hand_is_read_and_of_reasons_every_one(
    places: list[int], count: int
) -> None:
    events = [b'data: {"id":0}\n\n', b'data: {"reason":1}\n\n']
    events += [b'data: {"tokens":%d}\n\n' % number for number in range(count)]
    events += [b'data: {"tokens":null}\n\n', b'data: {"reason":2}\n\n']
    growing = Interest((b'"reason"',), b"tokens", re.compile(rb'tokens":[0-9]'))
    found = read(server_sent_events(growing), cut(b"".join(events), places))
    tokens = [text for text in found if b"tokens" in text]

    assert tokens[-1:] == [b'{"tokens":%d}' % (count - 1)] * bool(count)
    assert [text for text in found if b"reason" in text] == [b'{"reason":1}', b'{"reason":2}']


def test_the_event_after_one_that_is_too_large_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallyspan.framing.bounded.MAX_KEPT_BYTES", 1000)
    framing = server_sent_events(ANY)
    chunks = [b'data: {"id":1}\n\ndata: {"usage":"', *[b"x" * 100] * 50]

    assert read(framing, [*chunks, b'"}\n', b'\ndata: {"usage":2}\n\n']) == [
        b'{"id":1}',
        b'{"usage":2}',
    ]


@given(st.lists(st.integers(0, 500)))
def test_json_lines_do_not_depend_on_cuts(places: list[int]) -> None:
    body = b'{"n":1}\n\n{"n":2}\n{"usage":3}\n{"usage":4}'

    assert read(json_lines(ANY), cut(body, places)) == [b'{"n":1}', b'{"usage":3}', b'{"usage":4}']


@given(st.binary(max_size=200), st.lists(st.integers(0, 500)))
def test_any_bytes_pass_without_an_exception(body: bytes, places: list[int]) -> None:
    for framing in (server_sent_events(ANY), json_lines(ANY), Whole(ANY)):
        read(framing, cut(body, places))


def test_an_endless_line_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallyspan.framing.bounded.MAX_KEPT_BYTES", 1000)
    framing = server_sent_events(ANY)
    for _ in range(100):
        framing.feed(b"x" * 100)

    assert framing._held is not None
    assert len(framing._held.text()) <= 2000


@given(st.binary(max_size=500), st.lists(st.integers(0, 500)), st.sampled_from(["gzip", "deflate"]))
def test_codings_are_taken_off_in_any_cut(body: bytes, places: list[int], coding: str) -> None:
    packed = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    unpack = unpacker(coding)
    assert unpack is not None

    assert b"".join(piece for chunk in cut(packed, places) for piece in unpack(chunk)) == body


GZIP = gzip.compress(b"one ")
PACKED = {
    "several members": ("gzip", GZIP + gzip.compress(b"two"), b"one two"),
    "something behind": ("gzip", GZIP + b"behind", b"one "),
    "bare deflate": ("deflate", zlib.compress(b"one ", wbits=-15), b"one "),
    "two codings": ("deflate, gzip", gzip.compress(zlib.compress(b"one ")), b"one "),
}


@given(st.sampled_from(sorted(PACKED)), st.lists(st.integers(0, 100)))
def test_codings_as_servers_send_them_are_taken_off_in_any_cut(
    name: str, places: list[int]
) -> None:
    coding, packed, body = PACKED[name]
    unpack = unpacker(coding)
    assert unpack is not None

    assert b"".join(piece for chunk in cut(packed, places) for piece in unpack(chunk)) == body


def test_an_unknown_coding_is_named() -> None:
    with pytest.raises(UnreadableCodingError, match="snappy"):
        unpacker("snappy")
