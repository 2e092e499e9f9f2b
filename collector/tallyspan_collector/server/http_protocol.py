"""uvicorn's HTTP/1.1, with bounds on what a client may send and on how long it may take.

The parser itself has none: it keeps a header of any length, and joins its parts in quadratic time.
"""

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MAX_HEADER_BYTES = 64 << 10
"""Bytes of a request's line and headers together; and of what may follow its body."""
HEADER_SECONDS, BODY_SECONDS = 10, 60
"""How long all headers may take, and how long the next part of a body."""
MAX_CONNECTIONS = 10_000
_STATUS, _REASON = 431, f"the headers are above {MAX_HEADER_BYTES} bytes"


class BoundedHttp(HttpToolsProtocol):
    """One connection."""

    max_connections = MAX_CONNECTIONS
    """Connections of one listener; above it those go whose client has not sent its headers."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection; if there are too many, close one."""
        super().connection_made(cast("asyncio.Transport", transport))
        self._headers_since: float | None = self.loop.time()
        self._last_data = self._headers_since
        self._field_bytes = self._unread_bytes = 0
        self._is_read_on = self._is_in_body = False
        if len(self.connections) > self.max_connections:
            self._oldest_without_headers().transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes as they come."""
        self._last_data = self.loop.time()
        self._is_read_on = False
        super().data_received(data)
        # Counted here and not in `on_header`, which the parser calls after it has joined the parts.
        self._unread_bytes = 0 if self._is_read_on else self._unread_bytes + len(data)
        if self._unread_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
            self.send_400_response(_REASON)

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._field_bytes = 0
        if self._headers_since is None:
            self._headers_since = self._last_data

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or refuse the request if they are too many: the parser passes it on."""
        self._field_bytes += len(name) + len(value)
        if self._field_bytes > MAX_HEADER_BYTES:
            raise ValueError(_REASON)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self._is_read_on = self._is_in_body = True
        self._headers_since = None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._is_read_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of a request."""
        self._is_read_on, self._is_in_body = True, False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP request, or one with too many bytes of headers; then close."""
        if max(self._field_bytes, self._unread_bytes) <= MAX_HEADER_BYTES:
            super().send_400_response(msg)
            return
        head = STATUS_LINE[_STATUS] + b"content-type: text/plain\r\nconnection: close\r\n"
        length = f"content-length: {len(_REASON)}\r\n\r\n"
        self.transport.write(head + length.encode() + _REASON.encode())
        self.transport.close()

    def check(self) -> None:
        """Close the connection if its client took too long; called every second."""
        now = self.loop.time()
        if self._headers_since is not None:
            is_late = now - self._headers_since > HEADER_SECONDS
        else:
            is_late = self._is_in_body and now - self._last_data > BODY_SECONDS
        if is_late:
            self.transport.abort()

    def _oldest_without_headers(self) -> "BoundedHttp":
        """Return the connection that has waited longest for headers: this one, or an older one."""
        since = self._headers_since
        oldest = self
        for other in self.connections:
            if (
                isinstance(other, BoundedHttp)
                and other._headers_since is not None  # noqa: SLF001  of the same class
                and (since is None or other._headers_since < since)  # noqa: SLF001
                and not other.transport.is_closing()
            ):
                oldest, since = other, other._headers_since  # noqa: SLF001
        return oldest
