"""Each recorded exchange, through a real client: at its own host, and behind one nobody knows."""

from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import recording_files
from span_facts import named, parts_of, wrong
from tallyspan import conditions, semconv
from tallyspan.background import Background
from tallyspan.estimate import estimator
from tallyspan.formats import FORMATS
from tallyspan.recognise import Endpoint, recognise

GATEWAY = "gateway.internal"
RECORDINGS = [recording_files.load(path) for path in recording_files.files()]
CALLS = [each for each in RECORDINGS if "batch" not in each.expected]
BATCHES = [each for each in RECORDINGS if "batch" in each.expected]


def name_of(recording: recording_files.Exchange) -> str:
    return f"{recording.format}/{recording.name}"


EACH = pytest.mark.parametrize("recording", CALLS, ids=name_of)
EACH_BATCH = pytest.mark.parametrize("recording", BATCHES, ids=name_of)


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


def endpoint(recording: recording_files.Exchange, host: str | None = None) -> Endpoint | None:
    url = urlsplit(recording.url)
    return recognise(recording.method, host or url.hostname or "", url.port, url.path)


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
    assert wrong(recording.expected, attributes) == []


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
    assumed = [each.assumed for each in own.paths if each.assumed and each.regex.search(url.path)]
    assert {call[semconv.PROVIDER] for call in calls} == {*(assumed or [own.provider.name])}
    assert parts_of(calls[1:]) == expected.get("parts", [])
    assert wrong(recording.expected, calls[0]) == []


def batch_of(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what spans say of a batch as recordings have it: one entry a span, items in full."""
    entries = []
    for each in spans:
        names = each.get(semconv.BATCH_COLUMNS, ())
        items = [item.split(" ") for item in each.get(semconv.BATCH_ITEMS, ())]
        facts = {
            "event": each[semconv.BATCH_EVENT],
            "id": each.get(semconv.BATCH_ID),
            "file": each.get(semconv.BATCH_FILE),
            "files": list(each.get(semconv.BATCH_FILES, ())),
            "operation": each.get(semconv.BATCH_OPERATION),
            "model": each.get(semconv.RESPONSE_MODEL),
            "service_tier": each.get(semconv.SERVICE_TIER),
            "requests": each.get(semconv.BATCH_REQUESTS),
            "each": list(each.get(semconv.BATCH_EACH, ())),
            "conditions": named(conditions.PREFIX, each),
            "items": [
                {
                    "created": created,
                    "response_id": response_id,
                    **{
                        name: int(amount)
                        for name, amount in zip(names, amounts, strict=True)
                        if amount != "-"
                    },
                }
                for _, created, response_id, *amounts in items
            ],
        }
        entries.append({name: value for name, value in facts.items() if value})
    return entries


@EACH_BATCH
def test_a_recording_of_a_batch_becomes_what_it_says_of_it(
    recording: recording_files.Exchange, spans: InMemorySpanExporter
) -> None:
    at = endpoint(recording)
    assert at is not None
    assert at.format.name == recording.format
    assert at.is_batch

    told = played(recording, recording.url, spans)

    assert batch_of(told) == recording.expected["batch"]
    assert {each[semconv.PROVIDER] for each in told} == {recording.expected["provider"]}
    assert {each[semconv.OPERATION] for each in told} == {"batch"}
    assert not any(semconv.USAGE_UNREAD in each for each in told)


def test_every_format_has_a_recording() -> None:
    recorded = {each.format for each in RECORDINGS}
    recorded |= {each.format for each in recording_files.conversations()}
    missing = sorted(FORMATS.keys() - recorded)

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
