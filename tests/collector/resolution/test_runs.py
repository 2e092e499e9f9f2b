"""What is known by runs: looked up for many spans at once, kept by slots, the same after a start."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallyspan_collector.resolution import runs as module
from tallyspan_collector.resolution.runs import NO_ROW, SLOTS, NewRun, Runs, first_row

DAY_MS = 86_400_000
SLOT_MS = DAY_MS // SLOTS
NOW_MS = 1_790_000_000_000


def integers(*values: int) -> module.Integers:
    return np.array(values, np.int64)


def opened(path: Path) -> Runs:
    return Runs(sqlite3.connect(path, isolation_level=None), path.parent, DAY_MS // 1000)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return opened(tmp_path / "journal.sqlite")


def keep(runs: Runs, spans: dict[int, int], now_ms: int = NOW_MS, *, are_rows: bool = True) -> None:
    """Keep spans, each with its trace, as one batch of one emitter."""
    new = NewRun(runs.next_run())
    first = first_row(new.number)
    numbers = integers(*range(first, first + len(spans))) if are_rows else NO_ROW
    new.add(integers(*spans.values()), integers(*spans), emitters=1, rows=numbers)
    runs.keep(new, now_ms)


def known(runs: Runs, spans: dict[int, int]) -> set[int]:
    is_known = runs.has_spans(integers(*spans.values()), integers(*spans))
    return {span for span, each in zip(spans, is_known.tolist(), strict=True) if each}


@given(st.lists(st.dictionaries(st.integers(0, 40), st.integers(0, 6), max_size=8), max_size=30))
@settings(max_examples=40)
def test_a_span_is_known_from_the_batch_on_that_has_it(
    tmp_path_factory: pytest.TempPathFactory, batches: list[dict[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("runs") / "journal.sqlite"
    runs = opened(path)
    seen: set[tuple[int, int]] = set()
    for batch in batches:
        assert known(runs, batch) == {span for span in batch if (span, batch[span]) in seen}
        keep(runs, batch)
        seen |= batch.items()
    runs.file.close()

    again = opened(path)
    again.refresh(NOW_MS)
    assert all(known(again, {span: trace}) for span, trace in seen)
    again.file.close()


def test_merged_runs_lie_in_a_file_that_nobody_sees(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAPPED_ROWS", 8)
    for number in range(64):
        keep(runs, {number: number % 5})

    assert known(runs, {number: number % 5 for number in range(100)}) == {*range(64)}
    assert any(
        isinstance(each.base, np.memmap) or isinstance(each, np.memmap)
        for levels in runs._levels.values()
        for level in levels
        for each in level
    )
    assert {each.name for each in tmp_path.iterdir()} == {"journal.sqlite"}


def test_what_another_worker_adds_is_known_after_a_look(tmp_path: Path) -> None:
    one, other = (opened(tmp_path / "journal.sqlite") for _ in range(2))
    keep(one, {7: 1})
    assert not known(other, {7: 1})

    other.refresh(NOW_MS)
    keep(other, {8: 1})
    one.refresh(NOW_MS)

    assert known(other, {7: 1})
    assert known(one, {7: 1, 8: 1}) == {7, 8}


def test_a_batch_that_is_rolled_back_is_not_known(runs: Runs) -> None:
    runs.file.execute("BEGIN")
    keep(runs, {7: 1})
    runs.file.execute("ROLLBACK")
    runs.reload()
    runs.refresh(NOW_MS)

    assert not known(runs, {7: 1})
    keep(runs, {8: 1})
    assert known(runs, {7: 1, 8: 1}) == {8}


@pytest.mark.parametrize(("slots", "is_known"), [(SLOTS, True), (SLOTS + 1, False)])
def test_a_span_is_known_for_the_window_and_the_slot_it_ends_in(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, slots: int, is_known: bool
) -> None:
    clock = running_clock(monkeypatch)
    keep(runs, {7: 1})
    for number in range(1, slots + 1):
        clock(number * SLOT_MS / 1000)
        runs.refresh(NOW_MS + number * SLOT_MS)

    assert bool(known(runs, {7: 1})) == is_known
    (kept,) = runs.file.execute("SELECT count() FROM runs").fetchone()
    assert kept == int(is_known)


def test_a_clock_that_jumps_ends_no_slot(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    running_clock(monkeypatch)
    keep(runs, {7: 1})
    for number in range(100):
        runs.refresh(NOW_MS + number * DAY_MS)
        runs.refresh(NOW_MS)

    assert known(runs, {7: 1})


def test_a_trace_the_tables_have_is_not_made_of_rows(runs: Runs) -> None:
    keep(runs, {7: 1, 8: 2})
    assert runs.rows(integers(1, 2, 3)) == {1: [first_row(1)], 2: [first_row(1) + 1]}

    keep(runs, {0: 1}, are_rows=False)

    assert runs.rows(integers(1, 2)) == {2: [first_row(1) + 1]}


def running_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return what sets the clock that only this process has, to seconds since now."""
    moment = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])

    def set_to(seconds: float) -> None:
        moment[0] = seconds

    return set_to
