"""The body of an answer: its bytes are collected as they pass, and read in batches.

A chunk costs the application an append to a list. The bytes are read when there is a batch of them
and when the body is over: one search through many events instead of one for each.
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
from tallyspan.stream_usage import HiddenUsage
from tallyspan.wire_format import Format

# Content types of streams; everything else is one JSON text, or no text.
STREAMS: dict[str, Callable[[Interest], Framing]] = {
    "text/event-stream": server_sent_events,
    "application/x-ndjson": json_lines,
    "application/x-jsonl": json_lines,
    "application/stream+json": json_lines,
    "application/vnd.amazon.eventstream": AwsEventStream,
}
NOT_TEXT = ("audio/", "image/", "video/", "application/octet-stream")
# Collected before they are read.
BATCH_BYTES = 32 << 10
# Of the plain body, kept by reference to count its tokens if it ends without usage.
MAX_KEPT_BYTES = 4 << 20


class Body:
    """Reads an answer from its body, and passes the bytes on; `feed` and `end` never raise.

    `answer`: what was read so far. `is_stream`: the content type is that of a stream of events.
    `first_chunk_at`: when the first bytes came, by `time.perf_counter`; None: none came.
    `hidden`: takes off the stream what the application did not want; None: it gets all bytes.
    """

    __slots__ = (
        "_decode", "_format", "_framing", "_kept", "_kept_bytes", "_read_event", "_room_bytes",
        "_unread", "answer", "first_chunk_at", "hidden", "is_stream",
    )  # fmt: skip

    def __init__(self, read_as: Format) -> None:
        self.answer = Answer()
        self.is_stream = False
        self.hidden: HiddenUsage | None = None
        self.first_chunk_at: float | None = None
        self._format = read_as
        self._read_event = read_as.open_reader()
        self._framing: Framing = Whole(read_as.interest)
        self._decode: Decoder | None = None
        self._unread: list[bytes] = []
        self._room_bytes = -1  # the first chunk is read at once, for its time
        self._kept: list[bytes] = []
        self._kept_bytes = 0

    def open(self, content_type: str, coding: str) -> None:
        """Take the headers' values. Raises `UnreadableCodingError`: then nothing is read."""
        kind = content_type.partition(";")[0].strip().lower()
        framing = STREAMS.get(kind)
        if framing is not None:
            self._framing = framing(self._format.interest)
            self.is_stream = True
        elif kind.startswith(NOT_TEXT):
            self._framing = Unread()
        self.unpack(coding)

    def unpack(self, coding: str) -> None:
        """Take off the content coding from here on. Raises `UnreadableCodingError`: as above."""
        try:
            self._decode = decoder(coding) if coding else None
        except Exception:
            self._framing = Unread()
            raise

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes as they came over the wire; return those for the application."""
        try:
            # A buffer may be written over before it is read, so it is copied; bytes cannot be.
            self._unread.append(chunk if chunk.__class__ is bytes else bytes(chunk))
            self._room_bytes -= len(chunk)
            if self._room_bytes < 0:
                self._read_batch()
        except Exception as error:  # noqa: BLE001  whatever it is, it is ours and not the application's
            note("read a chunk of an answer", error)
        return chunk if self.hidden is None else self.hidden.feed(chunk)

    def rest(self) -> bytes:
        """Return the bytes for the application that are held back at the end."""
        return b"" if self.hidden is None else self.hidden.end()

    def end(self) -> None:
        """Read what is left."""
        try:
            self._read_batch()
        except Exception as error:  # noqa: BLE001  as in `feed`
            note("read a chunk of an answer", error)
        try:
            for text in self._framing.end():
                self._read(text)
        except Exception as error:  # noqa: BLE001  as in `feed`
            note("read the end of an answer", error)

    def events(self) -> Iterator[Json]:
        """Yield every event of the body from its beginning; of a cut stream the whole ones."""
        again = self._framing.anew()
        for text in [*again.feed(b"".join(self._kept)), *again.end()]:
            with suppress(ValueError):
                body = parsed(text)
                yield from items(body) if isinstance(body, list) else items([body])

    def _read_batch(self) -> None:
        if not self._unread:
            return
        if self.first_chunk_at is None:
            self.first_chunk_at = time.perf_counter()
        packed, self._unread, self._room_bytes = b"".join(self._unread), [], BATCH_BYTES
        plain = packed if self._decode is None else self._decoded(self._decode, packed)
        if self.answer.usage is None or self._format.opens_with_usage:
            self._kept_bytes += len(plain)
            if self._kept_bytes <= MAX_KEPT_BYTES:
                self._kept.append(plain)
        for text in self._framing.feed(plain):
            self._read(text)

    def _decoded(self, decode: Decoder, packed: bytes) -> bytes:
        try:
            return decode(packed)
        except Exception:
            self._framing = Unread()  # nothing after the damage can be read
            self._decode = None
            raise

    def _look_for_text(self, event: Json) -> None:
        """Note that a model has begun to answer, where the format's events have no id."""
        answer = self.answer
        if not (answer.has_text or answer.response_id or answer.usage or answer.finish_reasons):
            answer.has_text = self._format.has_text(event)

    def _read(self, text: bytes) -> None:
        try:
            body = parsed(thinned(text))
            for part in items(body) if isinstance(body, list) else [body]:
                self._read_event(part, self.answer)
                self._look_for_text(part)
        except Exception as error:  # noqa: BLE001  as in `feed`
            note("read an event of an answer", error)
