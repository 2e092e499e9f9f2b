"""AWS event streams: binary frames with headers and a JSON payload each.

A frame is: total length, length of the headers, checksum of these two (4 bytes each, big-endian),
headers, payload, checksum. A header is: length of its name, name, type (7: text), length of the
value (2 bytes), value. Source: AWS, "Event stream encoding". Checksums are the SDK's affair.
"""

import json
import re
import struct

from tallyspan.framing import EVERYTHING, Interest

PRELUDE = struct.Struct(">III")
FRAME_LIMIT = 32 << 20
"""Bytes of a frame that are kept; a larger one can only be garbage, and ends the reading."""
_CHECKSUM = 4
_FAILURE = re.compile(rb":(?:exception-type|error-code)\x07(..)", re.DOTALL)


class AwsEventStream:
    """Returns the payloads of interest, and `{"failed": name}` for a frame that is an exception."""

    def __init__(self, interest: Interest) -> None:
        self._interest = interest
        self._rest = bytearray()
        self._is_garbage = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; return the payloads they complete."""
        if self._is_garbage:
            return []
        self._rest += chunk
        found: list[bytes] = []
        start = 0
        while start + PRELUDE.size <= len(self._rest):
            total, headers, _ = PRELUDE.unpack_from(self._rest, start)
            if not PRELUDE.size + headers + _CHECKSUM <= total <= FRAME_LIMIT:
                self._is_garbage = True
                start = len(self._rest)
                break
            if start + total > len(self._rest):
                break
            payload_start = start + PRELUDE.size + headers
            payload = bytes(self._rest[payload_start : start + total - _CHECKSUM])
            failure = _failure(bytes(self._rest[start + PRELUDE.size : payload_start]))
            if failure:
                found.append(json.dumps({"failed": failure}).encode())
            elif self._interest.is_in(payload):
                found.append(payload)
            start += total
        del self._rest[:start]
        return found

    def end(self) -> list[bytes]:
        """Return nothing: half a frame says nothing."""
        return []

    def anew(self) -> "AwsEventStream":
        """Return one that finds every payload interesting."""
        return AwsEventStream(EVERYTHING)


def _failure(headers: bytes) -> str:
    """Return the name of the exception that the headers say; empty: none."""
    named = _FAILURE.search(headers)
    if named is None:
        return ""
    return headers[named.end() : named.end() + int.from_bytes(named[1])].decode("utf-8", "replace")
