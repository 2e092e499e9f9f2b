"""Streams of lines: server-sent events and newline-delimited JSON.

Source: WHATWG HTML, "Server-sent events": lines end with LF, CRLF or CR; `data:` lines of one event
join with LF; a line that starts with a colon is a comment; a blank line ends the event.

A stream is not cut into its lines. Needles (see `Interest`) are searched for in all bytes at hand,
and only the events around the matches are taken apart.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tallyspan.framing import EVERYTHING, Interest
from tallyspan.framing.bounded import Kept

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# The longest border has 4 bytes: so many of them may be at the end of the chunk before.
_SEAM_BYTES = 3


@dataclass(frozen=True, slots=True)
class Layout:
    """How a kind of stream is laid out.

    `borders`: byte strings that end an event wherever they are; a stream without carriage returns
    has the first one only. `texts` returns the JSON objects of a part between two borders, which
    holds whole events.
    """

    borders: tuple[bytes, ...]
    texts: Callable[[bytes], list[bytes]]


class Events:
    """Returns the first event of a stream and those of interest, however the network cuts.

    `_held`: what there is of an event that is not complete; of one that is too large nothing is
    read. `_seam`: its last bytes. `_needles`: what to search for; empty before the first event.
    """

    def __init__(self, layout: Layout, interest: Interest) -> None:
        self._layout = layout
        self._interest = interest
        self._held: Kept | None = None
        self._seam = b""
        self.is_cut = False
        self._needles: tuple[bytes, ...] = ()

    def anew(self) -> "Events":
        """Return a new one, for which every event is of interest."""
        return Events(self._layout, EVERYTHING)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; return the texts of the events they complete."""
        end = self._last_border(chunk) or self._border_in_seam(chunk)
        if end <= 0:
            self._hold(chunk)
            return []
        whole = self._complete(chunk[:end])
        self._hold(chunk[end:])
        return self._texts(whole)

    def end(self) -> list[bytes]:
        """Return the texts of what is left, though no border ended it."""
        return self._texts(self._complete(b""))

    def _hold(self, chunk: bytes) -> None:
        if not chunk:
            return
        self._seam = (self._seam + chunk[-_SEAM_BYTES:])[-_SEAM_BYTES:]
        if self._held is None:
            self._held = Kept()
        self._held.add(chunk)

    def _complete(self, chunk: bytes) -> bytes:
        held, seam = self._held, self._seam
        if held is None:
            return chunk
        self._held, self._seam = None, b""
        if held.is_cut:
            self.is_cut = True
            rest = seam + chunk
            return rest[_next(rest, 0, self._layout.borders) :]
        return held.text() + chunk

    def _border_in_seam(self, chunk: bytes) -> int:
        return self._last_border(self._seam + chunk[:_SEAM_BYTES]) - len(self._seam)

    def _last_border(self, body: bytes) -> int:
        for border in self._layout.borders:
            place = body.rfind(border)
            if place >= 0:
                return place + len(border)
        return 0

    def _texts(self, whole: bytes) -> list[bytes]:
        """Return the texts of the first event and of those of interest in the whole events."""
        borders = self._layout.borders if b"\r" in whole else self._layout.borders[:1]
        result: list[bytes] = []
        start = 0
        while not self._needles and start < len(whole):
            stop = _next(whole, start, borders)
            texts = self._layout.texts(whole[start:stop].removeprefix(_BYTE_ORDER_MARK))
            if texts:
                self._needles = self._interest.needles_by(texts[0])
                result = [texts[0], *filter(self._interest.is_in, texts[1:])]
            start = stop
        for part, is_latest in _parts(whole, start, borders, self._needles, self._interest):
            texts = self._layout.texts(part)
            result += texts if is_latest else filter(self._interest.is_in, texts)
        return result


def _parts(
    whole: bytes,
    start: int,
    borders: tuple[bytes, ...],
    needles: tuple[bytes, ...],
    interest: Interest,
) -> Iterator[tuple[bytes, bool]]:
    """Yield the events around each match, in order, and whether it is the match of `latest`."""
    matches: dict[int, tuple[int, bool]] = {}
    # Backwards, for most needles are absent, which `rfind` is quicker to see than `find`.
    places = dict.fromkeys(needles, len(whole))
    stop = len(whole)
    while stop > start:
        for needle, place in places.items():
            if place >= stop:
                places[needle] = whole.rfind(needle, start, stop)
        place = max(places.values())
        if place < 0:
            break
        stop = _last(whole, start, place, borders)
        matches[stop] = (_next(whole, place, borders), False)
    place = len(whole)
    while interest.latest and (place := whole.rfind(interest.latest_needle, start, place)) >= 0:
        first, last = _last(whole, start, place, borders), _next(whole, place, borders)
        if interest.latest.search(whole, first, last):
            matches[first] = (last, True)
            break
        place = first
    for first, (last, is_latest) in sorted(matches.items()):
        yield whole[first:last], is_latest


def _last(body: bytes, start: int, stop: int, borders: tuple[bytes, ...]) -> int:
    """Return where the last border between the two ends; `start` if there is none."""
    for border in borders:
        place = body.rfind(border, start, stop)
        if place >= 0:
            start = place + len(border)
    return start


def _next(body: bytes, start: int, borders: tuple[bytes, ...]) -> int:
    """Return where the next border ends; the body's length if there is none."""
    stop = len(body)
    for border in borders:
        place = body.find(border, start, stop)
        if place >= 0:
            stop = place + len(border)
    return stop


def _data(part: bytes) -> list[bytes]:
    events, data = [], []
    for line in [*part.splitlines(), b""]:
        if line.startswith(b"data:"):
            data.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif not line and data:
            events.append(b"\n".join(data))
            data = []
    return [text for text in events if text.lstrip().startswith(b"{")]


def _objects(part: bytes) -> list[bytes]:
    return [line for line in part.splitlines() if line.lstrip().startswith(b"{")]


_SERVER_SENT_EVENTS = Layout((b"\n\n", b"\r\n\r\n", b"\r\r"), _data)
_JSON_LINES = Layout((b"\n",), _objects)


def server_sent_events(interest: Interest) -> Events:
    """Return a reader of server-sent events."""
    return Events(_SERVER_SENT_EVENTS, interest)


def json_lines(interest: Interest) -> Events:
    """Return a reader of newline-delimited JSON."""
    return Events(_JSON_LINES, interest)
