"""What was acknowledged is in the ledger once, wherever a crash or the store cut the way short."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from clickhouse_connect.driver.client import Client

from batches import a_batch
from otlp_spans import CHAT, request, span
from running import Running, running_collector, waiting
from shared_store import SharedStore
from tallyspan_clickhouse import repair
from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.local import running_url
from tallyspan_collector.dialects import Reader
from tallyspan_collector.ingest.inserter import Inserter
from tallyspan_collector.ingest.journal import (
    Batch,
    Entries,
    Journal,
    drop,
    refused_batches,
    replay,
)
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.metrics.counters import Metrics
from tallyspan_collector.read import otlp
from tallyspan_collector.read.call import columns_of
from waiting import wait_for

STORED = "tallyspan_calls_stored_total"
TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Recorder(Metrics):
    """Metrics that can be looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.repairs: list[tuple[str, int]] = []

    def repaired(self, kind: str, rows: int) -> None:
        self.repairs.append((kind, rows))


def count(collector: Running, user: str) -> int:
    sql = "SELECT count() AS n FROM llm_calls WHERE user_id = {user:String}"
    return int(collector.rows(sql, user=user)[0]["n"])


def test_a_batch_of_an_unclean_stop_is_sent_again_and_is_there_once(collector: Running) -> None:
    batch = a_batch(collector.client, "unclean", 50)
    Inserter(collector.client, Metrics())._send(batch)  # and then the process died
    refusal = Inserter(collector.client, Metrics()).insert(batch, is_doubtful=True)

    assert count(collector, "unclean") == 50
    assert refusal == ""


def test_rows_the_store_lost_behind_its_deduplication_log_are_added_again(
    collector: Running,
) -> None:
    batch = a_batch(collector.client, "lost", 60)
    metrics = Recorder()
    inserter = Inserter(collector.client, metrics)
    inserter._send(batch)
    # What a kill between log and part leaves behind: the token is known, the rows are not there.
    collector.client.command(
        "ALTER TABLE llm_calls DELETE WHERE user_id = 'lost' AND cityHash64(span_id) % 3 = 0"
        " SETTINGS mutations_sync = 2"
    )
    left = count(collector, "lost")
    inserter._send(batch)
    assert 0 < left == count(collector, "lost") < 60  # the token alone does not help

    inserter.insert(batch, is_doubtful=True)
    assert count(collector, "lost") == 60
    # the second INSERT added them to the rollups as well, which had them already: to two tables,
    # and from there to those that are made of these
    assert metrics.repairs == [("lost", 60 - left), ("rollup", 2)]
    (row,) = collector.rows(
        "SELECT uniqExact(span_id) AS spans, sum(input_tokens) AS tokens FROM llm_calls"
        " WHERE user_id = 'lost'"
    )
    assert row["spans"] == 60


def test_batches_of_an_unclean_stop_are_completed_and_their_rollups_compared_together(
    collector: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, short, unsent = (a_batch(collector.client, "together", rows) for rows in (5, 60, 7))
    broken = Batch(2, 1, ("start_time", "no_such_column"), whole.payload)
    metrics = Recorder()
    inserter = Inserter(collector.client, metrics)
    inserter._send(whole)
    inserter._send(short)
    lost = f"batch_id = {short.batch_id} AND cityHash64(span_id) % 3 = 0"
    collector.client.command(f"ALTER TABLE llm_calls DELETE WHERE {lost} SETTINGS mutations_sync=2")
    left = count(collector, "together") - 5
    assert 0 < left < 60
    compared: list[list[int]] = []
    compare = repair.repair

    def once_refused(client: Client, batch_ids: list[int]) -> repair.Repair:
        compared.append(batch_ids)
        if len(compared) == 1:  # what the store had may be gone when it is there again
            gone = f"batch_id = {unsent.batch_id}"
            client.command(f"ALTER TABLE llm_calls DELETE WHERE {gone} SETTINGS mutations_sync=2")
            raise StoreError("the store is away")
        return compare(client, batch_ids)

    monkeypatch.setattr("tallyspan_collector.ingest.inserter.repair", once_refused)
    ended = [*inserter.recover([whole, short, broken, unsent])]

    assert [(batch, bool(refusal)) for batch, refusal in ended] == [
        (whole, False), (short, False), (broken, True), (unsent, False),
    ]  # fmt: skip
    assert count(collector, "together") == 72
    assert compared == [[each.batch_id for each in (whole, short, unsent)]] * 2
    calls = "SELECT sum(calls) AS n FROM usage_by_user WHERE user_id = 'together'"
    assert collector.rows(calls) == [{"n": 72}]


def test_a_batch_the_store_will_never_take_is_kept_apart_and_the_next_goes_in(
    collector: Running, tmp_path: Path
) -> None:
    good = a_batch(collector.client, "after-poison", 3)
    broken = Batch(2, 1, ("start_time", "no_such_column"), good.payload)
    path = tmp_path / "journal.sqlite"
    journal = Journal(path)
    for number, batch in ((5, good), (6, broken)):
        (reading,) = (Reader().read(each) for each in otlp.decode(request(span(number, CHAT))))
        journal.book(
            1,
            number,
            [reading],
            lambda calls, _, __, batch=batch: Entries(batch, [Cost()], columns_of(calls)),  # type: ignore[misc]
        )
    inserter = Inserter(collector.client, Metrics())
    refusal = inserter.insert(broken)
    assert refusal
    assert inserter.insert(good) == ""
    journal.settle([good], [(broken, refusal)])

    assert count(collector, "after-poison") == 3
    assert [(each.batch_id, each.reason) for each in refused_batches(path)] == [(2, refusal)]
    assert journal.planned(1) == []
    assert replay(path, 2)
    assert journal.planned(1) == [broken]
    assert not drop(path, 2)  # it is not refused any more
    journal.close()


def start(data_dir: Path) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    free = "127.0.0.1:0"
    child = subprocess.Popen(
        [sys.executable, "-m", "tallyspan", "up", "--data-dir", str(data_dir), "--otlp-grpc", free,
         "--otlp-http", free, "--admin", free],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line, "the collector did not start"
    return child, json.loads(line)


def end(child: subprocess.Popen[str]) -> int:
    with child:
        return child.wait(60)


@pytest.mark.store
def test_kill_9_of_the_collector_loses_and_doubles_nothing(tmp_path: Path) -> None:
    acknowledged = 0
    for turn in range(2):
        child, ready = start(tmp_path)
        with grpc.insecure_channel(ready["otlp_grpc"]) as channel:
            send = channel.unary_unary(TRACES)
            for number in range(30):
                first = turn * 1000 + number * 10
                body = request(*(span(first + i, {**CHAT, "user.id": "k"}) for i in range(1, 11)))
                send(body, timeout=20)
                acknowledged += 10
                if number % 7 == 0:
                    send(body, timeout=20)  # an exporter that missed the answer
        child.send_signal(signal.SIGKILL)
        end(child)

    child, ready = start(tmp_path)
    rows = spans = 0
    try:
        url = running_url(tmp_path)
        assert url is not None
        wait_for(lambda: not waiting(tmp_path), "an empty spool")
        with connect(url) as client:
            ((rows, spans),) = client.query(
                "SELECT count(), uniqExact(trace_id, span_id) FROM llm_calls"
            ).result_rows
        assert (rows, spans) == (acknowledged, acknowledged)
    finally:
        child.terminate()
        assert end(child) == 0


@pytest.mark.store
def test_a_store_that_is_killed_under_load_has_every_call_once(tmp_path: Path) -> None:
    with running_collector(tmp_path) as collector:
        engine = engine_pid(tmp_path)
        with grpc.insecure_channel(collector.ready.otlp_grpc) as channel:
            send = channel.unary_unary(TRACES)
            for number in range(60):
                body = request(
                    *(span(number * 10 + i, {**CHAT, "user.id": "s"}) for i in range(1, 11))
                )
                send(body, timeout=20)
                if number in {20, 40}:
                    wait_for(lambda: collector.metric(STORED) > 0, "a batch on its way")
                    os.kill(engine_pid(tmp_path), signal.SIGKILL)
        collector.settle(60)
        url = running_url(tmp_path)
        assert url is not None
        with connect(url) as client:
            ((rows, spans),) = client.query(
                "SELECT count(), uniqExact(trace_id, span_id) FROM llm_calls"
            ).result_rows
        assert (rows, spans) == (600, 600)
        assert engine != engine_pid(tmp_path)


def engine_pid(data_dir: Path) -> int:
    """Return the process of the folder's engine; one that was killed is a moment without."""
    found: list[int] = []

    def is_there() -> bool:
        for process in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                command = (process / "cmdline").read_bytes().decode()
                if "local_engine" in command and str(data_dir) in command:
                    found.append(int(process.name))
        return bool(found)

    wait_for(is_there, "the engine")
    return found[0]


def test_a_corrupt_spool_stops_ingest_but_not_reads(
    tmp_path: Path, empty_store: SharedStore
) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    (folder / "0.sqlite").write_bytes(b"garbage" * 4000)
    with running_collector(tmp_path, store=empty_store.url) as collector:
        answer = httpx.post(
            f"http://{collector.ready.otlp_http}/v1/traces",
            content=request(span(1, CHAT)),
            headers={"content-type": "application/x-protobuf"},
        )
        ready = httpx.get(f"{collector.ready.admin}/readyz")

        assert answer.status_code == 503
        assert "retry-after" in answer.headers
        assert "0.sqlite" in ready.json()["reasons"][0]
        assert collector.client.query("SELECT count() FROM calls").result_rows == [(0,)]
