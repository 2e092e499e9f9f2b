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
    """Record every LLM call of this process as a span. A second call does nothing.

    Spans go to `tracer_provider`, else to the global provider, else to a new one that exports OTLP
    by the OTEL_* environment variables.
    """
    from tallyspan.instrumentor import TallyspanInstrumentor

    TallyspanInstrumentor().instrument(tracer_provider=tracer_provider)


def uninstrument() -> None:
    """Stop recording and put the HTTP libraries' own methods back."""
    from tallyspan.instrumentor import TallyspanInstrumentor

    TallyspanInstrumentor().uninstrument()
