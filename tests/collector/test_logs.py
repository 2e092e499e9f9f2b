"""OTLP logs in, as coding agents send them: same keys, limits and answers as spans."""

import base64
import json
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans

import otlp_spans
from otlp_logs import CLAUDE, CODEX, GEMINI, record, request
from running import Running, running_collector
from shared_store import SharedStore
from tallyspan_collector.ingest.door import admit_logs
from tallyspan_collector.summary import Filters, summarise

SERVICE = "/opentelemetry.proto.collector.{}/Export"
LOGS, METRICS = SERVICE.format("logs.v1.LogsService"), SERVICE.format("metrics.v1.MetricsService")
PROTOBUF = {"content-type": "application/x-protobuf"}


def send(collector: Running, body: bytes, method: str = LOGS) -> bytes:
    with grpc.insecure_channel(collector.ready.otlp_grpc) as channel:
        answer: bytes = channel.unary_unary(method)(body, timeout=30)
        return answer


def post(collector: Running, body: bytes, path: str = "/v1/logs", **headers: str) -> httpx.Response:
    url = f"http://{collector.ready.otlp_http}{path}"
    return httpx.post(url, content=body, headers={**PROTOBUF, **headers}, timeout=30)


def calls(collector: Running, user: str) -> list[dict[str, Any]]:
    return collector.rows("SELECT * FROM calls WHERE user_id = {user:String}", user=user)


def test_a_body_that_is_no_text_costs_no_other_record_its_place(collector: Running) -> None:
    broken = record({"event.name": "user_prompt"}, "x" * 8)
    sound = record({**CLAUDE, "user.email": "beside"}, "claude_code.api_request")
    send(collector, request(broken, sound).replace(b"x" * 8, b"\xff" * 8))

    assert len(calls(collector, "beside")) == 1


def test_each_agents_record_is_a_call_over_grpc_and_http(collector: Running) -> None:
    send(collector, request(record({**CLAUDE, "user.email": "claude"}, "claude_code.api_request")))
    post(collector, request(record({**CODEX, "user.email": "codex"}, event_name="event 12")))
    post(collector, request(record({**GEMINI, "user.email": "gemini"}, "API response from g.")))
    found = {user: calls(collector, user) for user in ("claude", "codex", "gemini")}

    assert {
        user: (row["provider_name"], row["input_tokens"], row["output_tokens"], row["cost_status"])
        for user, (row,) in found.items()
    } == {
        "claude": ("anthropic", 2400, 50, "priced"),
        "codex": ("openai", 1200, 80, "notional"),
        "gemini": ("gcp.gemini", 1000, 80, "priced"),
    }
    assert found["claude"][0]["claimed_cost_usd"] == Decimal("0.0123")
    assert [rows[0]["conversation_id"] for rows in found.values()] == ["s-1", "c-1", "g-1"]
    assert all(rows[0]["quality_flags"] == [] for rows in found.values())


def test_a_record_with_a_duration_began_that_much_earlier(collector: Running) -> None:
    send(collector, request(record({**CLAUDE, "user.email": "duration"})))
    (row,) = calls(collector, "duration")

    assert row["duration_us"] == 2_500_000
    assert row["start_time"].timestamp() == (otlp_spans.START_NS // 10**6 - 2500) / 1000


def test_a_record_sent_again_is_one_call_even_if_it_was_observed_later(collector: Running) -> None:
    first = record({**CLAUDE, "user.email": "again"})
    later = record(dict(reversed({**CLAUDE, "user.email": "again"}.items())))
    later.observed_time_unix_nano += 10**9
    other = record({**CLAUDE, "user.email": "again", "request_id": "req_2"})
    for body in (request(first), request(first), request(later, collector="gateway")):
        send(collector, body)
    post(collector, request(other))

    assert len(calls(collector, "again")) == 2


def test_records_of_one_span_are_calls_of_their_own(collector: Running) -> None:
    at: dict[str, Any] = {"trace_id": b"\7" * 16, "span_id": b"\7" * 8}
    send(
        collector,
        request(
            *(record({**CLAUDE, "user.email": "turn", "request_id": str(n)}, **at) for n in (1, 2))
        ),
    )
    rows = calls(collector, "turn")

    assert len(rows) == 2
    assert {(row["trace_id"], row["parent_span_id"]) for row in rows} == {("07" * 16, "07" * 8)}


def test_an_agents_spans_and_metrics_repeat_its_log_and_cost_nothing(collector: Running) -> None:
    at: dict[str, Any] = {"trace_id": b"\5" * 16, "span_id": b"\5" * 8}
    send(collector, request(record({**CLAUDE, "user.email": "copies"}, **at)))
    span = otlp_spans.span(
        5,
        {
            "gen_ai.system": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5-20250929",
            "gen_ai.response.id": "req_1", "input_tokens": 100, "output_tokens": 50,
            "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 50,
            "user.email": "copies",
        },
    )  # fmt: skip
    span.trace_id, span.name = at["trace_id"], "claude_code.llm_request"
    wrapped = ScopeSpans(spans=[span])
    wrapped.scope.name = "com.anthropic.claude_code.tracing"
    body = ExportLogsServiceRequest.FromString(request()).resource_logs[0].resource
    sent = ResourceSpans(resource=body, scope_spans=[wrapped]).SerializeToString()
    # field 1 of the request: the same bytes as ExportTraceServiceRequest(resource_spans=[...])
    traces = b"\n" + _varint(len(sent)) + sent
    assert post(collector, traces, "/v1/traces").status_code == 200
    assert post(collector, b"", "/v1/metrics").status_code == 200
    assert send(collector, b"", METRICS) == b""
    operation = {**GEMINI, "event.name": "gen_ai.client.inference.operation.details",
                 "user.email": "copies"}  # fmt: skip
    send(collector, request(record(operation, **at)))

    assert len(calls(collector, "copies")) == 1


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    return bytes([*made, number])


def test_a_subscriptions_use_is_never_part_of_what_is_billed(collector: Running) -> None:
    send(collector, request(record({**CODEX, "user.email": "plan"})))
    send(collector, request(record({**CODEX, "user.email": "plan", "auth_mode": "ApiKey"})))
    (row,) = collector.rows(
        "SELECT sum(estimated_cost_usd) AS billed, count() AS calls FROM token_usage"
        " WHERE user_id = 'plan'"
    )
    (summary,) = summarise(collector.client, Filters(user_id="plan"), ["user"])
    one = (200 * Decimal("1.25") + 1000 * Decimal("0.125") + 80 * 10) / 10**6

    assert (row["calls"], row["billed"]) == (2, one)
    assert (summary["calls"], summary["cost_usd"]) == (2, one)
    assert (summary["notional_calls"], summary["notional_cost_usd"]) == (1, one)


def test_a_subscription_said_by_the_agents_environment_is_notional_too(collector: Running) -> None:
    plan = {"subscription.type": "max"}
    send(collector, request(record({**CLAUDE, "user.email": "max"}), **plan))

    assert calls(collector, "max")[0]["cost_status"] == "notional"


def test_prompts_and_other_records_never_reach_the_disk() -> None:
    secret = {"event.name": "user_prompt", "prompt": "the secret plan", "session.id": "s-1"}
    bodies = {**CLAUDE, "event.name": "api_request_body", "body": "the secret plan"}
    delta = {**CODEX, "event.kind": "response.output_text.delta"}
    nothing = request(record(secret), record(bodies, "claude_code.api_request_body"), record(delta))
    admitted = admit_logs(request(record(secret), record(CLAUDE)))

    assert admit_logs(nothing).blob == b""
    assert admitted.spans == 1
    assert b"secret" not in admitted.blob


def test_who_pays_may_be_said_by_the_agents_resource(collector: Running) -> None:
    send(collector, request(record({**CLAUDE, "user.email": "resource"}), cost_center="research"))

    assert calls(collector, "resource")[0]["department"] == "research"


def test_json_is_taken_with_hex_ids(collector: Running) -> None:
    sent = MessageToDict(
        ExportLogsServiceRequest.FromString(
            request(
                record({**CLAUDE, "user.email": "json"}, trace_id=b"\x0a" * 16, span_id=b"\1" * 8)
            )
        )
    )
    (made,) = sent["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    for name in ("traceId", "spanId"):
        made[name] = base64.b64decode(made[name]).hex()
    answer = post(
        collector,
        json.dumps(sent).encode(),
        "/agents/v1/logs",
        **{"content-type": "application/json"},
    )

    assert (answer.status_code, answer.json()) == (200, {})
    assert calls(collector, "json")[0]["trace_id"] == "0a" * 16


def test_a_record_without_any_time_is_refused_and_said_so(collector: Running) -> None:
    lost = record({**CLAUDE, "user.email": "time"})
    lost.time_unix_nano = lost.observed_time_unix_nano = 0
    answer = ExportLogsServiceResponse.FromString(
        send(collector, request(lost, record({**CLAUDE, "user.email": "time"})))
    )

    assert answer.partial_success.rejected_log_records == 1
    assert len(calls(collector, "time")) == 1


def test_malformed_logs_are_refused_with_a_sentence(collector: Running) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        send(collector, b"\xff\xff\xff no")

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "ExportLogsServiceRequest" in refused.value.details()
    assert post(collector, b"\xff\xff\xff no").status_code == 400
    assert post(collector, b"", **{"content-type": "text/plain"}).status_code == 415


def test_without_the_key_logs_are_refused(
    tmp_path: Path, empty_store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALLYSPAN_INGEST_KEY", "tsi_only_for_this_test")
    with running_collector(tmp_path, store=empty_store.url) as collector:
        refused = post(collector, request(record(CLAUDE)))
        taken = post(
            collector, request(record(CLAUDE)), authorization="Bearer tsi_only_for_this_test"
        )

        assert (refused.status_code, taken.status_code) == (401, 200)
        with sqlite3.connect(tmp_path / "spool/0.sqlite") as file:
            assert file.execute("SELECT count() FROM dead").fetchone() == (0,)
        assert collector.rows("SELECT count() AS n FROM llm_calls") == [{"n": 1}]
