"""Which spans are in the ledger already: an exporter sends a request again when an answer is lost.

A span is known by its number (`resolution/identity.py`), which has its ids, tenant and ingest key.

A claim is remembered for at least one window of time, and until two have begun while spans came: a
clock that jumps ahead makes one begin, however far it jumps.
"""

import sqlite3
import time
from collections.abc import Collection

from tallyspan_collector.resolution.id_registry import IdRegistry, Turns


class SeenSpans:
    """The claims in one file. Every method runs inside a transaction of the caller's."""

    def __init__(self, file: sqlite3.Connection, window_seconds: int) -> None:
        self._window = window_seconds
        self._spans = IdRegistry(file, "seen")
        self._turns = Turns(file, "seen", forgets_one=True)

    def find(self, identities: Collection[int]) -> set[int]:
        """Return those that were claimed, without claiming the others."""
        return {number for _, (number, *_) in self._spans.find(identities, turn=0)}

    def claim(self, identities: Collection[int], now: float | None = None) -> set[int]:
        """Return those that nobody claimed before; they are claimed from now on."""
        turn, old = self._turns.at(int((time.time() if now is None else now) // self._window))
        if old:
            self._spans.begin(turn, old)
        return self._spans.claim(identities, turn)
