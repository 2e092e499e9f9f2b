"""Several processes on the same ports: nothing lost, nothing twice, one picture of all of them."""

import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import grpc
import httpx
import pytest
from prometheus_client import CollectorRegistry

from otlp_spans import CHAT, request, span
from running import Running, running_collector
from tallyspan_collector.config import Config
from tallyspan_collector.metrics.counters import Metrics
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.watch import age_days
from tallyspan_collector.server.worker import Health
from tallyspan_collector.server.workers import Report, Workers

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_collector(tmp_path_factory.mktemp("workers"), workers=2) as running:
        yield running


def send(collector: Running, body: bytes) -> None:
    # A channel of its own is a connection of its own, which may go to either worker.
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(collector.ready.otlp_grpc, options=options) as channel:
        channel.unary_unary(TRACES)(body, timeout=20, wait_for_ready=True)


def settled(collector: Running, user: str) -> list[tuple[int, int]]:
    sql = f"SELECT count(), uniqExact(trace_id, span_id) FROM llm_calls WHERE user_id = '{user}'"
    until = time.monotonic() + 20
    last: list[tuple[int, int]] = []
    while time.monotonic() < until:
        found = [tuple(row) for row in collector.client.query(sql).result_rows]
        if found == last:
            break
        last = found
        time.sleep(2.5)  # longer than the workers need to make a batch and to tell their metrics
    return last


def test_both_take_requests_and_a_span_sent_to_both_is_booked_once(collector: Running) -> None:
    for number in range(24):
        body = request(span(number + 1, {**CHAT, "user.id": "w"}))
        send(collector, body)
        send(collector, body)
    found = settled(collector, "w")
    files = sorted((collector.data_dir / "spool").glob("[0-9].sqlite"))

    assert found == [(24, 24)]
    assert [path.name for path in files] == ["0.sqlite", "1.sqlite"]
    assert collector.metric("tallyspan_requests_total") == 48
    assert collector.metric("tallyspan_calls_stored_total") == 24
    assert collector.metric("tallyspan_price_data_age_days") == age_days(
        PriceBook.load().data, datetime.now(UTC)
    )
    assert httpx.get(f"{collector.ready.admin}/readyz").json()["ready"] is True


def worker_pids(data_dir: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            opened = [str(link.readlink()) for link in (entry / "fd").iterdir()]
        except OSError:
            continue
        if entry.name.isdigit() and any(str(data_dir / "spool") in name for name in opened):
            found.append(int(entry.name))
    return found


def test_a_worker_that_dies_is_started_again_with_its_spool(collector: Running) -> None:
    before = worker_pids(collector.data_dir)
    os.kill(before[0], signal.SIGKILL)
    until = time.monotonic() + 30
    while len(after := worker_pids(collector.data_dir)) < 2 or after == before:
        assert time.monotonic() < until
        time.sleep(0.1)
    for number in range(8):
        send(collector, request(span(900 + number, {**CHAT, "user.id": "again"})))

    assert before[0] not in after
    assert settled(collector, "again") == [(8, 8)]


def test_a_worker_that_cannot_start_again_says_why_and_the_others_are_still_added_up() -> None:
    metrics = Metrics()
    metrics.request("accepted")
    fine = Health(ready=True, reasons=[], warnings=[])
    workers = Workers(Config("local", Path("unused"), "", "", ""), "")
    workers._reports = {
        0: Report(fine, list(metrics.registry.collect())),
        1: Report(Health(ready=False, reasons=["no disk"], warnings=[]), error="no disk"),
    }
    registry = CollectorRegistry()
    registry.register(workers)

    assert workers.health() == {"ready": False, "reasons": ["worker 1: no disk"], "warnings": []}
    assert registry.get_sample_value("tallyspan_requests_total", {"outcome": "accepted"}) == 1
