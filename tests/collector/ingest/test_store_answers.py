"""An answer counts only with ClickHouse's own proof; what stands in front of it says anything."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import httpx
import lz4.frame
import pytest
from clickhouse_connect.driver.client import Client

from batches import a_batch
from front import Front, Mode, fronted
from otlp_spans import CHAT, request, span
from running import running_collector, waiting
from shared_store import SharedStore
from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.migrate import bundled, pending
from tallyspan_collector.ingest import inserter
from tallyspan_collector.ingest.inserter import Inserter
from tallyspan_collector.metrics.counters import Metrics
from tallyspan_collector.server import opening, worker
from waiting import wait_for

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
COUNTED = "SELECT count(), uniqExact(span_id), sum(input_tokens) FROM llm_calls"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inserter, "MAX_PAUSE_SECONDS", 0.01)


@pytest.fixture
def way(empty_store: SharedStore) -> Iterator[tuple[Front, Client]]:
    """A front of an empty store, and a client that goes through it."""
    with fronted(empty_store.url) as (front, url), connect(url) as client:
        yield front, client


@pytest.mark.parametrize(("mode", "times"), [(Mode.PAGE, 4), (Mode.EMPTY, 4), (Mode.CUT, 1)])
def test_a_batch_is_in_the_ledger_once_whatever_answered_in_place_of_the_store(
    mode: Mode, times: int, way: tuple[Front, Client], client: Client
) -> None:
    front, through = way
    batch = a_batch(client, "ada", 40)
    front.befall(mode, b"llm_calls", times=times)

    assert Inserter(through, Metrics()).insert(batch) == ""
    assert len(front.met) == times
    # 40 calls with 1,000 tokens of input each
    assert client.query(COUNTED).result_rows == [(40, 40, 40_000)]


def test_a_batch_that_the_store_cannot_read_is_refused_after_a_few_tries(
    way: tuple[Front, Client], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, through = way
    monkeypatch.setattr(inserter, "MAX_TRIES", 3)
    sound = a_batch(client, "ada", 40)
    rows = lz4.frame.decompress(sound.payload)
    torn = replace(sound, payload=lz4.frame.compress(rows[:-20]))
    refusal = Inserter(through, Metrics()).insert(torn)
    assert refusal is not None
    assert "Code: " in refusal
    assert client.query(COUNTED).result_rows == [(0, 0, None)]


def test_nothing_is_not_the_number_zero(way: tuple[Front, Client]) -> None:
    front, through = way
    front.befall(Mode.EMPTY)

    with pytest.raises(StoreError, match="the store gave no answer"):
        pending(through, "tallyspan", bundled())


def test_an_answer_of_something_else_is_an_error_that_says_so(way: tuple[Front, Client]) -> None:
    front, through = way
    front.befall(Mode.PAGE)

    with pytest.raises(Exception, match="the answer 200 is not ClickHouse's"):
        through.query("SELECT 1")


def test_a_collector_that_knows_its_store_starts_while_a_page_answers_in_its_place(
    tmp_path: Path, empty_store: SharedStore, client: Client
) -> None:
    with fronted(empty_store.url) as (front, url):
        with running_collector(tmp_path, store=url):
            pass  # the folder has seen its store
        front.befall(Mode.PAGE)
        with running_collector(tmp_path, store=url) as collector:
            with grpc.insecure_channel(collector.ready.otlp_grpc) as channel:
                channel.unary_unary(TRACES)(request(span(1, CHAT)), timeout=20)
            ready = f"{collector.ready.admin}/readyz"
            wait_for(lambda: "not a ClickHouse" in httpx.get(ready).text, "the reason")
            front.befall(Mode.PASS)
            wait_for(lambda: client.query("SELECT * FROM calls").row_count == 1, "the call")


def test_a_batch_that_gets_no_answer_is_a_reason_and_is_verified_on_another_connection(
    tmp_path: Path, empty_store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inserter, "SLOW_SECONDS", 0.2)
    monkeypatch.setattr(opening, "READ_SECONDS", 2)
    with (
        fronted(empty_store.url) as (front, url),
        running_collector(tmp_path, store=url) as collector,
    ):
        front.befall(Mode.SWALLOW, b"insert_deduplication_token", times=1)
        with grpc.insecure_channel(collector.ready.otlp_grpc) as channel:
            channel.unary_unary(TRACES)(request(span(1, CHAT)), timeout=20)
        ready = f"{collector.ready.admin}/readyz"
        wait_for(lambda: "has been under way to the store" in httpx.get(ready).text, "the reason")

        assert collector.rows("SELECT count() AS calls FROM calls") == [{"calls": 1}]
        assert httpx.get(ready).json()["reasons"] == []


def test_a_store_that_does_not_answer_does_not_keep_a_collector_from_ending(
    tmp_path: Path, empty_store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "DRAIN_SECONDS", 0.5)
    with fronted(empty_store.url) as (front, url):
        with running_collector(tmp_path, store=url) as collector:
            front.befall(Mode.SWALLOW)
            with grpc.insecure_channel(collector.ready.otlp_grpc) as channel:
                channel.unary_unary(TRACES)(request(span(1, CHAT)), timeout=20)
            wait_for(lambda: any(b"llm_calls" in each for each in front.met), "the batch")
            began = time.monotonic()
        # within the limits of its parts, and not those 30 seconds that a connection has
        assert time.monotonic() - began < 10
    assert waiting(tmp_path) == 1
