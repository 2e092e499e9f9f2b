import gzip
import itertools
import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallyspan.framing.encoding import UnreadableCodingError, decoder
from tallyspan.framing.lines import JsonLines, ServerSentEvents
from tallyspan.framing.whole import Whole

ANY = re.compile(rb"usage")
EVENTS = (
    b': comment\n\ndata: {"id":1}\n\nevent: x\ndata: {"delta":"usage?"}\n\n'
    b'data: {"delta":2}\n\ndata:{"usage":\ndata: {}}\n\ndata: [DONE]\n\n'
)
FOUND = [b'{"id":1}', b'{"delta":"usage?"}', b'{"usage":\n{}}']


def cut(body: bytes, places: list[int]) -> list[bytes]:
    borders = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
    return [body[a:b] for a, b in itertools.pairwise(borders)]


def read(framing: ServerSentEvents | JsonLines | Whole, chunks: list[bytes]) -> list[bytes]:
    found = [data for chunk in chunks for data in framing.feed(chunk)]
    return found + framing.end()


@given(st.lists(st.integers(0, 500)), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_events_do_not_depend_on_cuts_or_line_ends(places: list[int], end: bytes) -> None:
    body = EVENTS.replace(b"\n", end)

    assert read(ServerSentEvents(ANY), cut(body, places)) == FOUND


def test_every_single_cut_gives_the_same_events() -> None:
    for place in range(len(EVENTS)):
        assert read(ServerSentEvents(ANY), [EVENTS[:place], EVENTS[place:]]) == FOUND


def test_a_last_event_without_a_blank_line_counts() -> None:
    assert read(ServerSentEvents(ANY), [b'data: {"id":1}\n\ndata: {"usage":1}']) == [
        b'{"id":1}',
        b'{"usage":1}',
    ]


@given(st.lists(st.integers(0, 500)))
def test_json_lines_do_not_depend_on_cuts(places: list[int]) -> None:
    body = b'{"n":1}\n\n{"n":2}\n{"usage":3}\n{"usage":4}'

    assert read(JsonLines(ANY), cut(body, places)) == [b'{"n":1}', b'{"usage":3}', b'{"usage":4}']


@given(st.binary(max_size=200), st.lists(st.integers(0, 500)))
def test_any_bytes_pass_without_an_exception(body: bytes, places: list[int]) -> None:
    for framing in (ServerSentEvents(ANY), JsonLines(ANY), Whole()):
        read(framing, cut(body, places))


def test_an_endless_line_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallyspan.framing.lines.EVENT_LIMIT", 1000)
    framing = ServerSentEvents(ANY)
    for _ in range(100):
        framing.feed(b"x" * 100)

    assert sum(len(part) for part in framing._lines._parts) <= 1000


@given(st.binary(max_size=500), st.lists(st.integers(0, 500)), st.sampled_from(["gzip", "deflate"]))
def test_codings_are_taken_off_in_any_cut(body: bytes, places: list[int], coding: str) -> None:
    packed = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    unpack = decoder(coding)
    assert unpack is not None

    assert b"".join(unpack(chunk) for chunk in cut(packed, places)) == body


def test_an_unknown_coding_is_named() -> None:
    with pytest.raises(UnreadableCodingError, match="snappy"):
        decoder("snappy")
