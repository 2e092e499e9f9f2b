"""What more than one part's tests need."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import tallyspan
from tallyspan.guard import failures

# Busy machines must not fail a property; the same examples every time keep a red run reproducible.
settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")
# `make fuzz`: other examples every time, and many more of them.
settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=800,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.fixture
def tracing() -> tuple[TracerProvider, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


@pytest.fixture
def spans(tracing: tuple[TracerProvider, InMemorySpanExporter]) -> Iterator[InMemorySpanExporter]:
    """The spans of an instrumented process; no failure of ours may happen on the way."""
    failures.clear()
    tallyspan.instrument(tracer_provider=tracing[0])
    yield tracing[1]
    tallyspan.uninstrument()
    assert not failures
