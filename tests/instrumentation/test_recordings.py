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
