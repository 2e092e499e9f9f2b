"""What time it is by the store's clock, on every machine that writes to it.

Who looks for what was written since a moment must not miss what a machine wrote while its clock was
wrong. So what is written says the time of the store: this process knows how far it was from the
machine's steady clock, which counts on whatever is done to its time of day. Before a process has
asked the store, it is the time of day.
"""

import time
from datetime import datetime

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import row_of
from tallyspan_clickhouse.moments import of_nanoseconds

_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Of a machine that slept it counts the sleep too, where there is such a clock."""
_NOW = "SELECT toUnixTimestamp64Nano(now64(9))"


class Clock:
    """The store's clock as this process knows it."""

    def __init__(self) -> None:
        self._ahead_ns = time.time_ns() - _steady_ns()

    def set_by(self, client: Client) -> None:
        """Ask the store for its time. Raises what the store raises; the clock then goes on."""
        began = _steady_ns()
        (now_ns,) = row_of(client, _NOW)
        # somewhere between question and answer
        self._ahead_ns = int(now_ns) - (began + _steady_ns()) // 2

    def now_ns(self) -> int:
        """Return nanoseconds since 1970."""
        return _steady_ns() + self._ahead_ns

    def now_ms(self) -> int:
        """Return milliseconds since 1970, to the one below."""
        return self.now_ns() // 1_000_000

    def now(self) -> datetime:
        """Return the moment (UTC)."""
        return of_nanoseconds(self.now_ns())


def _steady_ns() -> int:
    return time.clock_gettime_ns(_STEADY)


STORE_CLOCK = Clock()
"""That of this process, which writes to one store."""
