"""Tallyspan's instrumentation: complete GenAI spans for every LLM call that leaves this process.

>>> import tallyspan
>>> tallyspan.instrument()
>>> with tallyspan.attribution(user_id="ada", department="research"):
...     client.chat.completions.create(...)
"""

from typing import TYPE_CHECKING

from tallyspan.attribution import attribution

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

__version__ = "0.1.0"
__all__ = ["__version__", "attribution", "instrument", "uninstrument"]


def instrument(tracer_provider: "TracerProvider | None" = None) -> None:
    """Record every LLM call of this process as a span; again does nothing.

    Spans go to the given provider, else the global one, else to a new one that exports OTLP as the
    OTEL_* environment variables say.
    """
    from tallyspan.instrumentor import TallyspanInstrumentor

    TallyspanInstrumentor().instrument(tracer_provider=tracer_provider)


def uninstrument() -> None:
    """Stop recording and put the HTTP libraries' own methods back."""
    from tallyspan.instrumentor import TallyspanInstrumentor

    TallyspanInstrumentor().uninstrument()
