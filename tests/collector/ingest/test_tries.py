"""A request that kills the process is tried three times; its neighbours are booked once."""

import asyncio
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from otlp_spans import CHAT, request, span
from running import running_collector
from shared_store import SharedStore
from tallyspan_clickhouse.engine import connect
from tallyspan_collector.columns.priced import PricedRows
from tallyspan_collector.dialects import Reading
from tallyspan_collector.ingest.journal import Entries, Journal
from tallyspan_collector.ingest.left_spools import take_over
from tallyspan_collector.ingest.spool import Spool, dead_letters, status
from tallyspan_collector.ingest.tries import Tries
from tallyspan_collector.read.call import Call
from tallyspan_collector.resolution.node import LedgerEntry
from tallyspan_collector.resolution.resolver import Resolver
from waiting import wait_for

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
LOADERS = """
import os, signal, sys, time
from pathlib import Path
from tallyspan_clickhouse.engine import connect
from tallyspan_collector.access.keys import Keys
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.ingest.batch_reader import BatchReader
from tallyspan_collector.ingest.journal import Journal
from tallyspan_collector.ingest.loader import Loader
from tallyspan_collector.ingest.spool import Spool
from tallyspan_collector.metrics.counters import Metrics
from tallyspan_collector.pricing.book import PriceBook

sound = BatchReader.read
def read(self, request):
    if b"poison" in request.body():  # as the kernel does when memory is short
        os.kill(os.getpid(), signal.SIGKILL)
    return sound(self, request)
BatchReader.read = read

book = PriceBook.load()
def run(folder, store):
    spool = Spool(folder / "0.sqlite", 1 << 30)
    journal = Journal(folder / "journal.sqlite")
    client = connect(store)
    loader = Loader(client, spool, journal, book, Keys([]), Metrics(), Directory())
    loader.start()
    while spool.waiting or loader.waiting:
        time.sleep(0.01)
    loader.stop(5)
    spool.close()
    journal.close()
    client.close()

for _ in range(4):
    process = os.fork()
    if process == 0:
        run(Path(sys.argv[1]), sys.argv[2])
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), file=sys.stderr)  # stdout: log
"""


def spooled(path: Path, users: Sequence[str]) -> None:
    """Put a request of each user into a spool."""

    async def put() -> None:
        for number, user in enumerate(users, 1):
            await spool.put("", request(span(number, {**CHAT, "user.id": user})))

    spool = Spool(path, 1 << 30)
    asyncio.run(put())
    spool.close()


def nothing(
    calls: Sequence[Call], reversals: Sequence[LedgerEntry], _: PricedRows | None
) -> Entries:
    raise AssertionError((calls, reversals))


@pytest.mark.process
def test_a_request_that_kills_the_process_is_buried_after_three_and_takes_no_other_along(
    tmp_path: Path, empty_store: SharedStore
) -> None:
    path = tmp_path / "0.sqlite"
    spooled(path, ["a", "b", "poison", "c", "d"])
    run = [sys.executable, "-c", LOADERS, str(tmp_path), empty_store.url]
    ends = subprocess.run(run, check=True, capture_output=True, text=True).stderr.split()
    with connect(empty_store.url) as client:
        rows = client.query("SELECT user_id, sum(sign) FROM llm_calls GROUP BY 1 ORDER BY 1")

    assert ends == ["-9", "-9", "-9", "0"]
    assert rows.result_rows == [("a", 1), ("b", 1), ("c", 1), ("d", 1)]
    (dead,) = dead_letters(path)
    assert dead.reason == "3 processes died while this request was in work"


def test_a_request_that_cannot_be_resolved_is_buried_and_those_of_its_batch_are_booked(
    tmp_path: Path, empty_store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = Resolver.resolve

    def resolve(self: Resolver, readings: Iterable[Reading], now_ms: int) -> Any:
        readings = list(readings)
        if any(each.call is not None and each.call.user_id == "poison" for each in readings):
            raise LookupError("cannot be resolved")
        return sound(self, readings, now_ms)

    monkeypatch.setattr(Resolver, "resolve", resolve)
    spans = [span(n, CHAT | {"user.id": user}) for n, user in enumerate(["a", "poison", "b"], 1)]
    # a clock that is far off: the call is no row
    spans[1].start_time_unix_nano = spans[1].end_time_unix_nano = 10**9
    with (
        running_collector(tmp_path, store=empty_store.url) as collector,
        grpc.insecure_channel(collector.ready.otlp_grpc) as channel,
    ):
        send = channel.unary_unary(TRACES)
        for each in [send.future(request(each), timeout=20) for each in spans]:
            each.result()
        collector.settle()
        wait_for(lambda: dead_letters(tmp_path / "spool/0.sqlite"), "its burial")
        rows = collector.rows("SELECT user_id FROM calls ORDER BY user_id")
        wait_for(lambda: collector.metric("tallyspan_dead_requests"), "its count")
        wait_for(
            lambda: httpx.get(f"{collector.ready.admin}/readyz").status_code == 200,
            "a collector that is ready",
        )
        ready = httpx.get(f"{collector.ready.admin}/readyz")

        assert [row["user_id"] for row in rows] == ["a", "b"]
        assert collector.metric("tallyspan_dead_requests") == 1
        assert "1 request could not be read or booked" in ready.text


def test_only_requests_in_work_when_a_process_died_are_suspects(tmp_path: Path) -> None:
    path = tmp_path / "0.tries"
    Tries(path, spool=7, booked=0).begin(3, 5)  # and then the process died
    again = Tries(path, spool=7, booked=3)
    again.begin(4, 4)  # died once more

    assert again.suspects == {4: 1, 5: 1}
    assert Tries(path, spool=7, booked=3).suspects == {4: 2, 5: 1}
    assert Tries(path, spool=8, booked=0).suspects == {}  # another file of requests


def test_what_is_counted_of_a_request_goes_with_it_into_another_spool(tmp_path: Path) -> None:
    first, left = tmp_path / "0.sqlite", tmp_path / "1.sqlite"
    spooled(first, ["a"])
    spooled(left, ["booked", "b", "poison", "c"])
    journal = Journal(tmp_path / "journal.sqlite")
    ids = [status(path)["id"] for path in (first, left)]
    journal.book(ids[1], 1, [], nothing)
    Tries(left.with_suffix(".tries"), ids[1], 1).begin(3, 3)  # and then the process died
    Tries(left.with_suffix(".tries"), ids[1], 1).begin(3, 4)  # once more
    Tries(first.with_suffix(".tries"), ids[0], 0).begin(1, 1)  # the first worker's, too

    for _ in range(2):
        take_over(left, first, tmp_path / "journal.sqlite")
    journal.close()

    # request 1 is the first worker's own; 2, 3 and 4 are b, poison and c
    assert Tries(first.with_suffix(".tries"), ids[0], 0).suspects == {1: 1, 3: 2, 4: 1}
    assert not left.with_suffix(".tries").exists()


def test_a_stop_in_good_order_is_no_sign_against_what_it_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "0.tries"
    tries = Tries(path, spool=7, booked=0)
    tries.begin(1, 9)
    tries.close()
    tries.begin(1, 9)  # the thread that was cut short

    assert Tries(path, spool=7, booked=0).suspects == {}


@pytest.mark.parametrize("content", [b"", b"\x00\x00", b'{"spool": 7}\n', b"[]\n", b'{"spool": 7,'])
def test_a_file_that_cannot_be_read_counts_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "0.tries"
    path.write_bytes(content)

    assert Tries(path, spool=7, booked=0).suspects == {}
