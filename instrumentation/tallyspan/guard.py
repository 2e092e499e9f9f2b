"""Failures of this package: caught, counted, logged once a kind, never raised into the caller."""

import logging
from collections import Counter
from types import TracebackType

_log = logging.getLogger("tallyspan")
failures: Counter[str] = Counter()


class ours:  # noqa: N801  reads as a word at the place of use: with ours("read an event")
    """Runs one step of this package; an `Exception` in it is counted and goes no further.

    Other `BaseException`s (KeyboardInterrupt, task cancellation) are the application's and pass.
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
    """Count a failure of this package, and log the first of its kind.

    `ours` does it too, but enters a context: what runs with every chunk calls this instead.
    """
    failures[step] += 1
    if failures[step] == 1:
        _log.warning("tallyspan could not %s: %s: %s", step, type(error).__name__, error)
