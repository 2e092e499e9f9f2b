"""The body of an answer: its bytes are collected as they pass, and read in batches.

A chunk costs the application an append to a list. The bytes are read when there is a batch of them
and after the body is over: one search through many events instead of one for each. What reading
needs is not there before.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from tallyspan.answer import Answer, Json, items, parsed
from tallyspan.framing import Framing, Interest
from tallyspan.framing.aws_eventstream import AwsEventStream
from tallyspan.framing.bounded import readable
from tallyspan.framing.encoding import Unpack, unpacker
from tallyspan.framing.lines import json_lines, server_sent_events
from tallyspan.framing.whole import Unread, Whole
from tallyspan.guard import note
from tallyspan.stream_usage import HiddenUsage
from tallyspan.usage_keys import leave_unread
from tallyspan.wire_format import Estimate, Format, Read

# Content types of streams; everything else is one JSON text, or no text.
STREAMS: dict[str, Callable[[Interest], Framing]] = {
    "text/event-stream": server_sent_events,
    "application/x-ndjson": json_lines,
    "application/x-jsonl": json_lines,
    "application/stream+json": json_lines,
    "application/vnd.amazon.eventstream": AwsEventStream,
}


def unread(_interest: Interest) -> Framing:
    """Return what reads nothing."""
    return Unread()


NOT_TEXT = ("audio/", "image/", "video/", "application/octet-stream")
# Collected before they are read, each chunk with so many bytes for itself.
BATCH_BYTES = 256 << 10
CHUNK_BYTES = 64
# Read at once, of a chunk that is larger.
PART_BYTES = 256 << 10
# Of the plain body, kept by reference to count its tokens if it ends without usage.
MAX_KEPT_BYTES = 4 << 20
# What a packed body may become: so much, and so much more for each byte of it.
MAX_UNPACKED_BYTES = 8 << 20
MAX_UNPACKED_A_BYTE = 32


class TooLargeError(Exception):
    """What is too large to be read; the message says what it is."""


class Body:
    """Reads an answer from its body, and passes the bytes on; `feed` and `end` never raise.

    `answer`: what was read so far. `is_stream`: the content type is that of a stream of events.
    `first_chunk_at`: when the first bytes came, by `time.perf_counter`; None: none came.
    `hidden`: takes off the stream what the application did not want; None: it gets all bytes.
    `unread`: chunks to be read. A transport that has `bytes` may append them itself as long as they
    are no more than `room_bytes` together, with `CHUNK_BYTES` for each; the next one it feeds, and
    sets `room_bytes` to -1 before. `on_results` is called when there are results of a batch that
    need not wait for the others.
    """

    __slots__ = (
        "_format", "_framing", "_kept", "_kept_bytes", "_open_framing", "_read_bytes",
        "_read_event", "_unpack", "_unpacked_room", "answer", "first_chunk_at", "hidden",
        "is_stream", "on_results", "room_bytes", "unread",
    )  # fmt: skip

    def __init__(self, read_as: Format) -> None:
        self.answer = Answer()
        self.is_stream = False
        self.hidden: HiddenUsage | None = None
        self.first_chunk_at: float | None = None
        self._format = read_as
        self._open_framing: Callable[[Interest], Framing] = read_as.framing or Whole
        self.on_results: Callable[[], None] | None = None
        self._framing: Framing | None = None
        self._read_event: Read | None = None
        self._unpack: Unpack | None = None
        self._unpacked_room = MAX_UNPACKED_BYTES
        self.unread: list[bytes] = []
        self.room_bytes = -1  # until the first chunk has come
        self._read_bytes = 0
        self._kept: list[bytes] = []
        self._kept_bytes = 0

    def open(self, content_type: str, coding: str) -> None:
        """Take the headers' values. Raises `UnreadableCodingError`: then nothing is read."""
        kind = content_type.partition(";")[0].strip().lower()
        framing = STREAMS.get(kind)
        if self._format.framing is not None:
            pass
        elif framing is not None:
            self._open_framing = framing
            self.is_stream = True
        elif kind.startswith(NOT_TEXT):
            self._open_framing = unread
        if coding:
            self.unpack(coding)

    def unpack(self, coding: str) -> None:
        """Take off the content coding from here on. Raises `UnreadableCodingError`: as above."""
        try:
            self._unpack = unpacker(coding)
        except Exception:
            self._give_up()
            raise

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes as they came over the wire; return those for the application."""
        try:
            # A buffer may be written over before it is read, so it is copied; bytes cannot be.
            data = chunk if chunk.__class__ is bytes else bytes(chunk)
            room = self.room_bytes - len(data) - CHUNK_BYTES
            if room < 0:
                self._read_up_to(data)
            else:
                self.room_bytes = room
                self.unread.append(data)
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
        framing = self._framing
        if framing is None:
            return
        try:
            for text in framing.end():
                self._read(text)
            if framing.is_cut:
                self.leave_out("a large text, or event of a stream")
        except Exception as error:  # noqa: BLE001  as in `feed`
            note("read the end of an answer", error)

    def events(self) -> Iterator[Json]:
        """Yield every event of the body from its beginning; of a cut stream the whole ones."""
        again = (self._framing or self._open_framing(self._format.interest)).anew()
        for text in [*again.feed(b"".join(self._kept)), *again.end()]:
            with suppress(ValueError, RecursionError):
                body = parsed(readable(text)[0])
                yield from items(body) if isinstance(body, list) else items([body])

    @property
    def passed_bytes(self) -> int:
        """How many bytes have come so far."""
        return self._read_bytes + sum(map(len, self.unread))

    def _read_up_to(self, data: bytes) -> None:
        """Take bytes that begin the body, or for which the batch has no room."""
        if self.first_chunk_at is None:
            self.first_chunk_at = time.perf_counter()
        else:
            self._read_batch()
        self.unread.append(data)
        self.room_bytes = BATCH_BYTES - len(data) - CHUNK_BYTES
        if self.room_bytes < 0:
            self._read_batch()  # so that large data are not copied into a batch

    def _read_batch(self) -> None:
        if not self.unread:
            return
        batch = b"".join(self.unread)
        self.unread.clear()
        self.room_bytes = BATCH_BYTES
        self._read_bytes += len(batch)
        if self._unpack is None and len(batch) <= PART_BYTES:
            self._take(batch)
            return
        for start in range(0, len(batch), PART_BYTES):
            part = batch[start : start + PART_BYTES]
            if self._unpack is None:
                self._take(part)
            else:
                self._take_unpacked(self._unpack, part)

    def _give_up(self) -> None:
        """Read nothing of what is to come."""
        self._framing, self._open_framing, self._unpack = None, unread, None

    def _take(self, plain: bytes) -> None:
        is_counted = isinstance(self._format.estimate, Estimate)
        if is_counted and (self.answer.usage is None or self._format.opens_with_usage):
            self._kept_bytes += len(plain)
            if self._kept_bytes <= MAX_KEPT_BYTES:
                self._kept.append(plain)
        framing = self._framing
        if framing is None:
            framing = self._framing = self._open_framing(self._format.interest)
        for text in framing.feed(plain):
            self._read(text)
        batch = self.answer.batch
        if batch is not None and batch.has_full and self.on_results is not None:
            self.on_results()

    def _take_unpacked(self, unpack: Unpack, packed: bytes) -> None:
        self._unpacked_room += MAX_UNPACKED_A_BYTE * len(packed)
        try:
            for plain in unpack(packed):
                self._unpacked_room -= len(plain)
                if self._unpacked_room < 0:
                    self.leave_out("few packed bytes that become many")
                    self._give_up()
                    return
                self._take(plain)
        except Exception:
            self._give_up()  # nothing after the damage can be read
            raise

    def _read_part(self, event: Json) -> None:
        answer = self.answer
        read = self._read_event
        if read is None:
            read = self._read_event = self._format.open_reader()
        read(event, answer)
        if not (answer.response_id or answer.usage or answer.has_text or answer.finish_reasons):
            # Where the format's events have no id, text shows that a model has begun to answer.
            answer.has_text = self._format.has_text(event)

    def leave_out(self, what: str) -> None:
        """Count that something was too large to be read, and name it in the answer."""
        note("read all of an answer", TooLargeError(what))
        leave_unread(self.answer, "[more]")

    def _read(self, text: bytes) -> None:
        try:
            text, is_cut = readable(text)
            if is_cut:
                self.leave_out("a text of very many values")
            body = parsed(text)
            if isinstance(body, list):
                for part in items(body):
                    self._read_part(part)
            else:
                self._read_part(body)
        except Exception as error:  # noqa: BLE001  as in `feed`
            note("read an event of an answer", error)
