"""Whether anybody looks at a span before it is exported, and so when it has to be ended.

A `BatchSpanProcessor` puts an ended span into a queue and does nothing else with it. With no other
processor than those nobody can tell a span that ends a moment later, as long as what waits is ended
before they flush and stop. So a processor of ours stands before them.
"""

from collections.abc import Callable

from opentelemetry.sdk.trace import SpanProcessor, SynchronousMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

Settle = Callable[[float], None]
"""Ends the spans of the calls that are over, in at most about so many seconds."""
MAX_SECONDS = 5.0


class _First(SpanProcessor):
    """Ends what waits before the processors behind it flush or stop."""

    def __init__(self, settle: Settle) -> None:
        self._settle = settle

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """End the spans of the calls that are over."""
        self._settle(min(timeout_millis / 1000, MAX_SECONDS))
        return True

    def shutdown(self) -> None:
        """End the spans of the calls that are over."""
        self._settle(MAX_SECONDS)


class Observers:
    """The span processors of a provider. There is no public way to put one before the others."""

    def __init__(self, provider: TracerProvider, settle: Settle) -> None:
        self._first = _First(settle)
        self._all = getattr(provider, "_active_span_processor", None)
        self._seen: object = None
        self._are_absent = False
        if type(self._all) is SynchronousMultiSpanProcessor:
            with self._all._lock:  # noqa: SLF001  see above
                self._all._span_processors = (self._first, *self._all._span_processors)  # noqa: SLF001

    def are_absent(self) -> bool:
        """Whether every processor of now only puts spans into a queue."""
        processors = getattr(self._all, "_span_processors", None)
        if processors is not self._seen:
            self._are_absent = (
                isinstance(processors, tuple)
                and processors[:1] == (self._first,)
                and all(type(each) is BatchSpanProcessor for each in processors[1:])
            )
            self._seen = processors
        return self._are_absent

    def leave(self) -> None:
        """End the spans of the calls that are over, and take our processor away."""
        self._first.shutdown()
        if type(self._all) is SynchronousMultiSpanProcessor:
            with self._all._lock:  # noqa: SLF001  see above
                others = (each for each in self._all._span_processors if each is not self._first)  # noqa: SLF001
                self._all._span_processors = tuple(others)  # noqa: SLF001
