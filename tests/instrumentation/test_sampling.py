import httpx2
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

import tallyspan

ANSWER = {"id": "c1", "model": "m", "usage": {"prompt_tokens": 9, "completion_tokens": 4}}


@pytest.mark.parametrize("is_always_on", [True, False])
def test_a_call_in_a_trace_that_was_sampled_out_is_exported_alone(
    monkeypatch: pytest.MonkeyPatch, is_always_on: bool
) -> None:
    monkeypatch.setenv("TALLYSPAN_ALWAYS_ON", str(int(is_always_on)))
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    seen: list[trace.SpanContext] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        seen.append(trace.get_current_span().get_span_context())
        return httpx2.Response(200, json=ANSWER)

    tallyspan.instrument(tracer_provider=provider)
    try:
        with (
            httpx2.Client(transport=httpx2.MockTransport(handle)) as client,
            provider.get_tracer("app").start_as_current_span("request") as request,
        ):
            client.post("https://api.openai.com/v1/chat/completions", json={"model": "m"})
    finally:
        tallyspan.uninstrument()

    spans = exporter.get_finished_spans()
    assert len(spans) == int(is_always_on)
    for span in spans:
        assert span.context is not None
        assert span.context.trace_id == request.get_span_context().trace_id
        assert span.context.span_id == seen[0].span_id
    assert not seen[0].trace_flags.sampled
