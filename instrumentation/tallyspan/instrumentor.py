"""The `opentelemetry_instrumentor` entry point, and a span pipeline where there is none."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]  # its package hides it from type checkers
    BaseInstrumentor,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from tallyspan import __version__, endpoint_rules, recognise, transport
from tallyspan.exchange import settle
from tallyspan.sampling import CallTracer

SCOPE = "tallyspan"


class TallyspanInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # as above
    """Switches the instrumentation on and off; `opentelemetry-instrument` loads it by itself."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return nothing: no HTTP library is required, those that are installed are wrapped."""
        return ()

    def _instrument(self, *, tracer_provider: trace.TracerProvider | None = None, **_: Any) -> None:
        rules = os.environ.get("TALLYSPAN_ENDPOINTS_FILE", "")
        recognise.use(endpoint_rules.load_or_warn(Path(rules)) if rules else ())
        provider = tracer_provider or pipeline()
        is_always_on = os.environ.get("TALLYSPAN_ALWAYS_ON", "1").lower() not in {
            "0",
            "false",
            "no",
        }
        self._tracer = CallTracer(
            provider, SCOPE, __version__, is_always_on=is_always_on, settle=settle
        )
        transport.instrument(self._tracer)

    def _uninstrument(self, **_: Any) -> None:
        transport.uninstrument()
        self._tracer.close()
        recognise.use(())


def pipeline() -> trace.TracerProvider:
    """Return the application's tracer provider; without one, a new one by the OTEL_* variables.

    The exporter is OTLP over gRPC to localhost:4317 unless OTEL_EXPORTER_OTLP_ENDPOINT and
    OTEL_EXPORTER_OTLP_PROTOCOL (grpc, http/protobuf) have other values.
    """
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider):
        provider = TracerProvider()
        if os.environ.get("OTEL_TRACES_EXPORTER", "otlp") != "none":
            provider.add_span_processor(BatchSpanProcessor(_exporter()))
        trace.set_tracer_provider(provider)
    return provider


def _exporter() -> SpanExporter:
    protocol = os.environ.get(
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    )
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
        OTLPSpanExporter as HttpSpanExporter,
    )

    return HttpSpanExporter()
