"""What can be put right in a log (-wal) whose pages have other bytes than were written.

One bit that turned: the checksum of a page is 64 bits long, and often one bit alone explains the
difference. And a page that was written again later in the log: then nobody reads the older one, and
any bytes with its checksum do. Which page it was is in the index of the log (-shm).
"""

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from tallyspan_collector.ingest.wal_checksum import Bit, sums, turned, wrong_bits

HEADER, FRAME_HEADER = 32, 24
ORDERS = {0x377F0682: "<", 0x377F0683: ">"}
"""By the first word of a log: the order of bytes in which its checksums read words."""


def mend(log: Path, pages: Sequence[int] = ()) -> None:
    """Put the log right, page by page, as far as that can be done. Raises `OSError`.

    `pages` are the numbers of those that were committed, in the order of the log, as far as they
    are known. A page of which nothing tells what it was is left as it is, with those behind it.
    """
    with log.open("r+b") as file:
        if (header := _header(file.read(HEADER).ljust(HEADER, b"\0"))) is None:
            return
        file.seek(0)
        file.write(header)
        _mend_frames(file, header, pages)
        file.flush()
        os.fsync(file.fileno())


def _header(header: bytes) -> bytes | None:
    """Return the header as it was written; None: more than a bit of it is wrong."""
    candidates = [
        header,
        *(turned(header, Bit(byte, bit)) for byte in range(32) for bit in range(8)),
    ]
    for candidate in candidates:
        order = ORDERS.get(int.from_bytes(candidate[:4]))
        if order and sums(candidate[:24], order=order) == struct.unpack(">2I", candidate[24:]):
            return candidate
    return None


def _mend_frames(file: BinaryIO, header: bytes, pages: Sequence[int]) -> None:
    order, salts = ORDERS[int.from_bytes(header[:4])], header[16:24]
    (page_bytes,) = struct.unpack_from(">I", header, 8)
    frame_bytes = FRAME_HEADER + page_bytes
    before, number = header[24:], 0
    file.seek(HEADER)
    frame = file.read(frame_bytes)
    while len(frame) == frame_bytes and _distance(frame[8:16], salts) <= 1:
        following = file.read(frame_bytes)
        right = _right(frame, before, following, salts, order)
        if right is None and number < len(pages) and pages[number] in pages[number + 1 :]:
            right = _any_content(frame, before, pages[number], order)
            if not _is_sound(following, right[16:24], order):
                right = None
        if right is None:
            return
        if right != frame:
            file.seek(HEADER + number * frame_bytes)
            file.write(right)
            file.seek(HEADER + (number + 2) * frame_bytes)
        number += 1
        before, frame = right[16:24], following


def _right(frame: bytes, before: bytes, following: bytes, salts: bytes, order: str) -> bytes | None:
    """Return what the frame was; None: nothing, or more than one thing, explains it."""
    candidates = [*_candidates(frame, before, salts, order)]
    if len(candidates) > 1 and len(following) == len(frame):
        # the checksum of the next one goes on from this one's
        candidates = [each for each in candidates if _is_sound(following, each[16:24], order)]
    return candidates[0] if len(candidates) == 1 else None


def _any_content(frame: bytes, before: bytes, page: int, order: str) -> bytes:
    """Return a frame of the page that has the checksum of this one, whatever is in it."""
    content = page.to_bytes(4) + frame[4:8] + frame[FRAME_HEADER:-8]
    one, two = sums(content, struct.unpack(">2I", before), order)
    first, second = struct.unpack(">2I", frame[16:24])
    last = (first - one - two) % 2**32, (second - two - first) % 2**32
    return content[:8] + frame[8:FRAME_HEADER] + content[8:] + struct.pack(f"{order}2I", *last)


def _candidates(frame: bytes, before: bytes, salts: bytes, order: str) -> Iterator[bytes]:
    """Yield what the frame may have been: itself if it is sound, else with one bit turned."""
    is_of_this_log = frame[8:16] == salts
    if _is_sound(frame, before, order):
        yield frame[:8] + salts + frame[16:]
    elif is_of_this_log:
        written = struct.unpack(">2I", frame[16:24])
        content = frame[:8] + frame[FRAME_HEADER:]
        before_sums = struct.unpack(">2I", before)
        for bit in wrong_bits(content, before_sums, written, order):
            right = turned(content, bit)
            yield right[:8] + frame[8:FRAME_HEADER] + right[8:]
        right_sums = struct.pack(">2I", *sums(content, before_sums, order))
        if _distance(right_sums, frame[16:24]) == 1:
            yield frame[:16] + right_sums + frame[FRAME_HEADER:]


def _is_sound(frame: bytes, before: bytes, order: str) -> bool:
    if len(frame) <= FRAME_HEADER or len(frame) % 8:  # cut off
        return False
    content = frame[:8] + frame[FRAME_HEADER:]
    return sums(content, struct.unpack(">2I", before), order) == struct.unpack(">2I", frame[16:24])


def _distance(one: bytes, other: bytes) -> int:
    """Return in how many bits they differ."""
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()
