"""Several processes on the same ports: nothing lost, nothing twice, one picture of all of them."""

import asyncio
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import grpc
import httpx
import pytest
from prometheus_client import CollectorRegistry

from otlp_spans import CHAT, request, span
from running import Running, running_collector
from shared_store import SharedStore
from tallyspan_collector.config import Config
from tallyspan_collector.dialects import Reader
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.ingest.journal import Batch, Entries, Journal
from tallyspan_collector.ingest.left_spools import take_over
from tallyspan_collector.ingest.spool import Spool, status
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.metrics.counters import Metrics
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.watch import age_days
from tallyspan_collector.read import otlp
from tallyspan_collector.read.call import columns_of
from tallyspan_collector.server.worker import Health
from tallyspan_collector.server.workers import Report, Workers
from waiting import wait_for

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory, store: SharedStore) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("workers")
    with running_collector(folder, store=store.url, workers=2) as running:
        yield running


def send(collector: Running, body: bytes) -> None:
    # A channel of its own is a connection of its own, which may go to either worker.
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(collector.ready.otlp_grpc, options=options) as channel:
        channel.unary_unary(TRACES)(body, timeout=20, wait_for_ready=True)


def booked(collector: Running, user: str) -> list[tuple[int, int]]:
    sql = f"SELECT count(), uniqExact(trace_id, span_id) FROM llm_calls WHERE user_id = '{user}'"
    collector.settle()
    return [tuple(row) for row in collector.client.query(sql).result_rows]


def requests_and_calls(collector: Running) -> tuple[float, float]:
    names = ("tallyspan_requests_total", "tallyspan_calls_stored_total")
    return collector.metric(names[0]), collector.metric(names[1])


def test_both_take_requests_and_a_span_sent_to_both_is_booked_once(collector: Running) -> None:
    for number in range(24):
        body = request(span(number + 1, {**CHAT, "user.id": "w"}))
        send(collector, body)
        send(collector, body)
    found = booked(collector, "w")
    files = sorted((collector.data_dir / "spool").glob("[0-9].sqlite"))

    assert found == [(24, 24)]
    assert [path.name for path in files] == ["0.sqlite", "1.sqlite"]
    # A worker tells its metrics every second.
    wait_for(lambda: requests_and_calls(collector) == (48, 24), "48 requests and 24 calls counted")
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
    wait_for(
        lambda: len({*worker_pids(collector.data_dir)} - {before[0]}) == 2, "a new second worker"
    )
    after = worker_pids(collector.data_dir)
    for number in range(8):
        send(collector, request(span(900 + number, {**CHAT, "user.id": "again"})))

    assert before[0] not in after
    assert booked(collector, "again") == [(8, 8)]


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


def test_what_waits_in_spools_of_workers_that_are_gone_is_booked_once(
    tmp_path: Path, store: SharedStore
) -> None:
    folder = tmp_path / "spool"
    body = request(span(71, {**CHAT, "user.id": "left"}), span(72, {**CHAT, "user.id": "left"}))
    folder.mkdir()
    left = Spool(folder / "1.sqlite", 1 << 20)
    asyncio.run(left.put("", body))
    left.close()
    with running_collector(tmp_path, store=store.url) as collector:
        assert booked(collector, "left") == [(2, 2)]

    assert status(folder / "1.sqlite")["requests"] == 0


def test_batches_and_requests_of_a_spool_that_is_taken_over_are_the_other_ones(
    tmp_path: Path,
) -> None:
    path, first, second = tmp_path / "journal.sqlite", tmp_path / "0.sqlite", tmp_path / "1.sqlite"
    left = Spool(second, 1 << 20)
    for blob in (b"booked", b"waiting"):
        asyncio.run(left.put("key", blob))
    left.close()
    journal = Journal(path)
    (call,) = (Reader().read(each) for each in otlp.decode(request(span(1, CHAT))))
    batch = Batch(7, 1, ("a",), b"rows")
    journal.book(
        left.id, 1, [call], lambda calls, _, __: Entries(batch, [Cost()], columns_of(calls))
    )

    assert take_over(second, first, path) == 1
    taken = Spool(first, 1 << 20)
    requests = taken.take(0)
    taken.close()
    assert [(each.source, each.body()) for each in requests] == [("key", b"waiting")]
    assert journal.planned(taken.id) == [batch]
    assert journal.planned(left.id) == []
    assert take_over(second, first, path) == 0
    journal.close()


def test_a_second_collector_on_a_folder_is_refused(collector: Running, store: SharedStore) -> None:
    with (
        pytest.raises(ConfigError, match=f"a collector runs there already .process {os.getpid()}"),
        running_collector(collector.data_dir, store=store.url),
    ):
        pass
