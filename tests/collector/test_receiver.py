import asyncio
import base64
import gzip
import json
import socket
import threading
from pathlib import Path

import grpc
import httpx
import pytest
import zstandard
from google.protobuf.json_format import MessageToDict
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otlp_spans import CHAT, request, span
from running import Running, running_collector
from shared_store import SharedStore
from tallyspan_collector.access.keys import Keys
from tallyspan_collector.ingest.spool import Spool
from tallyspan_collector.metrics.counters import Metrics
from tallyspan_collector.receiver import grpc as receiver
from tallyspan_collector.receiver.intake import Intake
from tallyspan_collector.receiver.signals import SIGNALS
from waiting import wait_for

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PROTOBUF = {"content-type": "application/x-protobuf"}


def send(collector: Running, body: bytes) -> bytes:
    with grpc.insecure_channel(collector.ready.otlp_grpc) as channel:
        answer: bytes = channel.unary_unary(TRACES)(body, timeout=30)
        return answer


def post(collector: Running, body: bytes, **headers: str) -> httpx.Response:
    url = f"http://{collector.ready.otlp_http}/v1/traces"
    return httpx.post(url, content=body, headers={**PROTOBUF, **headers}, timeout=30)


def otlp_json(sent: ExportTraceServiceRequest) -> str:
    """The request as OTLP writes it in JSON: ids are hex."""
    said = MessageToDict(sent)
    for each in said["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        for name in ("traceId", "spanId"):
            each[name] = base64.b64decode(each[name]).hex()
    return json.dumps(said)


def users(collector: Running, user: str) -> int:
    sql = "SELECT count() AS n FROM token_usage WHERE user_id = {user:String}"
    return int(collector.rows(sql, user=user)[0]["n"])


def test_what_grpc_acknowledges_is_in_the_ledger(collector: Running) -> None:
    assert send(collector, request(span(1, {**CHAT, "user.id": "grpc"}))) == b""
    assert users(collector, "grpc") == 1


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_what_http_acknowledges_is_in_the_ledger(collector: Running, coding: str) -> None:
    body = request(span(len(coding), {**CHAT, "user.id": coding}))
    packed = gzip.compress(body) if coding == "gzip" else body

    assert post(collector, packed, **{"content-encoding": coding}).status_code == 200
    assert users(collector, coding) == 1


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_compressed_body_may_be_of_several_pieces(collector: Running, coding: str) -> None:
    compress = gzip.compress if coding == "gzip" else zstandard.compress
    user = f"pieces of {coding}"
    number = {"gzip": 700, "zstd": 710}[coding]
    first, second = (
        request(span(each, {**CHAT, "user.id": user})) for each in (number, number + 1)
    )
    answer = post(collector, compress(first) + compress(second), **{"content-encoding": coding})

    assert answer.status_code == 200
    assert users(collector, user) == 2


def test_a_sender_that_goes_away_within_its_body_is_counted_and_no_error_of_ours(
    collector: Running, capfd: pytest.CaptureFixture[str]
) -> None:
    before = collector.metric("tallyspan_requests_total")
    host, _, port = collector.ready.otlp_http.rpartition(":")
    with socket.create_connection((host, int(port))) as sender:
        sender.sendall(
            b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n"
            b"content-type: application/x-protobuf\r\n\r\nhalf"
        )
    wait_for(
        lambda: collector.metric("tallyspan_requests_total") > before, "the broken request counted"
    )

    assert "Traceback" not in capfd.readouterr().err


def test_spans_of_a_sender_that_goes_away_before_its_answer_are_kept_and_counted(
    tmp_path: Path,
) -> None:
    metrics, spool = Metrics(), Spool(tmp_path / "0.sqlite", 1 << 20)
    intake = Intake(spool, "", Keys(), metrics, is_local=True)

    async def go_away() -> None:
        taking = asyncio.create_task(intake.take(request(span(1, CHAT)), None, SIGNALS[0]))
        await asyncio.sleep(0)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking

    asyncio.run(go_away())
    kept = spool.take(5)
    spool.close()

    assert len(kept) == 1
    assert metrics.registry.get_sample_value("tallyspan_genai_spans_received_total") == 1


def test_the_same_spans_sent_again_change_nothing(collector: Running) -> None:
    body = request(span(100, {**CHAT, "user.id": "again"}), span(101, {**CHAT, "user.id": "again"}))
    send(collector, body)
    send(collector, body)
    post(collector, body)

    assert users(collector, "again") == 2


def test_malformed_bytes_are_refused_and_the_next_request_is_taken(collector: Running) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        send(collector, b"\xff\xff\xff not protobuf")
    over_http = post(collector, b"\xff\xff\xff not protobuf")

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "ExportTraceServiceRequest" in refused.value.details()
    assert over_http.status_code == 400
    assert "ExportTraceServiceRequest" in Status.FromString(over_http.content).message
    assert send(collector, request(span(2, CHAT))) == b""


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"content-type": "text/plain"}, b"", 415),
        ({"content-encoding": "br"}, b"", 415),
        ({"content-encoding": "gzip"}, b"no gzip", 400),
        ({"content-encoding": "gzip"}, gzip.compress(b"x" * 1000, mtime=0)[:-9], 400),
        ({"content-encoding": "gzip"}, gzip.compress(b"\0" * (65 << 20), mtime=0), 413),
        ({"content-encoding": "gzip"}, gzip.compress(b"", mtime=0) + b"and more", 400),
        ({"content-encoding": "zstd"}, b"", 400),
        ({"content-encoding": "zstd"}, b"no zstd", 400),
        ({"content-encoding": "zstd"}, zstandard.compress(b"\0" * 1000)[:-1], 400),
        ({"content-encoding": "zstd"}, zstandard.compress(b"\0" * (65 << 20)), 413),
    ],
)
def test_what_http_cannot_take_is_refused_with_a_sentence(
    collector: Running, headers: dict[str, str], body: bytes, status: int
) -> None:
    answer = post(collector, body, **headers)

    assert answer.status_code == status
    assert len(Status.FromString(answer.content).message) > 10


def test_spans_that_are_no_calls_are_acknowledged_and_counted(collector: Running) -> None:
    wrapper = {**CHAT, "gen_ai.operation.name": "invoke_agent", "user.id": "wrapper"}
    send(collector, request(span(3, wrapper), span(4, {"http.route": "/"})))
    metrics = httpx.get(f"{collector.ready.admin}/metrics").text

    assert users(collector, "wrapper") == 0
    assert 'tallyspan_spans_dropped_total{reason="not_a_call"}' in metrics
    assert collector.metric("tallyspan_usage_on_wrappers_total") >= 1


def test_metrics_and_readiness_need_no_key_and_say_nothing_of_anybodys_calls(
    collector: Running,
) -> None:
    """Counts, ages and states; no user, department, model, key or amount."""
    names = {"user.id": "mallory", "tallyspan.department": "legal", "gen_ai.agent.id": "scribe"}
    send(collector, request(span(31, CHAT | names)))
    assert users(collector, "mallory") == 1

    for path in ("/metrics", "/readyz"):
        answer = httpx.get(f"{collector.ready.admin}{path}")
        assert answer.status_code == 200
        for word in ("mallory", "legal", "scribe", CHAT["gen_ai.request.model"], "usd"):
            assert word not in answer.text.lower(), (path, word)


def test_what_arrives_while_the_store_refuses_is_kept_and_booked_later(
    tmp_path: Path, empty_store: SharedStore
) -> None:
    with running_collector(tmp_path, store=empty_store.url) as collector:
        collector.client.command("RENAME TABLE llm_calls TO away")
        send(collector, request(span(1, {**CHAT, "user.id": "kept"})))
        url = f"{collector.ready.admin}/readyz"
        wait_for(lambda: httpx.get(url).status_code != 200, "word of the store's refusal")
        ready = httpx.get(url)
        assert post(collector, request(span(2, {**CHAT, "user.id": "kept"}))).status_code == 200
        collector.client.command("RENAME TABLE away TO llm_calls")

        assert "llm_calls" in ready.json()["reasons"][0]
        assert users(collector, "kept") == 2
        assert httpx.get(f"{collector.ready.admin}/readyz").status_code == 200


def test_above_its_limit_the_spool_asks_senders_to_come_back(
    tmp_path: Path, empty_store: SharedStore
) -> None:
    with running_collector(tmp_path, store=empty_store.url, spool_limit=1) as collector:
        collector.client.command("RENAME TABLE llm_calls TO away")
        send(collector, request(span(1, CHAT)))
        with pytest.raises(grpc.RpcError) as refused:
            send(collector, request(span(2, CHAT)))
        over_http = post(collector, request(span(2, CHAT)))
        details = Status.FromString(
            dict(refused.value.trailing_metadata())["grpc-status-details-bin"]
        )
        retry = RetryInfo()
        details.details[0].Unpack(retry)
        collector.client.command("RENAME TABLE away TO llm_calls")
        assert collector.rows("SELECT count() AS n FROM llm_calls") == [{"n": 1}]
        send(collector, request(span(2, CHAT)))

        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert retry.retry_delay.seconds >= 1
        assert (over_http.status_code, int(over_http.headers["retry-after"]) >= 1) == (503, True)
        assert collector.rows("SELECT count() AS n FROM llm_calls") == [{"n": 2}]


def test_a_grpc_message_that_never_ends_is_counted_and_then_asked_to_come_again(
    collector: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "SLOW_SECONDS", 0.01)
    monkeypatch.setattr(receiver, "BODY_SECONDS", 0.05)
    with grpc.insecure_channel(collector.ready.otlp_grpc) as channel:
        slow = channel.stream_unary(TRACES)
        never = threading.Event()
        with pytest.raises(grpc.RpcError) as late:
            slow((never.wait() for _ in range(1)), timeout=30)
        monkeypatch.setattr(receiver, "SLOW_BYTES", 1 << 40)
        monkeypatch.setattr(receiver, "BODY_SECONDS", 30)
        with pytest.raises(grpc.RpcError) as too_many:
            slow((never.wait() for _ in range(1)), timeout=30)
        with pytest.raises(grpc.RpcError) as empty:
            slow(iter(()), timeout=30)
        never.set()

        assert late.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert too_many.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert empty.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert collector.metric("tallyspan_bodies_bytes") == 0


def test_zstd_and_json_are_taken_too(collector: Running) -> None:
    body = request(span(300, {**CHAT, "user.id": "zstd"}))
    packed = zstandard.ZstdCompressor().compress(body)
    sent = ExportTraceServiceRequest.FromString(request(span(301, {**CHAT, "user.id": "json"})))
    as_json = otlp_json(sent)
    answer = post(collector, as_json.encode(), **{"content-type": "application/json"})

    assert post(collector, packed, **{"content-encoding": "zstd"}).status_code == 200
    assert (answer.status_code, answer.json()) == (200, {})
    assert (users(collector, "zstd"), users(collector, "json")) == (1, 1)
    (row,) = collector.rows("SELECT trace_id FROM calls WHERE user_id = 'json'")
    assert row["trace_id"] == sent.resource_spans[0].scope_spans[0].spans[0].trace_id.hex()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"nonsense",
        b'{"resourceSpans": 7}',
        b"[" * 100_000,
        b'{"a":' * 5000,
        b'{"resourceSpans":[' + b"{}," * (20 << 20) + b"{}]}",  # would be 4 GB and a minute
    ],
    ids=range(7),
)
def test_bad_json_is_refused_in_json(collector: Running, body: bytes) -> None:
    answer = post(collector, body, **{"content-type": "application/json"})

    assert answer.status_code == 400
    assert "OTLP" in answer.json()["message"]


def test_half_an_emoji_in_json_costs_nothing_but_itself(collector: Running) -> None:
    sent = ExportTraceServiceRequest.FromString(request(span(302, {**CHAT, "user.id": "<>cut"})))
    as_json = otlp_json(sent).replace("<>", "\\ud83d")
    answer = post(collector, as_json.encode(), **{"content-type": "application/json"})

    assert (answer.status_code, answer.json()) == (200, {})
    assert users(collector, "?cut") == 1


def test_spans_without_any_time_are_refused_and_said_so(collector: Running) -> None:
    sent = ExportTraceServiceRequest.FromString(
        request(span(400, {**CHAT, "user.id": "time"}), span(401, {**CHAT, "user.id": "time"}))
    )
    lost = sent.resource_spans[0].scope_spans[0].spans[1]
    lost.start_time_unix_nano = lost.end_time_unix_nano = 0
    answer = ExportTraceServiceResponse.FromString(send(collector, sent.SerializeToString()))

    assert answer.partial_success.rejected_spans == 1
    assert "time" in answer.partial_success.error_message
    assert users(collector, "time") == 1


def test_spans_without_valid_ids_get_some_that_stay_the_same(collector: Running) -> None:
    sent = ExportTraceServiceRequest.FromString(request(span(500, {**CHAT, "user.id": "ids"})))
    sent.resource_spans[0].scope_spans[0].spans[0].trace_id = b"short"
    send(collector, sent.SerializeToString())
    send(collector, sent.SerializeToString())

    assert users(collector, "ids") == 1


def test_chunked_bodies_need_no_length(collector: Running) -> None:
    body = request(span(600, {**CHAT, "user.id": "chunked"}))
    answer = httpx.post(
        f"http://{collector.ready.otlp_http}/some/prefix/v1/traces",
        content=(body[start : start + 7] for start in range(0, len(body), 7)),
        headers=PROTOBUF,
    )

    assert answer.status_code == 200
    assert users(collector, "chunked") == 1
