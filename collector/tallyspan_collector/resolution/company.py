"""Which calls of a batch have company that matters: only these are looked at one by one.

Two spans may be one call where they are of different emitters, or one is inside the other
(`same_call.py`), or share an answer's id (`meeting.py`). All other calls are calls of their own,
and a table of them is booked as it is. A trace's calls are looked at together, or none is.
"""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from tallyspan_collector.resolution.identity import NO_PARENT

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


def alone_in_batch(
    is_alone: Booleans,
    traces: Integers,
    spans: Integers,
    parents: Integers,
    emitters: Integers,
    company: Collection[int],
) -> None:
    """Take out of `is_alone` the rows whose company in the batch matters.

    Keys by row; a row without a parent has `NO_PARENT`. `company` are the traces of spans that are
    no rows.
    """
    order = np.argsort(traces, kind="stable")
    ordered = traces[order]
    is_same = ordered[1:] == ordered[:-1]
    if is_same.any():
        has_others = np.zeros(len(traces), bool)
        has_others[order[1:][is_same]] = has_others[order[:-1][is_same]] = True
        is_nested = np.isin(parents, spans) | np.isin(spans, parents)
        is_alone &= ~(has_others & ((parents == NO_PARENT) | is_nested))
        of_two = is_same & (emitters[order][1:] != emitters[order][:-1])
        is_alone[order[1:][of_two]] = False
        is_alone &= once(spans)
    if company:
        is_alone &= ~np.isin(traces, np.fromiter(company, np.int64, len(company)))
    whole_traces(is_alone, traces, ~is_alone)


def whole_traces(is_alone: Booleans, traces: Integers, leaves: Booleans) -> None:
    """Take out of `is_alone` every trace that one of the rows which leave is in."""
    if leaves.any():
        is_alone &= ~np.isin(traces, traces[leaves])


def once(keys: Integers) -> Booleans:
    """Return which keys no other row has."""
    order = np.argsort(keys)
    ordered = keys[order]
    is_same = np.zeros(len(keys) + 1, bool)
    is_same[1:-1] = ordered[1:] == ordered[:-1]
    single = np.empty(len(keys), bool)
    single[order] = ~(is_same[1:] | is_same[:-1])
    return single
