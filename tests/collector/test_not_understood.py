"""Requests that no format knew are counted by the collector, and shown where people look."""

from pathlib import Path

import httpx
import pytest
from clickhouse_connect.driver.client import Client

from otlp_spans import CHAT, request, span
from running import running_collector
from shared_store import SharedStore
from tallyspan import semconv
from tallyspan_collector.metrics.counters import MAX_PATTERNS, Metrics
from tallyspan_collector.metrics.log import MetricsLog
from tallyspan_collector.read.not_understood import not_understood

HOLOGRAM = "POST api.openai.com/v1/hologram"


def test_what_was_not_understood_is_counted_stored_and_no_call(
    tmp_path: Path, empty_store: SharedStore, client: Client
) -> None:
    lines = [f"3 {HOLOGRAM}", "2 GET api.anthropic.com/v1/dreams/*"]
    bodies = request(span(1, {semconv.NOT_UNDERSTOOD: lines})), request(span(2, CHAT))
    with running_collector(tmp_path, store=empty_store.url) as collector:
        for body in bodies:
            httpx.post(
                f"http://{collector.ready.otlp_http}/v1/traces",
                content=body,
                headers={"content-type": "application/x-protobuf"},
            ).raise_for_status()
        assert collector.rows("SELECT sum(sign) AS calls FROM llm_calls") == [{"calls": 1}]
        text = httpx.get(f"{collector.ready.admin}/metrics").text
        received, stored, dropped = (
            collector.metric(f"tallyspan_{name}_total")
            for name in ("genai_spans_received", "calls_stored", "spans_dropped")
        )

    labels = f'provider="openai",request="{HOLOGRAM}"'
    assert f"tallyspan_requests_not_understood_total{{{labels}}} 3.0" in text
    assert received == stored + dropped == 2
    seen = client.query(
        "SELECT provider, request, requests FROM requests_not_understood ORDER BY provider"
    )
    assert seen.result_rows == [
        ("anthropic", "GET api.anthropic.com/v1/dreams/*", 2),
        ("openai", HOLOGRAM, 3),
    ]


def test_the_view_adds_up_what_is_written_a_minute(client: Client) -> None:
    metrics = Metrics()
    log = MetricsLog(client, "one", metrics.registry.collect)
    for requests in (5, 7):
        metrics.not_understood("openai", "POST api.openai.com/v1/other/*", requests)
        log.write()

    where = "WHERE request LIKE '%/v1/other/*'"
    [row] = client.query(f"SELECT * FROM requests_not_understood {where}").named_results()
    assert (row["provider"], row["requests"]) == ("openai", 12)


@pytest.mark.parametrize(
    "line",
    [
        "3 POST evil.example.com/v1/hologram",
        "3 POST api.openai.com/v1/h?key=1",
        "3 POST api.openai.com/v1/h,request=x",
        "3 POST api.openai.com/" + "h" * 500,
        "0 POST api.openai.com/v1/h",
        "9999999999 POST api.openai.com/v1/h",
        "POST api.openai.com/v1/h",
        7,
    ],
)
def test_what_no_instrumentation_of_ours_writes_is_not_counted(line: object) -> None:
    assert list(not_understood({semconv.NOT_UNDERSTOOD: [line]})) == []
    assert list(not_understood({semconv.NOT_UNDERSTOOD: line})) == []


def test_a_sender_cannot_make_any_number_of_series() -> None:
    metrics = Metrics()
    for number in range(2 * MAX_PATTERNS):
        metrics.not_understood("openai", f"POST api.openai.com/v1/h{number:04}", 1)

    family = next(
        each
        for each in metrics.registry.collect()
        if each.name == "tallyspan_requests_not_understood"
    )
    values = {
        each.labels["request"]: each.value
        for each in family.samples
        if each.name.endswith("_total")
    }
    assert len(values) == MAX_PATTERNS + 1
    assert values["other"] == MAX_PATTERNS
