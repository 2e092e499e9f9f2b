"""The numbers of traces, spans and parents of many rows at once."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallyspan_collector.columns.part import ID_BYTES

Integers = NDArray[np.int64]
Remainders = Callable[[bytes, int], tuple[bytes, bytes, bytes]]
"""Ids of rows and a prime -> the remainders of trace, span and parent, see `SpanReader`."""


class Numbers(NamedTuple):
    """Numbers of 63 bits, a row each; `parent` is -1 where a row has none."""

    trace: Integers
    span: Integers
    parent: Integers


def numbers_of(
    ids: NDArray[np.uint8],
    request: NDArray[np.int32],
    prime: int,
    trace_shifts: Sequence[int],
    span_shifts: Sequence[int],
    remainders: Remainders,
) -> Numbers:
    """Return the numbers of rows: the id plus the shift of the row's request, modulo the prime.

    `ids` as `Table` has them. The shifts go by the number of the request and say whose it is: one
    is added to trace ids, one to span ids (a trace and a span id as one number). They are below the
    prime, and that is below 2^63. A parent is taken for a span of the same sender.
    """
    trace, span, parent = (
        np.frombuffer(column, np.uint64) for column in remainders(ids.tobytes(), prime)
    )
    of_traces = np.array(trace_shifts, np.uint64)[request]
    of_spans = np.array(span_shifts, np.uint64)[request]
    modulus = np.uint64(prime)
    has_parent = ids.reshape(-1, ID_BYTES)[:, 32] != 0
    parents = ((parent + of_spans) % modulus).astype(np.int64)
    return Numbers(
        ((trace + of_traces) % modulus).astype(np.int64),
        ((span + of_spans) % modulus).astype(np.int64),
        np.where(has_parent, parents, -1),
    )
