"""AWS event streams: binary frames with headers and a JSON payload each.

A frame is: total length, length of the headers, checksum of these two (4 bytes each, big-endian),
headers, payload, checksum. Source: AWS, "Event stream encoding". Checksums are the SDK's affair.
"""

import re
import struct

PRELUDE = struct.Struct(">III")
FRAME_LIMIT = 32 << 20
"""Bytes of a frame that are kept; a larger one can only be garbage, and ends the reading."""
_CHECKSUM = 4


class AwsEventStream:
    """Returns the payloads that the pattern finds interesting."""

    def __init__(self, interesting: re.Pattern[bytes]) -> None:
        self._search = interesting.search
        self._rest = bytearray()
        self._is_garbage = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; return the payloads they complete."""
        if self._is_garbage:
            return []
        self._rest += chunk
        found = []
        while len(self._rest) >= PRELUDE.size:
            total, headers, _ = PRELUDE.unpack_from(self._rest)
            if not PRELUDE.size + headers + _CHECKSUM <= total <= FRAME_LIMIT:
                self._is_garbage = True
                self._rest.clear()
                break
            if len(self._rest) < total:
                break
            payload = bytes(self._rest[PRELUDE.size + headers : total - _CHECKSUM])
            del self._rest[:total]
            if self._search(payload):
                found.append(payload)
        return found

    def end(self) -> list[bytes]:
        """Return nothing: half a frame says nothing."""
        return []

    def anew(self) -> "AwsEventStream":
        """Return one that finds every payload interesting."""
        return AwsEventStream(re.compile(b""))
