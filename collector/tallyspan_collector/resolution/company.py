"""Which spans of a batch have company that matters: only these are looked at one by one.

Two calls may be one where they are of different emitters, or one is inside the other
(`same_call.py`), or share an answer's id (`meeting.py`). All other calls are calls of their own,
and a table of them is booked as it is. A trace's spans are looked at together, or none is.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallyspan_collector.resolution.around import inside_calls
from tallyspan_collector.resolution.identity import NO_PARENT

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
WRAPPER = -2
"""The emitter of spans that are no calls: none of theirs is another report of a call."""


class Spans(NamedTuple):
    """The spans of a batch, a row each.

    Numbers of trace, span and parent (`Identities`), of the emitter (`meeting.emitter_of`, or
    WRAPPER) and of the owner, among those of the batch. `outer` is the parent's row (`around.py`).
    """

    trace: Integers
    span: Integers
    parent: Integers
    emitter: Integers
    owner: Integers
    outer: Integers

    @property
    def is_call(self) -> Booleans:
        """Return which are calls; the others are around calls."""
        is_call: Booleans = self.emitter != WRAPPER
        return is_call


def alone_in_batch(is_alone: Booleans, spans: Spans, company: Collection[int]) -> None:
    """Take out of `is_alone` the rows whose company in the batch matters.

    `company` are the traces of spans that are no rows.
    """
    order = np.argsort(spans.trace, kind="stable")
    is_same = _is_as_before(spans.trace[order])
    if is_same.any():
        is_call = spans.is_call
        has_others = np.zeros(len(order), bool)
        has_others[order[1:][is_same]] = has_others[order[:-1][is_same]] = True
        is_alone &= ~(has_others & is_call & (spans.parent == NO_PARENT))
        is_alone &= ~inside_calls(spans.outer, is_call)
        is_alone[order[1:][is_same & ~_is_as_before(spans.owner[order])]] = False
        calls = order[is_call[order]]
        of_two = _is_as_before(spans.trace[calls]) & ~_is_as_before(spans.emitter[calls])
        is_alone[calls[1:][of_two]] = False
        is_alone &= once(spans.span)
    if company:
        is_alone &= ~np.isin(spans.trace, np.fromiter(company, np.int64, len(company)))
    whole_traces(is_alone, spans.trace, ~is_alone)


def _is_as_before(values: Integers) -> Booleans:
    """Return which values, from the second on, are the one before."""
    is_same: Booleans = values[1:] == values[:-1]
    return is_same


def whole_traces(is_alone: Booleans, traces: Integers, leaves: Booleans) -> None:
    """Take out of `is_alone` every trace that one of the rows which leave is in."""
    if leaves.any():
        is_alone &= ~np.isin(traces, traces[leaves])


def once(keys: Integers) -> Booleans:
    """Return which keys no other row has."""
    order = np.argsort(keys)
    is_same = np.zeros(len(keys) + 1, bool)
    is_same[1:-1] = _is_as_before(keys[order])
    single = np.empty(len(keys), bool)
    single[order] = ~(is_same[1:] | is_same[:-1])
    return single
