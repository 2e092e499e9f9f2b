"""A span is booked once, whatever an exporter, a crash or another worker does."""

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallyspan_collector.errors import SpoolError
from tallyspan_collector.ingest.seen import Seen, identity

DAY = 86_400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "seen.sqlite"


def test_what_another_batch_has_is_not_fresh(path: Path) -> None:
    seen = Seen(path, DAY)

    assert seen.claim([1, 2, 3], batch_id=1) == {1, 2, 3}
    assert seen.claim([3, 4], batch_id=2) == {4}
    assert seen.claim([1, 2, 3], batch_id=1) == {1, 2, 3}  # its plan was lost in a crash


def test_claims_survive_a_restart_and_count_for_other_workers(path: Path) -> None:
    first, second = Seen(path, DAY), Seen(path, DAY)
    first.claim([-5], batch_id=(1 << 64) - 1)
    first.close()

    assert second.claim([-5, 6], batch_id=0) == {6}
    assert Seen(path, DAY).claim([-5, 6], batch_id=3) == set()


@pytest.mark.parametrize(("later", "is_known"), [(0.0, True), (0.99, True), (2.01, False)])
def test_a_span_is_known_for_at_least_the_window_and_at_most_two(
    path: Path, later: float, is_known: bool
) -> None:
    seen = Seen(path, DAY)
    start = 1000.5 * DAY
    seen.claim([7], batch_id=1, now=start)

    assert (seen.claim([7], batch_id=2, now=start + later * DAY) == set()) == is_known


@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=10), max_size=12))
def test_every_span_is_fresh_exactly_once(batches: list[list[int]]) -> None:
    seen = Seen(Path(":memory:"), DAY)
    given_out: list[int] = []
    for number, ids in enumerate(batches):
        given_out += seen.claim(list(dict.fromkeys(ids)), batch_id=number)

    assert sorted(given_out) == sorted({each for ids in batches for each in ids})
    seen.close()


def test_a_file_that_is_no_database_is_said(path: Path) -> None:
    path.write_text("hello " * 1000)

    with pytest.raises(SpoolError, match="cannot be used"):
        Seen(path, DAY)


def test_an_identity_is_64_bits_of_both_ids() -> None:
    assert identity("a" * 32, "b" * 16) != identity("a" * 32, "c" * 16)
    assert identity("a" * 32, "b" * 16) == identity("a" * 32, "b" * 16)
    assert -(1 << 63) <= identity("a" * 32, "b" * 16) < 1 << 63
    sqlite3.connect(":memory:").execute("SELECT ?", (identity("", ""),))
