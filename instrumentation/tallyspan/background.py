"""Answers that a provider produces in the background: the usage comes when they are retrieved.

The answer to the POST has no usage; each GET of the finished answer has all of it, so the first one
books the call. What is remembered is bounded, and of this process only; for calls of other
processes the collector goes by the response id.
"""

import os
import threading
from collections import OrderedDict

from opentelemetry.util.types import AttributeValue

# Answers, of about half a kilobyte each.
MAX_REMEMBERED = 10_000

Attributes = dict[str, AttributeValue]


class Background:
    """Response id -> attributes of the call's span when it was deferred; None once it is booked."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, Attributes | None] = OrderedDict()
        self.unlock()

    def unlock(self) -> None:
        """Replace the lock by a free one: the thread that holds it is not there after a fork."""
        # A stream that nobody read may end in the garbage collector, which may run in the middle
        # of these very methods: the lock must let the same thread in again.
        self._lock = threading.RLock()

    def defer(self, response_id: str, attributes: Attributes) -> None:
        """Remember a call whose usage is still to come."""
        with self._lock:
            self._remember(response_id, attributes)

    def book(self, response_id: str) -> Attributes | None:
        """Return the deferred call's attributes (empty: not seen), None if it is booked already."""
        with self._lock:
            attributes = self._calls.pop(response_id, {})
            self._remember(response_id, None)
            return attributes

    def _remember(self, response_id: str, attributes: Attributes | None) -> None:
        self._calls[response_id] = attributes
        while len(self._calls) > MAX_REMEMBERED:
            self._calls.popitem(last=False)


background = Background()
os.register_at_fork(after_in_child=background.unlock)
