"""Rows by number: the small table and the two large ones are one table that forgets by turns."""

import sqlite3
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallyspan_collector.resolution import id_registry
from tallyspan_collector.resolution.id_registry import IdRegistry

IDS = st.sets(st.integers(0, 12), max_size=6)


def in_memory(*columns: str) -> IdRegistry:
    return IdRegistry(sqlite3.connect(":memory:", isolation_level=None), "spans", columns)


@pytest.fixture(autouse=True)
def few_young_rows() -> Iterator[None]:
    with patch.object(id_registry, "MAX_YOUNG_ROWS", 5):
        yield


@given(st.lists(st.tuples(st.sampled_from(["claim", "delete", "turn"]), IDS), max_size=20))
def test_a_number_is_given_out_once_until_its_turn_is_forgotten(
    steps: list[tuple[str, set[int]]],
) -> None:
    spans = in_memory()
    turn = 0
    known: list[set[int]] = [set(), set()]
    for step, ids in steps:
        if step == "claim":
            assert spans.claim(ids, turn) == ids - known[0] - known[1]
            known[turn] |= ids
        elif step == "delete":
            spans.delete(ids)
            known = [each - ids for each in known]
        else:
            turn = 1 - turn
            spans.begin(turn, [turn])
            known[turn] = set()


@given(st.lists(st.tuples(st.sampled_from(["add", "count", "delete", "turn"]), IDS), max_size=20))
def test_a_number_has_what_was_added_for_it_last(steps: list[tuple[str, set[int]]]) -> None:
    spans = in_memory("place")
    turn = 0
    known: list[dict[int, int]] = [{}, {}]
    for number, (step, ids) in enumerate(steps):
        if step == "add":
            spans.add([(each, number) for each in ids], turn)
            known[turn] |= dict.fromkeys(ids, number)
        elif step == "count":
            spans.add_counted(sorted(ids), 100 * number, turn)
            known[turn] |= {each: 100 * number + place for place, each in enumerate(sorted(ids))}
        elif step == "delete":
            spans.delete(ids)
            for each in ids:
                known[0].pop(each, None)
                known[1].pop(each, None)
        else:
            turn = 1 - turn
            spans.begin(turn, [turn])
            known[turn] = {}

        found = {row[0]: (of, row[1]) for of, row in spans.find(range(13), turn)}
        expected = {each: (1 - turn, place) for each, place in known[1 - turn].items()}
        assert found == expected | {each: (turn, place) for each, place in known[turn].items()}


def test_another_process_sees_the_young_rows_of_this_one(tmp_path: object) -> None:
    files = [sqlite3.connect(f"{tmp_path}/shared.sqlite", isolation_level=None) for _ in range(2)]
    one, other = (IdRegistry(file, "spans") for file in files)

    assert one.claim([1, 2, 3], 0) == {1, 2, 3}
    assert other.claim([3, 4], 0) == {4}
    other.settle(0)
    assert one.claim([1, 2, 3, 4], 0) == set()
