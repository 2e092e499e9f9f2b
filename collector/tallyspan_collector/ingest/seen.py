"""Which spans are in the ledger already: an exporter sends a request again when an answer is lost.

A span is known by 63 bits made of its trace id and span id. That two spans of a day share them has
one chance in 10^7 at a million calls a day; the second would be taken for a duplicate.

What was claimed in the last window is known, what is older than two windows is not.
"""

import sqlite3
import time
from collections.abc import Collection

from tallyspan_collector.resolution.index import short_id
from tallyspan_collector.resolution.numbered import Numbered, Turns


def identity(trace_id: str, span_id: str) -> int:
    """Return the 63 bits that a span is known by; both ids are hex."""
    return short_id(trace_id + span_id)


class Seen:
    """The claims in one file. Every call belongs to a transaction of the caller's."""

    def __init__(self, file: sqlite3.Connection, window_seconds: int) -> None:
        self._window = window_seconds
        self._spans = Numbered(file, "seen")
        self._turns = Turns(file, "seen")

    def claim(self, identities: Collection[int], now: float | None = None) -> set[int]:
        """Return those that nobody claimed before; they are claimed from now on."""
        turn, old = self._turns.at(int((time.time() if now is None else now) // self._window))
        if old:
            self._spans.begin(turn, old)
        return self._spans.claim(identities, turn)
