"""Streams of lines: server-sent events and newline-delimited JSON.

Source: WHATWG HTML, "Server-sent events": lines end with LF, CRLF or CR; `data:` lines of one event
join with LF; a line that starts with a colon is a comment; a blank line ends the event.
"""

import re

EVENT_LIMIT = 32 << 20
"""Bytes of one event that are kept; a larger one is passed over, never buffered without end."""


ANYTHING = re.compile(b"")


class Lines:
    """Cuts a body into lines, whatever the network's cuts are."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def is_between_lines(self) -> bool:
        """Whether no unfinished line is held."""
        return not self._parts

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that the chunk completes, without their ends."""
        if b"\n" not in chunk and b"\r" not in chunk:
            self._hold(chunk)
            return []
        held = b"".join([*self._parts, chunk])
        self._parts, self._size = [], 0
        lines = held.splitlines(keepends=True)
        # A final CR may be the first half of CRLF: wait for the next byte.
        if not lines[-1].endswith(b"\n"):
            self._hold(lines.pop())
        return [line.rstrip(b"\r\n") for line in lines]

    def end(self) -> list[bytes]:
        """Return the last line if the body did not end it."""
        held = b"".join(self._parts)
        self._parts, self._size = [], 0
        return held.splitlines()

    def _hold(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size <= EVENT_LIMIT:
            self._parts.append(chunk)


class ServerSentEvents:
    """Returns the data of the first event and of every event the pattern finds interesting."""

    def __init__(self, interesting: re.Pattern[bytes]) -> None:
        self._search = interesting.search
        self._lines = Lines()
        self._data: list[bytes] = []
        self._is_first = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; return the data of the events they complete."""
        # Most chunks are whole events without usage: seen in one search, not split.
        if (
            not self._is_first
            and not self._data
            and chunk.endswith(b"\n\n")
            and self._lines.is_between_lines
            and self._search(chunk) is None
        ):
            return []
        return self._events(self._lines.feed(chunk))

    def anew(self) -> "ServerSentEvents":
        """Return one that finds every event interesting."""
        return ServerSentEvents(ANYTHING)

    def end(self) -> list[bytes]:
        """Return the last event's data if no blank line ended it."""
        return self._events([*self._lines.end(), b""])

    def _events(self, lines: list[bytes]) -> list[bytes]:
        found = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            elif not line and self._data:
                data = b"\n".join(self._data)
                self._data = []
                if data.startswith(b"{") and (self._is_first or self._search(data)):
                    self._is_first = False
                    found.append(data)
        return found


class JsonLines:
    """Newline-delimited JSON: each line that the pattern finds interesting, and the first."""

    def __init__(self, interesting: re.Pattern[bytes]) -> None:
        self._search = interesting.search
        self._lines = Lines()
        self._is_first = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; return the lines they complete."""
        return self._interesting(self._lines.feed(chunk))

    def anew(self) -> "JsonLines":
        """Return one that finds every event interesting."""
        return JsonLines(ANYTHING)

    def end(self) -> list[bytes]:
        """Return the last line if the body did not end it."""
        return self._interesting(self._lines.end())

    def _interesting(self, lines: list[bytes]) -> list[bytes]:
        found = []
        for line in lines:
            if line.lstrip().startswith(b"{") and (self._is_first or self._search(line)):
                self._is_first = False
                found.append(line)
        return found
