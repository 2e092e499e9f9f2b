"""The token rule over columns is `convention.settle` over each row."""

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tallyspan.usage import TOKEN_FIELDS
from tallyspan_collector.columns.shapes import Sort, rule_bits
from tallyspan_collector.columns.table import FLAGS, Counts, Integers, settle_columns
from tallyspan_collector.dialects.convention import rule_of, settle
from tallyspan_collector.dialects.reading import Kind
from tallyspan_collector.dialects.registry import DIALECTS
from tallyspan_collector.dialects.table import Basis, Rule

PROVIDERS = (
    "openai", "anthropic", "aws.bedrock", "gcp.gemini", "gcp.vertex_ai", "x_ai", "mistral_ai",
    "azure.ai.inference", "cohere", "",
)  # fmt: skip
RULES = sorted(
    {
        rule_of(dialect, provider, model)
        for dialect in DIALECTS
        for provider in PROVIDERS
        for model in ("gpt-5", "claude-opus-4-1")
    },
    key=repr,
)
"""Every token rule that a dialect has."""
COUNTS = st.none() | st.sampled_from([0, 1, 2, 3, 10, 11, 13, 20, 30, 33, 2**53 - 1])
ROWS = st.lists(
    st.tuples(
        st.sampled_from(RULES),
        st.booleans(),
        st.tuples(*[COUNTS] * 5, *[st.none() | st.integers(0, 3)] * 6),
        COUNTS | st.just("sum"),
    ),
    min_size=1,
    max_size=12,
)


def column(values: list[int | None]) -> Integers | None:
    return (
        None
        if values == [None] * len(values)
        else np.array([-1 if v is None else v for v in values])
    )


@given(ROWS)
def test_columns_are_settled_as_each_row_is_or_the_row_is_odd(rows: list[Any]) -> None:
    ordered = [row[2] for row in rows]
    totals = [
        sum(filter(None, each[:2])) if row[3] == "sum" else row[3]
        for row, each in zip(rows, ordered, strict=True)
    ]
    bits = np.array(
        [
            rule_bits(Sort(Kind.CALL, "", {}, rule, is_settled, False, False, False))
            for rule, is_settled, *_ in rows
        ],
        np.int32,
    )
    settled = settle_columns(
        [column(list(each)) for each in zip(*ordered, strict=True)], column(totals), bits
    )

    for number, (rule, is_settled, *_) in enumerate(rows):
        expected = list(ordered[number])
        flags = settle(expected, totals[number], rule, is_settled=is_settled)
        if settled.is_odd[number]:
            assert totals[number]
            continue
        assert [
            None if each is None or each[number] < 0 else each[number] for each in settled.counts
        ] == expected
        assert tuple(f for at, f in enumerate(FLAGS) if settled.flags[number] >> at & 1) == flags


def test_a_total_that_the_rule_explains_is_not_odd() -> None:
    inclusive, exclusive = Rule(), Rule(basis=Basis.EXCLUSIVE)
    bits = np.array(
        [
            rule_bits(Sort(Kind.CALL, "", {}, each, False, False, False, False))
            for each in (inclusive, exclusive, exclusive, replace(exclusive, is_total_whole=True))
        ],
        np.int32,
    )
    sent = (np.full(4, each) for each in (100, 10, 40))
    counts: Counts = [*sent, *[None] * (len(TOKEN_FIELDS) - 3)]
    # 150: input with the cache, and output; 110: without the cache, as some emitters add up
    settled = settle_columns(counts, np.array([110, 150, 110, 110]), bits)

    assert [*settled.is_odd] == [False, False, False, True]
    assert settled.counts[0] is not None
    assert [*settled.counts[0][:3]] == [100, 140, 140]
