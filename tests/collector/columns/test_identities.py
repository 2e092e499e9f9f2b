"""The numbers of rows are those of one id at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_readers import NAMES, reader_named
from tallyspan_collector.columns.identities import numbers_of

PRIMES = st.sampled_from([0x6A09E667F3BCC91D, (1 << 62) + 135, (1 << 63) - 25])
ROWS = st.lists(
    st.tuples(
        st.binary(min_size=16, max_size=16),
        st.binary(min_size=8, max_size=8),
        st.none() | st.binary(min_size=8, max_size=8),
        st.integers(0, 1),
    ),
    max_size=20,
)
SHIFTS = st.tuples(*[st.integers(0, (1 << 62) - 1)] * 2)


@pytest.mark.parametrize("name", NAMES)
@given(rows=ROWS, prime=PRIMES, of_traces=SHIFTS, of_spans=SHIFTS)
def test_a_number_is_the_id_and_the_shift_of_its_request_modulo_the_prime(
    name: str,
    rows: list[tuple[bytes, bytes, bytes | None, int]],
    prime: int,
    of_traces: tuple[int, int],
    of_spans: tuple[int, int],
) -> None:
    ids = b"".join(
        trace + span + (parent or bytes(8)) + (parent is not None).to_bytes(8, "little")
        for trace, span, parent, _ in rows
    )
    numbers = numbers_of(
        np.frombuffer(ids, np.uint8).reshape(-1, 40),
        np.array([row[3] for row in rows], np.int32),
        prime,
        of_traces,
        of_spans,
        reader_named(name).remainders,
    )

    def number(raw: bytes, shift: int) -> int:
        return (int(raw.hex(), 16) + shift) % prime

    assert [*numbers.trace] == [number(trace, of_traces[at]) for trace, _, _, at in rows]
    assert [*numbers.span] == [number(trace + span, of_spans[at]) for trace, span, _, at in rows]
    assert [*numbers.parent] == [
        -1 if parent is None else number(trace + parent, of_spans[at])
        for trace, _, parent, at in rows
    ]
