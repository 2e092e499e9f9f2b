"""A plan is whole or not there: batch, seen spans, traces and progress are one transaction."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallyspan_collector.dialects import Kind, Reading
from tallyspan_collector.errors import SpoolError
from tallyspan_collector.ingest.journal import Batch, Journal
from tallyspan_collector.ingest.seen import identity
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.read.call import Call
from tallyspan_collector.resolution.resolver import Resolution

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    made = Journal(path)
    yield made
    made.close()


def reading(number: int, emitter: str = "a", response_id: str = "r-1") -> Reading:
    ids = TRACE, f"{number:016x}", ""
    call = Call(*ids, number, number + 9, "openai", "chat", "gpt-5-mini",
                scope_name=emitter, response_id=response_id)  # fmt: skip
    return Reading(Kind.CALL, "generic", "", call)


def plan(journal: Journal, spool: int, request: int, *readings: Reading) -> Resolution:
    """What the loader does of a batch, without prices."""
    with journal.change():
        calls = [each.call for each in readings if each.call is not None]
        ids = {identity(call.trace_id, call.span_id) for call in calls}
        fresh = journal.seen.claim(ids)
        made = journal.resolver.resolve(readings if fresh else ())
        journal.resolver.commit(made, [Cost(7) for _ in made.calls])
        rows = len(made.calls) + len(made.reversals)
        journal.plan(
            spool, request, Batch(spool * 100 + request, rows, ("a",), b"") if rows else None
        )
    return made


def test_a_plan_that_fails_leaves_everything_as_it_was(journal: Journal) -> None:
    def fail(journal: Journal) -> None:
        with journal.change():
            journal.seen.claim({1})
            made = journal.resolver.resolve([reading(1)])
            journal.resolver.commit(made, [Cost(7)])
            journal.plan(5, 9, Batch(1, 1, ("a",), b""))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail(journal)
    assert (journal.progress(5), journal.planned(5)) == (0, [])
    assert len(plan(journal, 5, 9, reading(1)).calls) == 1
    assert journal.progress(5) == 9


def test_workers_on_one_trace_see_each_others_plans(path: Path) -> None:
    first, second = Journal(path), Journal(path)
    booked = plan(first, 1, 1, reading(1, "a"))
    first.close()  # killed behind the plan, say: its batch is there when it starts again
    other = plan(second, 2, 1, reading(2, "b"))
    again = Journal(path)

    assert [len(booked.calls), len(other.calls) - len(other.reversals)] == [1, 0]
    assert [batch.rows for batch in again.planned(1)] == [1]
    assert plan(again, 1, 2, reading(1, "a")).calls == []
    second.close()
    again.close()


def test_a_spools_batches_are_its_own(journal: Journal) -> None:
    plan(journal, 1, 4, reading(1, response_id="r-1"))
    plan(journal, 2, 8, reading(2, response_id="r-2"))

    assert [batch.batch_id for batch in journal.planned(1)] == [104]
    assert (journal.progress(1), journal.progress(2), journal.progress(3)) == (4, 8, 0)


def test_what_the_store_has_is_forgotten(journal: Journal) -> None:
    plan(journal, 1, 4, reading(1))
    (batch,) = journal.planned(1)
    with journal.change():
        journal.settle([batch], [])

    assert journal.planned(1) == []
    assert journal.progress(1) == 4


def test_a_file_that_is_no_database_is_said_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("hello " * 1000)

    with pytest.raises(SpoolError, match="left as it is"):
        Journal(path)
    assert path.read_text().startswith("hello")


def test_a_full_disk_undoes_the_plan_and_says_so(journal: Journal) -> None:
    pages = journal._file.execute("PRAGMA page_count").fetchone()[0]
    journal._file.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(SpoolError, match="full"), journal.change():
        journal.plan(1, 4, Batch(1, 1, ("a",), bytes(1_000_000)))
    journal._file.execute("PRAGMA max_page_count=1000000")

    assert (journal.progress(1), journal.planned(1)) == (0, [])


def test_the_file_is_for_its_owner_only(path: Path, journal: Journal) -> None:
    assert path.stat().st_mode & 0o077 == 0
    assert sqlite3.connect(path).execute("PRAGMA journal_mode").fetchone() == ("wal",)
