"""Each recorded exchange, through a real client: at its own host, and behind one nobody knows."""

from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import recording_files
from tallyspan import conditions, meters, semconv
from tallyspan.background import Background
from tallyspan.estimate import estimator
from tallyspan.formats import FORMATS
from tallyspan.recognise import Endpoint, recognise

GATEWAY = "gateway.internal"
RECORDINGS = [recording_files.load(path) for path in recording_files.files()]
TEXTS = {
    "operation": semconv.OPERATION,
    "request_model": semconv.REQUEST_MODEL,
    "response_id": semconv.RESPONSE_ID,
    "service_tier": semconv.SERVICE_TIER,
    "user_id": semconv.USER_ID,
    "error_type": semconv.ERROR_TYPE,
    "reported_cost_usd": semconv.REPORTED_COST_USD,
}
EACH = pytest.mark.parametrize(
    "recording", RECORDINGS, ids=lambda each: f"{each.format}/{each.name}"
)


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallyspan.exchange.background", Background())


def played(
    recording: recording_files.Exchange, url: str, spans: InMemorySpanExporter
) -> list[dict[str, Any]]:
    """Return the attributes of the spans of the exchange."""
    answer = httpx.Response(
        recording.status,
        headers=recording.response_headers,
        stream=httpx.ByteStream(recording.response_body),
    )
    with httpx.Client(transport=httpx.MockTransport(lambda _: answer)) as client:
        client.request(
            recording.method, url, headers=recording.request_headers, content=recording.request_body
        )
    estimator.flush()
    return [dict(span.attributes or {}) for span in spans.get_finished_spans()]


def wrong(
    recording: recording_files.Exchange, attributes: dict[str, Any]
) -> list[tuple[object, ...]]:
    """Return what differs between the span and what the recording expects: name, span, expected."""
    expected = recording.expected
    source = attributes[semconv.USAGE_SOURCE]
    pairs: list[tuple[object, object, object]] = [
        (key, attributes.get(name), expected[key]) for key, name in TEXTS.items() if key in expected
    ]
    if "model" in expected:  # a refusal names none: then the simple reader has the request's
        model = attributes.get(semconv.RESPONSE_MODEL) or attributes.get(semconv.REQUEST_MODEL)
        pairs.append(("model", model, expected["model"]))
    if "usage_source" in expected:
        pairs.append(("usage_source", source, expected["usage_source"]))
    else:
        pairs.append(("usage_reported", source == "provider", expected["usage_reported"]))
    if source == "provider" or "usage_source" in expected:
        pairs += [
            (key, attributes.get(semconv.USAGE_ATTRIBUTES[field], 0), expected.get(key, 0))
            for key, field in recording_files.COUNTS.items()
        ]
    for key, prefix in (("meters", meters.PREFIX), ("conditions", conditions.PREFIX)):
        if key in expected:
            pairs.append((key, named(prefix, attributes), expected[key]))
    pairs.append(("unread", attributes.get(semconv.USAGE_UNREAD), None))
    if "finish_reasons" in expected:
        reasons = tuple(expected["finish_reasons"])
        pairs.append(("finish_reasons", attributes.get(semconv.FINISH_REASONS), reasons))
    return [pair for pair in pairs if pair[1] != pair[2]]


def endpoint(recording: recording_files.Exchange, host: str | None = None) -> Endpoint | None:
    url = urlsplit(recording.url)
    return recognise(recording.method, host or url.hostname or "", url.port, url.path)


def named(prefix: str, attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes that begin so, by the rest of their names."""
    return {
        name.removeprefix(prefix): value
        for name, value in attributes.items()
        if name.startswith(prefix) and name not in semconv.USAGE_ATTRIBUTES.values()
    }


def parts_of(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return spans of model calls inside an answer as recordings have them."""
    return [
        {"kind": each[semconv.CALL_PART], "model": each[semconv.REQUEST_MODEL]}
        | {
            key: each[semconv.USAGE_ATTRIBUTES[field]]
            for key, field in recording_files.COUNTS.items()
            if each.get(semconv.USAGE_ATTRIBUTES[field])
        }
        | ({"meters": used} if (used := named(meters.PREFIX, each)) else {})
        for each in spans
    ]


@EACH
def test_a_recording_becomes_the_call_that_it_is(
    recording: recording_files.Exchange, spans: InMemorySpanExporter
) -> None:
    at = endpoint(recording)
    assert at is not None
    assert at.format.name == recording.format
    is_own_server = (urlsplit(recording.url).hostname or "").endswith(("localhost", ".internal"))
    assert at.is_certain or is_own_server, "record it at a host of its provider, or *.internal"

    attributes, *parts = played(recording, recording.url, spans)

    assert parts_of(parts) == recording.expected.get("parts", [])
    assert attributes[semconv.PROVIDER] == recording.expected["provider"]
    assert wrong(recording, attributes) == []


@EACH
def test_a_recording_is_the_same_call_behind_an_unknown_host(
    recording: recording_files.Exchange, spans: InMemorySpanExporter
) -> None:
    own, expected = FORMATS[recording.format], recording.expected
    url = urlsplit(recording.url)._replace(netloc=GATEWAY)
    at = recognise(recording.method, GATEWAY, None, url.path)
    calls = played(recording, url.geturl(), spans)

    if at is None or at.format is not own:
        # Only a path that one provider alone gives the meaning means something else elsewhere.
        assert any(path.provider and path.regex.search(url.path) for path in own.paths)
        return
    if not (
        {"response_id", "error", "error_type", "finish_reasons"} & expected.keys()
        or expected["usage_reported"]
        or expected.get("usage_source") == "estimated"
        or recording.status >= httpx.codes.BAD_REQUEST
    ):
        assert calls == []  # nothing shows that it is a model's answer
        return
    assert {call[semconv.PROVIDER] for call in calls} == {own.provider.name}
    assert parts_of(calls[1:]) == expected.get("parts", [])
    assert wrong(recording, calls[0]) == []


def test_every_format_has_a_recording() -> None:
    missing = sorted(FORMATS.keys() - {recording.format for recording in RECORDINGS})

    assert missing == [], "write tests/recordings/<format>/<name>.json for each"


@pytest.mark.parametrize(
    ("path", "body"), [("/generate", {"inputs": ["sales"]}), ("/api/v1/chat", {"input": "hello"})]
)
def test_other_services_with_such_a_path_are_no_calls(
    spans: InMemorySpanExporter, path: str, body: dict[str, Any]
) -> None:
    answer = httpx.Response(200, json={"report": "done"})
    with httpx.Client(transport=httpx.MockTransport(lambda _: answer)) as client:
        client.post("http://reports.internal" + path, json=body)

    assert spans.get_finished_spans() == ()
