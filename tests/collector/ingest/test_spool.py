"""What is acknowledged is on disk, in order, once, and bounded."""

import asyncio
import itertools
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lz4.block
import pytest

from tallyspan_collector.errors import DecodeError, OverloadedError, SpoolError
from tallyspan_collector.ingest import spool as module
from tallyspan_collector.ingest.spool import Spool, SpooledRequest, dead_letters, drop, replay
from waiting import wait_for

LIMIT = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "0.sqlite"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    made = Spool(path, LIMIT)
    yield made
    made.close()


def put(spool: Spool, *blobs: bytes) -> None:
    async def run() -> None:
        await asyncio.gather(*(spool.put("key", blob) for blob in blobs))

    asyncio.run(run())


def take_all(spool: Spool) -> list[SpooledRequest]:
    taken: list[SpooledRequest] = []
    while more := spool.take(0.05):
        taken += more
    return taken


def test_requests_come_out_in_the_order_they_went_in(spool: Spool) -> None:
    blobs = [b"%d" % number for number in range(300)]
    put(spool, *blobs)

    taken = take_all(spool)
    assert [request.body() for request in taken] == blobs
    assert {request.source for request in taken} == {"key"}
    assert spool.waiting == 300


def test_what_does_not_fit_the_memory_is_read_from_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_MEMORY_BYTES", 100)
    spool = Spool(path, LIMIT)
    first: list[SpooledRequest] = []
    blobs = [os.urandom(40) for _ in range(50)]
    for start in range(0, 50, 10):
        put(spool, *blobs[start : start + 10])
        if start == 20:
            first = spool.take(0.05)
    assert [request.body() for request in [*first, *take_all(spool)]] == blobs
    spool.close()


def test_a_request_is_there_after_a_restart_until_it_is_forgotten(path: Path) -> None:
    first = Spool(path, LIMIT)
    put(first, b"one", b"two")
    first.close()

    second = Spool(path, LIMIT)
    requests = take_all(second)
    second.forget(requests[-1].id)
    second.close()

    third = Spool(path, LIMIT)
    assert [request.body() for request in requests] == [b"one", b"two"]
    assert take_all(third) == []
    assert (third.waiting, third.waiting_bytes) == (0, 0)
    third.close()


def test_what_an_earlier_process_planned_is_not_handed_out_again(path: Path) -> None:
    first = Spool(path, LIMIT)
    put(first, b"planned", b"not yet")
    planned, _ = take_all(first)
    first.close()

    second = Spool(path, LIMIT)
    second.resume(planned.id)
    assert [request.body() for request in take_all(second)] == [b"not yet"]
    assert second.waiting == 1
    second.close()


def test_ids_are_never_used_twice(path: Path) -> None:
    first = Spool(path, LIMIT)
    put(first, b"one")
    (request,) = take_all(first)
    first.forget(request.id)
    first.close()
    second = Spool(path, LIMIT)
    put(second, b"two")

    assert take_all(second)[0].id > request.id
    assert second.id == first.id
    second.close()


def test_above_the_limit_nothing_is_taken_until_there_is_room(path: Path) -> None:
    spool = Spool(path, 200)
    put(spool, os.urandom(300))
    with pytest.raises(OverloadedError, match="limit is 200"):
        put(spool, b"more")
    spool.forget(take_all(spool)[-1].id)
    wait_for(lambda: not spool.waiting, "an empty spool")
    spool.planned_bytes = 300  # a batch was made of it, and the store does not take it
    with pytest.raises(OverloadedError, match="limit is 200"):
        put(spool, b"more")
    spool.planned_bytes = 0

    put(spool, b"more")
    assert len(take_all(spool)) == 1
    spool.close()


OF_ANOTHER_BUILD = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value);
CREATE TABLE requests (id INTEGER PRIMARY KEY AUTOINCREMENT, received_ms INTEGER NOT NULL,
    source TEXT NOT NULL, blob BLOB NOT NULL);
INSERT INTO requests VALUES (7, 1, 'key', x'00');
"""


@pytest.mark.parametrize("version", [0, 7])
def test_a_file_of_another_version_is_refused_with_what_to_do_and_left_alone(
    path: Path, version: int
) -> None:
    with sqlite3.connect(path) as file:
        file.executescript(f"{OF_ANOTHER_BUILD} PRAGMA user_version={version}")
    file.close()
    before = path.read_bytes()

    with pytest.raises(
        SpoolError,
        match=f"version {version}, and this collector reads version 1; run the collector that",
    ):
        Spool(path, LIMIT)
    assert path.read_bytes() == before


def test_a_request_keeps_its_signal_on_disk_and_among_the_dead(path: Path) -> None:
    spool = Spool(path, LIMIT)
    asyncio.run(spool.put("key", b"a record", "logs"))
    spool.close()
    again = Spool(path, LIMIT)
    (request,) = take_all(again)
    again.bury(request, "cannot be read")
    (dead,) = dead_letters(path)
    replay(path, dead.id)

    assert (request.signal, dead.signal) == ("logs", "logs")
    assert [(each.signal, each.body()) for each in take_all(again)] == [("logs", b"a record")]
    again.close()


def test_what_is_dead_is_kept_with_its_reason_and_can_come_back(path: Path) -> None:
    spool = Spool(path, LIMIT)
    put(spool, b"poison", b"worse")
    poison, worse = take_all(spool)
    spool.bury(poison, "cannot be read")
    spool.bury(worse, "cannot be read either")
    dead = dead_letters(path)

    assert [each.reason for each in dead] == ["cannot be read", "cannot be read either"]
    assert (spool.waiting, spool.waiting_bytes) == (0, 0)
    assert replay(path, dead[0].id)
    assert [request.body() for request in take_all(spool)] == [b"poison"]
    assert not replay(path, dead[0].id)
    assert drop(path, dead[1].id)
    assert not drop(path, dead[1].id)
    spool.close()


@pytest.mark.parametrize("is_behind_it", [False, True])
def test_what_another_process_gives_back_is_counted_once_it_is_found(
    path: Path, spool: Spool, is_behind_it: bool
) -> None:
    put(spool, b"x" * 10_000)
    (taken,) = take_all(spool)
    spool.bury(taken, "unreadable")
    spool.forget(taken.id)
    wait_for(lambda: (spool.waiting, spool.waiting_bytes) == (0, 0), "an empty spool")

    replay(path, dead_letters(path)[0].id)
    if is_behind_it:
        put(spool, b"another")

    found: list[SpooledRequest] = []
    while len(found) < 1 + is_behind_it:
        found += spool.take(0.05)
    assert spool.waiting == 1 + is_behind_it
    assert spool.waiting_bytes > 0
    spool.forget(found[-1].id)
    wait_for(lambda: (spool.waiting, spool.waiting_bytes) == (0, 0), "an empty spool")


def test_a_look_into_the_file_before_the_writer_tells_of_a_request_does_not_count_it_twice(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_on_disk, may_tell = threading.Event(), threading.Event()
    hand_on = spool._hand_on

    def late(*said: Any) -> None:
        is_on_disk.set()
        may_tell.wait(10)
        hand_on(*said)

    monkeypatch.setattr(spool, "_hand_on", late)
    sender = threading.Thread(target=put, args=(spool, b"a"))
    sender.start()
    assert is_on_disk.wait(10)
    early = spool.take(0)
    may_tell.set()
    sender.join()

    (taken,) = early or take_all(spool)
    assert spool.waiting == 1
    spool.forget(taken.id)
    wait_for(lambda: not spool.waiting, "an empty spool")


def test_a_full_disk_refuses_and_what_was_taken_stays(spool: Spool) -> None:
    put(spool, b"before")
    pages = spool._file.execute("PRAGMA page_count").fetchone()[0]
    spool._file.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(SpoolError, match="full"):
        put(spool, os.urandom(200_000))
    assert "full" in spool.last_error
    spool._file.execute("PRAGMA max_page_count=1000000")
    put(spool, b"after")

    assert spool.last_error == ""
    assert [request.body() for request in take_all(spool)] == [b"before", b"after"]


def test_a_request_whose_bytes_are_others_on_disk_is_said_and_the_others_come(
    path: Path,
) -> None:
    first = Spool(path, LIMIT)
    put(first, b"one", b"two")
    first.close()
    sqlite3.connect(path, isolation_level=None).execute(
        "UPDATE requests SET blob = x'ffffffffff' WHERE id = 1"
    )

    again = Spool(path, LIMIT)
    damaged, whole = take_all(again)
    again.close()

    with pytest.raises(DecodeError, match="other bytes than were put there"):
        damaged.body()
    assert whole.body() == b"two"


@pytest.mark.parametrize("bit", range(0, 400, 37))
def test_a_bit_that_turned_in_a_kept_body_is_noticed_and_the_body_is_not_read_otherwise(
    path: Path, bit: int
) -> None:
    first = Spool(path, LIMIT)
    asyncio.run(first.put("key", os.urandom(60), spans=3))
    first.close()
    with sqlite3.connect(path, isolation_level=None) as file:
        (blob,) = file.execute("SELECT blob FROM requests").fetchone()
        turned = bytearray(blob)
        turned[bit // 8] ^= 1 << bit % 8
        file.execute("UPDATE requests SET blob = ?", (bytes(turned),))
    file.close()

    again = Spool(path, LIMIT)
    (damaged,) = take_all(again)
    with pytest.raises(DecodeError, match="other bytes than were put there"):
        damaged.body()
    again.bury(damaged, "damaged")
    replay(path, 1)
    (replayed,) = take_all(again)
    again.close()
    with pytest.raises(DecodeError, match="their checksum says so"):
        replayed.body()
    assert (damaged.spans, replayed.spans) == (3, 3)


def test_a_spool_of_before_there_were_checksums_is_read(path: Path) -> None:
    first = Spool(path, LIMIT)
    put(first, b"one")
    first.close()
    with sqlite3.connect(path, isolation_level=None) as file:
        for table, column in itertools.product(("requests", "dead"), ("spans", "checksum")):
            file.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    file.close()

    again = Spool(path, LIMIT)
    put(again, b"two")
    assert [(each.body(), each.spans) for each in take_all(again)] == [(b"one", 1), (b"two", 1)]
    again.close()


def test_a_file_that_cannot_be_read_any_more_is_said(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_MEMORY_BYTES", 0)
    put(spool, b"one")
    spool._reading.close()

    with pytest.raises(SpoolError, match="cannot be read"):
        spool.take(0)
    spool._reading = sqlite3.connect(spool.path, check_same_thread=False)
    assert [request.body() for request in spool.take(0)] == [b"one"]


def test_requests_are_read_from_the_file_as_many_as_the_memory_may_hold(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_MEMORY_BYTES", 0)
    put(spool, b"one", b"two", b"three")
    monkeypatch.setattr(module, "MAX_MEMORY_BYTES", 10)

    assert [len(spool.take(0)) for _ in range(3)] == [2, 1, 0]


def test_an_error_nobody_foresaw_is_told_to_the_sender_and_the_writer_goes_on(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(lz4.block, "compress", lambda _: 1 // 0)
        with pytest.raises(SpoolError, match="cannot be written"):
            put(spool, b"lost")

    put(spool, b"kept")
    assert [request.body() for request in take_all(spool)] == [b"kept"]


def test_a_corrupt_file_is_said_and_left_alone(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"garbage" * 5000)
    before = path.read_bytes()

    with pytest.raises(SpoolError, match="left as it is"):
        Spool(path, LIMIT)
    assert path.read_bytes() == before


@pytest.mark.process
def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from pathlib import Path
from tallyspan_collector.ingest.spool import Spool
async def main():
    spool = Spool(Path(sys.argv[1]), 1 << 30)
    async def send(worker):
        number = 0
        while True:
            blob = b"%d-%d" % (worker, number)
            await spool.put("", blob)
            print(blob.decode(), flush=True)
            number += 1
    await asyncio.gather(*(send(worker) for worker in range(8)))
asyncio.run(main())
"""
    path = tmp_path / "0.sqlite"
    acknowledged: set[bytes] = set()
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(200)]
            child.kill()
            lines += child.stdout.readlines()
        acknowledged |= {line.strip().encode() for line in lines if line.endswith("\n")}

    spool = Spool(path, LIMIT)
    kept = {request.body() for request in take_all(spool)}
    spool.close()
    assert len(acknowledged) >= 200
    assert acknowledged <= kept


def test_the_file_is_for_its_owner_only(path: Path, spool: Spool) -> None:
    assert spool.path.stat().st_mode & 0o077 == 0


def test_a_sender_that_went_away_does_not_disturb_the_others(spool: Spool) -> None:
    async def run() -> None:
        gone = asyncio.create_task(spool.put("", b"gone"))
        await asyncio.sleep(0)
        gone.cancel()
        await spool.put("", b"here")

    asyncio.run(run())
    wait_for(lambda: spool.waiting == 2, "both requests counted")
    assert {request.body() for request in take_all(spool)} == {b"gone", b"here"}


def test_the_writer_survives_an_error_of_sqlite(spool: Spool) -> None:
    other = sqlite3.connect(spool.path)
    other.execute("ALTER TABLE requests RENAME TO elsewhere")
    other.commit()
    with pytest.raises(SpoolError, match="no such table"):
        put(spool, b"x")
    other.execute("ALTER TABLE elsewhere RENAME TO requests")
    other.commit()
    other.close()

    put(spool, b"y")
    assert spool.last_error == ""


def test_what_was_deleted_leaves_the_files_once_nothing_waits(path: Path, spool: Spool) -> None:
    prompt = b"the prompt of a user, " + os.urandom(200_000)
    put(spool, b"poison", prompt)
    poison, request = take_all(spool)
    spool.bury(poison, "it is poisonous")
    spool.forget(request.id)
    files = [path, path.with_name(path.name + "-wal")]
    assert any(b"the prompt of a user" in each.read_bytes() for each in files)
    spool.tidy()
    wait_for(lambda: files[1].stat().st_size == 0, "a log without anything")

    assert b"the prompt of a user" not in path.read_bytes()
    assert path.stat().st_size < len(prompt)
    assert [each.reason for each in dead_letters(path)] == ["it is poisonous"]
    put(spool, b"later")
    assert [each.id for each in take_all(spool)] == [request.id + 1]


def test_a_file_in_which_something_waits_is_not_written_anew(path: Path, spool: Spool) -> None:
    put(spool, b"first", b"second")
    first, _ = take_all(spool)
    spool.forget(first.id)
    spool.tidy()
    spool.bury(first, "to wait for the writer")

    assert path.with_name(path.name + "-wal").stat().st_size > 0
    assert spool.waiting == 1
