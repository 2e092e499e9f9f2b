"""How the loader shares a process with the threads that answer senders: those go first."""

import time
from collections.abc import Callable

SENDERS_SHARE = 2
"""Seconds left to senders that wait, for each second of work."""
_LOOK_SECONDS = 0.002


class Pace:
    """Rests after each piece of work, as long as `is_awaited`: senders wait for an answer.

    Python threads take turns of 0.1 ms, and an acknowledgement needs a dozen of them: beside a
    loader that never rests it would wait for a dozen turns. Work for the loader is safe on disk.
    """

    def __init__(self, is_awaited: Callable[[], bool]) -> None:
        self._is_awaited = is_awaited
        self._since = time.monotonic()

    def begin(self) -> None:
        """Count work from now on."""
        self._since = time.monotonic()

    def give_way(self) -> None:
        """Let senders go first, in proportion to the work since the last rest."""
        now = time.monotonic()
        until = now + SENDERS_SHARE * (now - self._since)
        while self._is_awaited() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_SECONDS))
        self._since = time.monotonic()
