"""A spool folder from a backup: what is in the ledger already is not booked a second time."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from clickhouse_connect.driver.client import Client

from front import Mode, fronted
from otlp_spans import CHAT, request, span
from running import Running, running_collector
from shared_store import SharedStore
from tallyspan_clickhouse.schema import ROLLUPS
from tallyspan_collector.ingest.lives import METRIC, begin_life
from tallyspan_collector.ingest.spool import Spool
from waiting import wait_for

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
TOKENS = "gen_ai.usage.input_tokens"


def send(collector: Running, *bodies: bytes) -> None:
    with grpc.insecure_channel(collector.ready.otlp_grpc) as channel:
        for body in bodies:
            channel.unary_unary(TRACES)(body, timeout=20)
    collector.settle()


def figures(client: Client) -> set[tuple[Any, ...]]:
    """Return calls and input tokens of ledger and rollups: one value, if they agree."""
    sums = [f"SELECT sum(calls), sum(input_tokens) FROM {each.view}" for each in ROLLUPS]
    sums += ["SELECT sum(sign), sum(input_tokens) FROM llm_calls"]
    return {tuple(client.query(sql).result_rows[0]) for sql in sums}


def warnings(collector: Running) -> list[str]:
    return [str(each) for each in httpx.get(f"{collector.ready.admin}/readyz").json()["warnings"]]


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A folder with three requests that wait: calls 1 and 2, 3 and 4, 5."""
    spool = Spool(tmp_path / "data/spool/0.sqlite", 1 << 20)
    for numbers in ([1, 2], [3, 4], [5]):
        body = request(*(span(number, CHAT) for number in numbers))
        asyncio.run(spool.put("", body))
    spool.close()
    begin_life(tmp_path / "data/spool/journal.sqlite")
    shutil.copytree(tmp_path / "data/spool", tmp_path / "backup")
    return tmp_path / "backup"


def restore(backup: Path, data: Path) -> None:
    shutil.rmtree(data / "spool")
    shutil.copytree(backup, data / "spool")


@pytest.mark.parametrize("workers", [1, 2])
def test_what_waited_in_a_restored_folder_and_what_is_sent_again_is_booked_once(
    backup: Path, tmp_path: Path, empty_store: SharedStore, client: Client, workers: int
) -> None:
    data = tmp_path / "data"
    settings: dict[str, Any] = {"store": empty_store.url, "workers": workers}
    with running_collector(data, **settings) as collector:
        send(collector, request(span(6, CHAT), span(7, CHAT)))
        assert figures(client) == {(7, 7000)}
        assert warnings(collector) == []

    restore(backup, data)
    with running_collector(data, **settings) as collector:
        send(collector, request(span(7, CHAT), span(8, CHAT)))
        wait_for(lambda: "was restored" in " ".join(warnings(collector)), "a warning")
        assert figures(client) == {(8, 8000)}
        repaired = "tallyspan_rows_repaired_total"
        wait_for(lambda: collector.metric(repaired) == 6, "six entries that are there already")
    with running_collector(data, **settings) as collector:  # it goes on to be known
        send(collector, request(span(6, CHAT)), request(span(9, CHAT)))
        assert figures(client) == {(9, 9000)}


def test_a_call_that_a_later_report_corrects_is_charged_as_corrected(
    backup: Path, tmp_path: Path, empty_store: SharedStore, client: Client
) -> None:
    data = tmp_path / "data"
    corrected = span(5, {**CHAT, TOKENS: 1200, "gen_ai.response.id": "r"})
    corrected.span_id = (50).to_bytes(8)
    corrected.parent_span_id = (5).to_bytes(8)
    with running_collector(data, store=empty_store.url) as collector:
        send(collector, request(corrected))
    assert figures(client) == {(5, 5200)}

    restore(backup, data)
    with running_collector(data, store=empty_store.url) as collector:
        send(collector, request(corrected))
    assert figures(client) == {(5, 5200)}


def test_a_restored_folder_whose_inserts_are_cut_is_booked_once(
    backup: Path, tmp_path: Path, empty_store: SharedStore, client: Client
) -> None:
    data = tmp_path / "data"
    with fronted(empty_store.url) as (front, url):
        with running_collector(data, store=url) as collector:
            collector.settle()
        restore(backup, data)
        for _ in range(2):
            front.befall(Mode.CUT_ANSWER, b"INSERT+INTO+llm_calls", times=2)
            with running_collector(data, store=url) as collector:
                send(collector, request(span(6, CHAT)))

    assert figures(client) == {(6, 6000)}


def test_a_folder_that_is_started_again_and_again_is_not_taken_for_restored(
    tmp_path: Path, empty_store: SharedStore, client: Client
) -> None:
    for number in range(3):
        with running_collector(tmp_path, store=empty_store.url) as collector:
            if number != 1:  # a life without a batch
                send(collector, request(span(number + 1, CHAT)))
            assert warnings(collector) == []

    told = "SELECT uniqExact(labels), max(value) FROM collector_metrics WHERE name = {name:String}"
    assert client.query(told, parameters={"name": METRIC}).first_row == (2, 2)
    assert figures(client) == {(2, 2000)}
