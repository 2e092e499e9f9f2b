"""Which spans are in the ledger already: an exporter sends a request again when an answer is lost.

The identity of a span is 63 bits computed from its trace id and span id. That two spans of a day
share them has one chance in 10^7 at a million calls a day; the second would be a duplicate to us.

A claim is remembered for at least one window of time, and for at most two.
"""

import sqlite3
import time
from collections.abc import Collection

from tallyspan_collector.resolution.id_registry import IdRegistry, Turns
from tallyspan_collector.resolution.index import short_id


def identity(trace_id: str, span_id: str) -> int:
    """Return the identity of a span; both ids are hex."""
    return short_id(trace_id + span_id)


class SeenSpans:
    """The claims in one file. Every method runs inside a transaction of the caller's."""

    def __init__(self, file: sqlite3.Connection, window_seconds: int) -> None:
        self._window = window_seconds
        self._spans = IdRegistry(file, "seen")
        self._turns = Turns(file, "seen")

    def claim(self, identities: Collection[int], now: float | None = None) -> set[int]:
        """Return those that nobody claimed before; they are claimed from now on."""
        turn, old = self._turns.at(int((time.time() if now is None else now) // self._window))
        if old:
            self._spans.begin(turn, old)
        return self._spans.claim(identities, turn)
