"""A user's own endpoint rules: names for gateways, formats for paths nobody else has."""

import logging
from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import tallyspan
from tallyspan import semconv
from tallyspan.endpoint_rules import RulesError, load

RULES = """
endpoints:
  - host: "*.gateway.example"
    path: /team-a/*
    endpoint_id: team-a
    provider: azure.ai.openai
  - host: odd.example
    port: 8443
    path: /ask
    endpoint_id: odd
    format: openai_chat
"""
ANSWER = {"id": "c1", "model": "m", "usage": {"prompt_tokens": 9, "completion_tokens": 4}}


def call(url: str) -> None:
    with httpx.Client(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, json=ANSWER))
    ) as client:
        client.post(url, json={"model": "m", "messages": []})


def instrumented(
    monkeypatch: pytest.MonkeyPatch,
    path: Path,
    tracing: tuple[TracerProvider, InMemorySpanExporter],
) -> None:
    monkeypatch.setenv("TALLYSPAN_ENDPOINTS_FILE", str(path))
    tallyspan.instrument(tracer_provider=tracing[0])


def test_rules_name_endpoints_and_give_odd_paths_a_format(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tracing: tuple[TracerProvider, InMemorySpanExporter],
) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text(RULES)
    instrumented(monkeypatch, path, tracing)
    try:
        call("https://eu.gateway.example/team-a/v1/chat/completions")
        call("https://eu.gateway.example/team-b/v1/chat/completions")
        call("https://odd.example:8443/ask")
        call("https://odd.example/ask")
    finally:
        tallyspan.uninstrument()

    said = [dict(span.attributes or {}) for span in tracing[1].get_finished_spans()]
    assert [(s[semconv.ENDPOINT_ID], s[semconv.PROVIDER]) for s in said] == [
        ("team-a", "azure.ai.openai"),
        ("eu.gateway.example", "openai"),
        ("odd", "openai"),
    ]


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("endpoints: [", "not YAML"),
        ("rules: []", "must have one key, 'endpoints'"),
        ("endpoints: [{host: h}]", r"endpoints\[0\]: 'endpoint_id' is missing"),
        ("endpoints: [{host: h, endpoint_id: e, hots: x}]", "did you mean 'host'"),
        ("endpoints: [{host: h, endpoint_id: e, format: soap}]", "format: must be one of"),
        ("endpoints: [{host: h, endpoint_id: e, port: x}]", "port: must be a port number"),
        ("endpoints: [7]", "must be a mapping"),
    ],
)
def test_a_bad_file_is_refused_by_key(tmp_path: Path, written: str, reason: str) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text(written)

    with pytest.raises(RulesError, match=reason):
        load(path)


def test_a_file_that_cannot_be_used_is_said_once_and_the_built_in_rules_go_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tracing: tuple[TracerProvider, InMemorySpanExporter],
) -> None:
    with caplog.at_level(logging.WARNING, "tallyspan"):
        instrumented(monkeypatch, tmp_path / "missing.yaml", tracing)
    try:
        call("https://api.openai.com/v1/chat/completions")
    finally:
        tallyspan.uninstrument()

    assert len(tracing[1].get_finished_spans()) == 1
    (record,) = caplog.records
    assert "missing.yaml: cannot be read" in record.getMessage()


def test_json_needs_no_further_package(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.json"
    path.write_text('{"endpoints": [{"host": "h", "endpoint_id": "e"}]}')

    assert load(path)[0].endpoint_id == "e"
