"""Keys in the query of a request: in no span, neither ours nor that of OpenTelemetry's httpx."""

from typing import Any

import httpx
import pytest
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util.http import redact_url

from llm_server import serving

URL = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent"


@pytest.mark.parametrize("parameter", ["key", "api_key", "api-key", "subscription-key"])
def test_a_key_in_the_query_is_in_no_span(
    parameter: str,
    spans: InMemorySpanExporter,
    tracing: tuple[TracerProvider, InMemorySpanExporter],
) -> None:
    theirs: Any = HTTPXClientInstrumentor()
    theirs.instrument(tracer_provider=tracing[0])
    try:
        with serving() as address, httpx.Client() as client:
            path = f"{address}/v1beta/models/gemini-2.5-flash:generateContent"
            client.post(f"{path}?{parameter}=SECRET&alt=json", json={"contents": []})
    finally:
        theirs.uninstrument()

    written = [span.to_json() for span in spans.get_finished_spans()]
    assert len(written) == 2
    assert "SECRET" not in "".join(written)
    assert f"{parameter}=REDACTED" in "".join(written)


@pytest.mark.usefixtures("spans")
def test_other_parameters_and_what_others_redact_stay() -> None:
    assert redact_url(f"{URL}?alt=sse&keys=1") == f"{URL}?alt=sse&keys=1"
    assert redact_url(f"{URL}?sig=SECRET&key=SECRET") == f"{URL}?sig=REDACTED&key=REDACTED"


def test_uninstrumented_the_list_is_what_it_was() -> None:
    assert redact_url(f"{URL}?key=1") == f"{URL}?key=1"
