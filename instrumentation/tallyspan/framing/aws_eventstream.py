"""AWS event streams: binary frames with headers and a JSON payload each.

A frame is: total length, length of the headers, checksum of these two (4 bytes each, big-endian),
headers, payload, checksum. A header is: length of its name, name, type (7: text), length of the
value (2 bytes), value. Source: AWS, "Event stream encoding". Checksums are left to the SDK.
"""

import json
import re
import struct

from tallyspan.framing import EVERYTHING, Interest

PRELUDE = struct.Struct(">III")
# A larger frame ends the reading.
MAX_FRAME_BYTES = 4 << 20
_CHECKSUM = 4
_FAILURE = re.compile(rb":(?:exception-type|error-code)\x07(..)", re.DOTALL)


class AwsEventStream:
    """Returns the payloads of interest, and `{"failed": name}` for a frame that is an exception."""

    def __init__(self, interest: Interest) -> None:
        self._interest = interest
        self._rest = bytearray()
        self.is_cut = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; return the payloads they complete."""
        if self.is_cut:
            return []
        self._rest += chunk
        payloads: list[bytes] = []
        start = 0
        while start + PRELUDE.size <= len(self._rest):
            total, headers, _ = PRELUDE.unpack_from(self._rest, start)
            if not PRELUDE.size + headers + _CHECKSUM <= total <= MAX_FRAME_BYTES:
                self.is_cut = True
                start = len(self._rest)
                break
            if start + total > len(self._rest):
                break
            payload_start = start + PRELUDE.size + headers
            payload = bytes(self._rest[payload_start : start + total - _CHECKSUM])
            failure = _failure(bytes(self._rest[start + PRELUDE.size : payload_start]))
            if failure:
                payloads.append(json.dumps({"failed": failure}).encode())
            elif self._interest.is_in(payload):
                payloads.append(payload)
            start += total
        del self._rest[:start]
        return payloads

    def end(self) -> list[bytes]:
        """Return nothing: half a frame cannot be read."""
        return []

    def anew(self) -> "AwsEventStream":
        """Return a new one, for which every payload is of interest."""
        return AwsEventStream(EVERYTHING)


def _failure(headers: bytes) -> str:
    """Return the name of the exception in the headers; empty: none."""
    match = _FAILURE.search(headers)
    if match is None:
        return ""
    return headers[match.end() : match.end() + int.from_bytes(match[1])].decode("utf-8", "replace")
