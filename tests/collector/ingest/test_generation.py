"""An id is believed only with its file: a spool file that is older than the journal is noticed."""

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import httpx
import pytest
from clickhouse_connect.driver.client import Client

from full_disk import full_disk
from otlp_spans import CHAT, request, span
from running import running_collector
from shared_store import SharedStore
from tallyspan_collector.columns.priced import PricedRows
from tallyspan_collector.ingest.generation import begin_generation, match
from tallyspan_collector.ingest.journal import Entries, Journal
from tallyspan_collector.ingest.spool import Spool, replay
from tallyspan_collector.read.call import Call
from tallyspan_collector.resolution.node import LedgerEntry

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "0.sqlite"


def nothing(
    calls: Sequence[Call], reversals: Sequence[LedgerEntry], _: PricedRows | None
) -> Entries:
    raise AssertionError((calls, reversals))


def run(path: Path, journal: Journal, *blobs: bytes, booked: int = 0) -> tuple[str, list[bytes]]:
    """A start, requests, a stop: return the warning, and what the loader was handed."""
    spool = Spool(path, 1 << 20)
    warning = match(spool, journal)
    for blob in blobs:
        asyncio.run(spool.put("key", blob))
    taken = []
    while more := spool.take(0):
        taken += more
    for each in taken[:booked]:
        journal.book(spool.id, each.id, [], nothing)
        spool.forget(each.id)
    spool.close()
    return warning, [each.body() for each in taken]


def test_files_that_belong_together_go_on_where_they_were(path: Path, journal: Journal) -> None:
    assert run(path, journal, b"one", b"two", booked=1) == ("", [b"one", b"two"])
    assert run(path, journal, b"three", booked=2) == ("", [b"two", b"three"])
    assert run(path, journal) == ("", [])


def test_what_an_older_file_acknowledges_is_not_taken_for_what_was_booked_under_its_ids(
    path: Path, journal: Journal, tmp_path: Path
) -> None:
    run(path, journal, b"one")
    older = shutil.copy(path, tmp_path / "backup")
    run(path, journal, b"two", b"three", booked=3)
    shutil.copy(older, path)

    warning, taken = run(path, journal, b"new", booked=2)
    assert f"{path} is older than the journal" in warning
    assert taken == [b"one", b"new"]
    assert run(path, journal) == ("", [])


def test_an_older_file_is_noticed_by_its_generation_though_its_ids_went_on(
    path: Path, journal: Journal, tmp_path: Path
) -> None:
    spool = Spool(path, 1 << 20)
    asyncio.run(spool.put("key", b"dead"))
    spool.bury(spool.take(0)[0], "unreadable")
    spool.close()
    older = shutil.copy(path, tmp_path / "backup")
    run(path, journal, b"two", booked=1)
    shutil.copy(older, path)
    replay(path, 1)  # while the collector is stopped: it gets the id that `two` had

    warning, taken = run(path, journal)
    assert "is older than the journal" in warning
    assert taken == [b"dead"]


def test_a_start_that_was_cut_off_between_the_two_files_is_no_older_file(
    path: Path, journal: Journal
) -> None:
    run(path, journal, b"one", booked=1)
    begin_generation(path)  # and then the process died

    assert run(path, journal, b"two") == ("", [b"two"])


def test_a_disk_that_is_full_at_the_start_is_a_reason_until_it_takes_a_request(
    path: Path, journal: Journal
) -> None:
    run(path, journal, b"one", booked=1)
    spool = Spool(path, 1 << 20)
    with full_disk():
        warning = match(spool, journal)
    reason = spool.last_error
    asyncio.run(spool.put("key", b"two"))
    taken = [each.body() for each in spool.take(0)]
    spool.close()

    assert warning == ""
    assert f"the spool {path} cannot be written" in reason
    assert (spool.last_error, taken) == ("", [b"two"])
    assert run(path, journal, booked=1) == ("", [b"two"])


def test_calls_sent_after_a_restored_spool_are_booked_and_those_in_it_once(
    tmp_path: Path, empty_store: SharedStore, client: Client
) -> None:
    file = tmp_path / "spool/0.sqlite"

    def send(*numbers: int) -> list[str]:
        with (
            running_collector(tmp_path, store=empty_store.url) as collector,
            grpc.insecure_channel(collector.ready.otlp_grpc) as channel,
        ):
            for number in numbers:
                channel.unary_unary(TRACES)(request(span(number, CHAT)), timeout=20)
            collector.settle()
            return list(httpx.get(f"{collector.ready.admin}/readyz").json()["warnings"])

    assert send(1) == []
    backup = shutil.copy(file, tmp_path / "backup")
    assert send(2, 3) == []
    shutil.copy(backup, file)
    kept = file.with_name("damaged-0.sqlite-1")  # what `damaged_log.py` leaves
    kept.mkdir()
    (kept / "reason.txt").write_text("the log has other bytes\n")

    older, damaged = send(4, 5, 6)
    assert "is older than the journal" in older
    assert f"the log has other bytes. Copies of that moment are in {kept}" in damaged
    counted = "SELECT count(), uniqExact(span_id) FROM llm_calls"
    assert client.query(counted).result_rows == [(6, 6)]
