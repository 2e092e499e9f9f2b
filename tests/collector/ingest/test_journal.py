"""A booking is whole or not there: batch, seen spans, traces and progress are one transaction."""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import pytest

from tallyspan_collector.columns.priced import PricedRows
from tallyspan_collector.dialects import Kind, Reading
from tallyspan_collector.errors import SpoolError
from tallyspan_collector.ingest.journal import (
    Batch,
    Build,
    Entries,
    Journal,
    recall,
    refused_batches,
)
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.read.call import Call, columns_of
from tallyspan_collector.resolution.node import LedgerEntry

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    journal = Journal(path)
    yield journal
    journal.close()


def reading(number: int, emitter: str = "a", response_id: str = "r-1") -> Reading:
    ids = TRACE, f"{number:016x}", ""
    call = Call(*ids, number, number + 9, "openai", "chat", "gpt-5-mini",
                scope_name=emitter, response_id=response_id)  # fmt: skip
    return Reading(Kind.CALL, "generic", "", call)


def builds(batch_id: int, changes: list[int], payload: bytes = b"") -> Build:
    """What the loader does, without prices; the sign of each entry goes to `changes`."""

    def build(
        calls: Sequence[Call], reversals: Sequence[LedgerEntry], rows: PricedRows | None
    ) -> Entries:
        changes.extend([1] * len(calls) + [-1] * len(reversals))
        batch = Batch(batch_id, len(calls) + len(reversals), ("a",), payload)
        columns = columns_of([*calls, *(each.call for each in reversals)])
        return Entries(batch, [Cost(7) for _ in calls], columns)

    return build


def book(journal: Journal, spool: int, request: int, *readings: Reading) -> list[int]:
    """Book, and return the sign of each entry."""
    changes: list[int] = []
    journal.book(spool, request, readings, builds(spool * 100 + request, changes))
    return changes


def test_a_booking_that_fails_leaves_everything_as_it_was(journal: Journal) -> None:
    def fails(
        calls: Sequence[Call], reversals: Sequence[LedgerEntry], rows: PricedRows | None
    ) -> Entries:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        journal.book(5, 9, [reading(1)], fails)
    assert (journal.progress(5), journal.planned(5)) == (0, [])
    assert book(journal, 5, 9, reading(1)) == [1]
    assert journal.progress(5) == 9


def test_a_booking_says_what_it_booked_and_which_calls_were_there_already(
    journal: Journal,
) -> None:
    first = journal.book(1, 1, [reading(1), reading(1)], builds(7, []))
    again = journal.book(1, 2, [reading(1), reading(2, "b")], builds(8, []))

    assert first.batch is not None
    assert (first.batch.batch_id, first.costs, first.duplicates) == (7, [Cost(7)], 1)
    assert (again.batch, again.costs, again.duplicates) == (None, (), 2)


def test_workers_on_one_trace_see_each_others_bookings(path: Path) -> None:
    first, second = Journal(path), Journal(path)
    booked = book(first, 1, 1, reading(1, "a"))
    first.close()  # killed after the booking, say: its batch is there when it starts again
    other = book(second, 2, 1, reading(2, "b"))
    again = Journal(path)

    assert [sum(booked), sum(other)] == [1, 0]
    assert [batch.rows for batch in again.planned(1)] == [1]
    assert book(again, 1, 2, reading(1, "a")) == []
    second.close()
    again.close()


def test_a_spools_batches_are_its_own(journal: Journal) -> None:
    book(journal, 1, 4, reading(1, response_id="r-1"))
    book(journal, 2, 8, reading(2, response_id="r-2"))

    assert [batch.batch_id for batch in journal.planned(1)] == [104]
    assert (journal.progress(1), journal.progress(2), journal.progress(3)) == (4, 8, 0)


def test_a_batch_in_which_a_bit_turned_is_not_sent_but_kept_with_the_reason(
    path: Path, journal: Journal
) -> None:
    for number in (4, 5):
        made = builds(number, [], payload=b"rows of a batch")
        journal.book(1, number, [reading(number, response_id=f"r-{number}")], made)
    journal._file.execute("UPDATE batches SET payload = x'726f777320' WHERE batch_id = '4'")

    assert [batch.batch_id for batch in journal.planned(1)] == [5]
    assert [(each.batch_id, each.reason) for each in refused_batches(path)] == [
        (4, f"the journal {path} has other bytes than it was given")
    ]
    assert journal.refused() == 1


def test_what_the_store_has_is_forgotten(journal: Journal) -> None:
    book(journal, 1, 4, reading(1))
    (batch,) = journal.planned(1)
    journal.settle([batch], [])

    assert journal.planned(1) == []
    assert journal.progress(1) == 4


def test_a_file_that_is_no_database_is_said_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("hello " * 1000)

    with pytest.raises(SpoolError, match="left as it is"):
        Journal(path)
    assert path.read_text().startswith("hello")


def test_a_full_disk_undoes_the_booking_and_says_so(journal: Journal) -> None:
    pages = journal._file.execute("PRAGMA page_count").fetchone()[0]
    journal._file.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(SpoolError, match="full"):
        journal.book(1, 4, [reading(1)], builds(1, [], payload=bytes(1_000_000)))
    journal._file.execute("PRAGMA max_page_count=1000000")

    assert (journal.progress(1), journal.planned(1)) == (0, [])


def test_the_file_is_for_its_owner_only(path: Path, journal: Journal) -> None:
    assert path.stat().st_mode & 0o077 == 0
    assert sqlite3.connect(path).execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_file_of_another_version_is_refused_with_what_to_do_and_left_alone(path: Path) -> None:
    Journal(path).close()
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA user_version=7")
    file.close()
    before = path.read_bytes()

    with pytest.raises(SpoolError, match=r"of version 7, .*run the collector that wrote it"):
        Journal(path)
    assert path.read_bytes() == before


def rename_a_kept_field(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("UPDATE layouts SET names = replace(names, 'span_id', 'span_no')")
    file.close()


def test_a_file_that_keeps_a_field_of_another_version_is_refused_by_its_name(path: Path) -> None:
    Journal(path).close()
    rename_a_kept_field(path)

    with pytest.raises(SpoolError, match=r"Call\.span_no.*\); run the collector that wrote it"):
        Journal(path)


def test_a_trace_with_a_field_of_another_version_is_not_misread(
    path: Path, journal: Journal
) -> None:
    book(journal, 1, 1, reading(1), reading(2, response_id="r-2"))
    rename_a_kept_field(path)

    with pytest.raises(SpoolError, match=r"Call\.span_no"):
        recall(path, TRACE)
    with pytest.raises(TypeError, match=r"Call\.span_no"):
        book(journal, 1, 2, reading(3, response_id="r-3"))
    assert journal.progress(1) == 1


def test_traces_that_a_version_with_fewer_fields_kept_are_read(path: Path) -> None:
    early = Journal(path)
    book(early, 1, 1, reading(1, response_id=""), reading(2, "b", response_id=""))
    early.close()
    with sqlite3.connect(path) as file:
        names = orjson.loads(*file.execute("SELECT names FROM layouts").fetchone())
        at = names["Call"].index("response_id")
        del names["Call"][at]
        file.execute("UPDATE layouts SET names = ?", (orjson.dumps(names).decode(),))
        for turn in (0, 1):
            for key, state in file.execute(f"SELECT id, state FROM traces_{turn}").fetchall():
                trace = orjson.loads(state)
                for node in trace["nodes"]:
                    del node["call"][at]
                file.execute(
                    f"UPDATE traces_{turn} SET state = ? WHERE id = ?", (orjson.dumps(trace), key)
                )
    file.close()
    journal = Journal(path)
    journal.close()

    (trace,) = recall(path, TRACE)

    assert [(node.call.span_id, node.call.response_id) for node in trace.nodes.values()] == [
        (f"{number:016x}", "") for number in (1, 2)
    ]
