"""The spans around the calls of a batch of rows, and who the calls are for by them.

What `charge.py` does trace by trace is done here for all rows at once: a call takes what it does
not say of itself from the nearest span around it that does, else from all wrappers of its trace
where they agree.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
MAX_DEPTH = 64
"""Spans around a call that are followed; no rows have more, nor spans that are around themselves.
"""


def outer_rows(spans: Integers, parents: Integers) -> Integers:
    """Return the row of each row's parent, -1: it has none here. Numbers of `Identities`."""
    order = np.argsort(spans)
    ordered = spans[order]
    place = np.searchsorted(ordered, parents)
    place[place == len(ordered)] = 0
    return np.where(ordered[place] == parents, order[place], -1)


def inside_calls(outer: Integers, is_call: Booleans) -> Booleans:
    """Return which calls are inside another one, or inside more than MAX_DEPTH spans."""
    is_inside = np.zeros(len(outer), bool)
    rows = np.nonzero(is_call & (outer >= 0))[0]
    at = outer[rows]
    for _ in range(MAX_DEPTH):
        if not len(rows):
            return is_inside
        is_inside[rows[is_call[at]]] = True
        rows, at = _further(rows, outer[at], is_call[at])
    is_inside[rows] = True
    return is_inside


def nearest(outer: Integers, lacks: Booleans, has: Booleans) -> Integers:
    """Return, for rows that lack something, the nearest row around them that has it; -1: none."""
    sources = np.full(len(outer), -1)
    rows = np.nonzero(lacks & (outer >= 0))[0]
    at = outer[rows]
    for _ in range(MAX_DEPTH):
        if not len(rows):
            break
        is_there = has[at]
        sources[rows[is_there]] = at[is_there]
        rows, at = _further(rows, outer[at], is_there)
    return sources


def _further(rows: Integers, at: Integers, is_done: Booleans) -> tuple[Integers, Integers]:
    goes_on = ~is_done & (at >= 0)
    return rows[goes_on], at[goes_on]


def agreed(
    traces: Integers, lacks: Booleans, wrappers: Integers, value: Callable[[int], object]
) -> Integers:
    """Return, for rows that lack something, a wrapper's row, if all of their trace agree; else -1.

    `wrappers` are the rows that have it, with that value.
    """
    sources = np.full(len(traces), -1)
    rows = np.nonzero(lacks)[0]
    wrappers = wrappers[np.isin(traces[wrappers], traces[rows])]
    first: dict[int, int] = {}
    for row, trace in zip(wrappers.tolist(), traces[wrappers].tolist(), strict=True):
        other = first.setdefault(trace, row)
        if other >= 0 and value(other) != value(row):
            first[trace] = -1
    if first:
        sources[rows] = [first.get(trace, -1) for trace in traces[rows].tolist()]
    return sources
