"""The body of an answer: noted as it passes, read in batches.

A chunk costs the application an append to a list. What was noted is read when there is a batch of
it, and when the body is over: one search through many events instead of one for each.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from tallyspan.answer import Answer, Json, items, parsed
from tallyspan.framing import Framing, Interest
from tallyspan.framing.aws_eventstream import AwsEventStream
from tallyspan.framing.encoding import Decoder, decoder
from tallyspan.framing.lines import json_lines, server_sent_events
from tallyspan.framing.whole import Unread, Whole, thinned
from tallyspan.guard import note
from tallyspan.wire_format import Format

STREAMS: dict[str, Callable[[Interest], Framing]] = {
    "text/event-stream": server_sent_events,
    "application/x-ndjson": json_lines,
    "application/stream+json": json_lines,
    "application/vnd.amazon.eventstream": AwsEventStream,
}
"""Content types of streams; everything else is one JSON text."""
NOT_TEXT = ("audio/", "image/", "video/", "application/octet-stream")
BATCH_BYTES = 32 << 10
"""Bytes that are noted before they are read."""
KEPT_BYTES_LIMIT = 4 << 20
"""Bytes of a stream kept by reference, for counting tokens if it ends without usage."""


class Body:
    """Reads an answer from its body; `feed` and `end` never raise."""

    __slots__ = (
        "_answer", "_decode", "_format", "_framing", "_kept", "_kept_bytes", "_noted",
        "_read_event", "_room", "first_chunk", "is_stream",
    )  # fmt: skip

    def __init__(self, read_as: Format, answer: Answer) -> None:
        self._format = read_as
        self._read_event = read_as.reader()
        self._answer = answer
        self._framing: Framing = Whole(read_as.interest)
        self._decode: Decoder | None = None
        self._noted: list[bytes] = []
        self._room = -1
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self.is_stream = False
        """Whether the content type says that the body is a stream of events."""
        self.first_chunk: float | None = None
        """When the first bytes came, by `time.perf_counter`."""

    def open(self, content_type: str, coding: str) -> None:
        """Take what the headers say. Raises `UnreadableCodingError`: then nothing is read."""
        self._open(content_type)
        self.unpack(coding)

    def unpack(self, coding: str) -> None:
        """Take off the content coding from here on. Raises `UnreadableCodingError`: as above."""
        try:
            self._decode = decoder(coding)
        except Exception:
            self._framing = Unread()
            raise

    def _open(self, content_type: str) -> None:
        kind = content_type.partition(";")[0].strip().lower()
        framing = STREAMS.get(kind)
        if framing is not None:
            self._framing = framing(self._format.interest)
            self.is_stream = True
        elif kind.startswith(NOT_TEXT):
            self._framing = Unread()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes as they came over the wire."""
        try:
            # The memory under anything but bytes may be used again before it is read.
            self._noted.append(chunk if chunk.__class__ is bytes else bytes(chunk))
            self._room -= len(chunk)
            if self._room < 0:
                self._read_noted()
        except Exception as error:  # noqa: BLE001  whatever it is, it is ours and not the application's
            note("read a chunk of an answer", error)

    def end(self) -> None:
        """Read what is left."""
        try:
            self._read_noted()
        except Exception as error:  # noqa: BLE001  as in `feed`
            note("read a chunk of an answer", error)
        try:
            for text in self._framing.end():
                self._read(text)
        except Exception as error:  # noqa: BLE001  as in `feed`
            note("read the end of an answer", error)

    def events(self) -> Iterator[Json]:
        """Yield all that was said and is kept, anew; of a stream that was cut the whole events."""
        again = self._framing.anew()
        for text in [*again.feed(b"".join(self._kept)), *again.end()]:
            with suppress(ValueError):
                body = parsed(text)
                yield from items(body) if isinstance(body, list) else items([body])

    def _read_noted(self) -> None:
        if not self._noted:
            return
        if self.first_chunk is None:
            self.first_chunk = time.perf_counter()
        noted, self._noted, self._room = b"".join(self._noted), [], BATCH_BYTES
        plain = noted if self._decode is None else self._unpacked(noted)
        if self._answer.usage is None or self._format.opens_with_usage:
            self._kept_bytes += len(plain)
            if self._kept_bytes <= KEPT_BYTES_LIMIT:
                self._kept.append(plain)
        for text in self._framing.feed(plain):
            self._read(text)

    def _unpacked(self, packed: bytes) -> bytes:
        decode = self._decode or bytes
        try:
            return decode(packed)
        except Exception:
            self._framing = Unread()  # nothing after the damage can be read
            self._decode = None
            raise

    def _read(self, text: bytes) -> None:
        try:
            body = parsed(thinned(text))
            for part in items(body) if isinstance(body, list) else [body]:
                self._read_event(part, self._answer)
        except Exception as error:  # noqa: BLE001  as in `feed`
            note("read an event of an answer", error)
