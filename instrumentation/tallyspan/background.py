"""Answers that a provider makes in the background: asked for once, said when retrieved later.

The POST says no usage, each GET of the finished answer says it again: it is booked with the first.
What is remembered is bounded, and of this process only; the response id tells the collector the
rest.
"""

import os
import threading
from collections import OrderedDict

from opentelemetry.util.types import AttributeValue

REMEMBERED_LIMIT = 10_000
"""Answers remembered; about half a kilobyte each."""

Attributes = dict[str, AttributeValue]


class Background:
    """Response id -> what the call's span said when it was deferred; None once it is booked."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, Attributes | None] = OrderedDict()
        self.unlock()

    def unlock(self) -> None:
        """Begin with a lock that nobody has: the child of a fork has none of the other threads."""
        # A stream that nobody read may end in the garbage collector, inside of these very methods.
        self._changing = threading.RLock()

    def defer(self, response_id: str, said: Attributes) -> None:
        """Remember a call whose usage is still to be said."""
        with self._changing:
            self._remember(response_id, said)

    def book(self, response_id: str) -> Attributes | None:
        """Return what the deferred call said (empty: not seen), None if it is booked already."""
        with self._changing:
            said = self._calls.pop(response_id, {})
            self._remember(response_id, None)
            return said

    def _remember(self, response_id: str, said: Attributes | None) -> None:
        self._calls[response_id] = said
        while len(self._calls) > REMEMBERED_LIMIT:
            self._calls.popitem(last=False)


background = Background()
os.register_at_fork(after_in_child=background.unlock)
