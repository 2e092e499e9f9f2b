"""Our failures stay ours: caught, counted, logged once a kind, never raised further."""

import logging
from collections import Counter
from types import TracebackType

_log = logging.getLogger("tallyspan")
failures: Counter[str] = Counter()


class ours:  # noqa: N801  reads as a word at the place of use: with ours("read an event")
    """Run one step of ours; an `Exception` in it is counted and goes no further.

    `BaseException` (KeyboardInterrupt, task cancellation) passes: it is the application's.
    """

    __slots__ = ("step",)

    def __init__(self, step: str) -> None:
        self.step = step

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        note(self.step, error)
        return True


def note(step: str, error: Exception) -> None:
    """Count a failure of ours and log the first of its kind; for where `ours` costs too much."""
    failures[step] += 1
    if failures[step] == 1:
        _log.warning("tallyspan could not %s: %s: %s", step, type(error).__name__, error)
