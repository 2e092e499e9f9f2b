import gzip
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from otlp_spans import CHAT, request, span
from running import Running, running_collector

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PROTOBUF = {"content-type": "application/x-protobuf"}


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_collector(tmp_path_factory.mktemp("store")) as running:
        yield running


def send(collector: Running, body: bytes) -> bytes:
    with grpc.insecure_channel(collector.ready.otlp_grpc) as channel:
        answer: bytes = channel.unary_unary(TRACES)(body, timeout=30)
        return answer


def post(collector: Running, body: bytes, **headers: str) -> httpx.Response:
    url = f"http://{collector.ready.otlp_http}/v1/traces"
    return httpx.post(url, content=body, headers={**PROTOBUF, **headers}, timeout=30)


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
        ({"content-encoding": "gzip"}, gzip.compress(b"x" * 1000)[:-9], 400),
        ({"content-encoding": "gzip"}, gzip.compress(b"\0" * (65 << 20)), 413),
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


def test_nothing_is_acknowledged_while_the_store_refuses(tmp_path: Path) -> None:
    with running_collector(tmp_path / "store") as collector:
        collector.client.command("RENAME TABLE llm_calls TO away")
        with pytest.raises(grpc.RpcError) as refused:
            send(collector, request(span(1, CHAT)))
        over_http = post(collector, request(span(1, CHAT)))
        details = Status.FromString(
            dict(refused.value.trailing_metadata())["grpc-status-details-bin"]
        )
        retry = RetryInfo()
        details.details[0].Unpack(retry)
        ready = httpx.get(f"{collector.ready.admin}/readyz")
        collector.client.command("RENAME TABLE away TO llm_calls")
        send(collector, request(span(1, CHAT)))

        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert retry.retry_delay.seconds >= 1
        assert (over_http.status_code, int(over_http.headers["retry-after"]) >= 1) == (503, True)
        assert ready.status_code == 503
        assert users(collector, "ada") == 1
