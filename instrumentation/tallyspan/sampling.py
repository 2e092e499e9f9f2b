"""LLM spans are exported even where the application's sampler drops them: money is not sampled.

A call in a dropped trace gets a span with the ids that it would have had, from a second provider
that has the application's span processors and samples everything. The application's own, dropped
span is the current one meanwhile, so nothing else of the trace is exported.
"""

from contextvars import ContextVar
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Span, Tracer
from opentelemetry.trace import TracerProvider as AnyTracerProvider

from tallyspan.observers import Observers, Settle

_dropped: ContextVar[Span | None] = ContextVar("tallyspan_dropped", default=None)


class _IdsOfTheDropped(IdGenerator):
    """Returns the ids of the dropped span that the new span stands in for, else random ones."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()

    def generate_span_id(self) -> int:
        dropped = _dropped.get()
        if dropped is None or not dropped.get_span_context().is_valid:
            return self._random.generate_span_id()
        return dropped.get_span_context().span_id

    def generate_trace_id(self) -> int:
        dropped = _dropped.get()
        if dropped is None or not dropped.get_span_context().is_valid:
            return self._random.generate_trace_id()
        return dropped.get_span_context().trace_id


class CallTracer:
    """Starts the spans of calls; with `is_always_on`, also where the sampler drops the trace.

    `settle` ends the spans of the calls that are over; None: every span is ended with its call.
    """

    def __init__(
        self,
        provider: AnyTracerProvider,
        scope: str,
        version: str,
        *,
        is_always_on: bool,
        settle: Settle | None = None,
    ) -> None:
        self._tracer = provider.get_tracer(scope, version)
        self._observers: Observers | None = None
        if settle is not None and isinstance(provider, TracerProvider):
            self._observers = Observers(provider, settle)
        self._always_on: Tracer | None = None
        if is_always_on and isinstance(provider, TracerProvider):
            second = TracerProvider(
                sampler=ALWAYS_ON,
                resource=provider.resource,
                id_generator=_IdsOfTheDropped(),
                shutdown_on_exit=False,  # the processors are the application's to shut down
            )
            # There is no public way to share processors, and those that are added later must get
            # these spans too.
            second._active_span_processor = provider._active_span_processor  # noqa: SLF001
            self._always_on = second.get_tracer(scope, version)

    def start(self, name: str, **options: Any) -> tuple[Span, Span]:
        """Return the span to write to, and the one to be current while the call is sent."""
        opened = self._tracer.start_span(name, **options)
        if opened.is_recording() or self._always_on is None:
            return opened, opened
        token = _dropped.set(opened)
        try:
            return self._always_on.start_span(name, **options), opened
        finally:
            _dropped.reset(token)

    def may_end_later(self) -> bool:
        """Whether nobody can tell when a span is ended, as long as its time is right."""
        return self._observers is not None and self._observers.are_absent()

    def close(self) -> None:
        """End the spans of the calls that are over, and leave the provider as it was."""
        if self._observers is not None:
            self._observers.leave()
