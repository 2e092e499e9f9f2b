"""A span is booked once, whatever an exporter or another worker does."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallyspan_collector.ingest.seen import SeenSpans

DAY = 86_400


@pytest.fixture
def seen() -> SeenSpans:
    return in_memory()


def in_memory() -> SeenSpans:
    return SeenSpans(sqlite3.connect(":memory:", isolation_level=None), DAY)


def test_what_was_claimed_is_not_fresh(seen: SeenSpans) -> None:
    assert seen.claim([1, 2, 3]) == {1, 2, 3}
    assert seen.claim([3, 4]) == {4}
    assert seen.claim([1, 2, 3, 4]) == set()


@pytest.mark.parametrize(("later", "is_known"), [(0.0, True), (0.99, True), (2.01, False)])
def test_a_span_is_known_for_at_least_the_window_and_at_most_two(
    seen: SeenSpans, later: float, is_known: bool
) -> None:
    start = 1000.5 * DAY
    seen.claim([7], now=start)
    seen.claim([8], now=start + later / 2 * DAY)

    assert (seen.claim([7], now=start + later * DAY) == set()) == is_known


@pytest.mark.parametrize("days", [1, 2, 3, 4, 365])
def test_a_clock_that_is_days_ahead_for_a_moment_does_not_make_known_spans_new(
    seen: SeenSpans, days: int
) -> None:
    start = 1000.5 * DAY
    seen.claim([7], now=start)
    seen.claim([8], now=start + days * DAY)
    seen.claim([9], now=start + days * DAY)

    assert seen.claim([7, 8, 9], now=start + 60) == set()


@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=10), max_size=12))
def test_every_span_is_fresh_exactly_once(batches: list[list[int]]) -> None:
    seen = in_memory()
    given_out: list[int] = []
    for ids in batches:
        given_out += seen.claim(set(ids))

    assert sorted(given_out) == sorted({each for ids in batches for each in ids})
