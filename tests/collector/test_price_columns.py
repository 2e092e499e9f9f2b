"""Many calls priced by columns: what the price book says of each, or nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from priced import ns
from tallyspan.usage import TOKEN_FIELDS, Usage, counts_of
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import (
    INCONSISTENT_USAGE,
    MAX_COST_PICOUSD,
    Priced,
    Unpriced,
    UnpricedReason,
)
from tallyspan_collector.pricing.price_columns import REASONS, KindKey, PriceColumns

FILE = """\
prices:
  - model: tiered
    unit: 1M tokens
    input: 1
    output: 10
    cache_read: 0.1
    context_tiers:
      - {above_input_tokens: 1000, input: 2, output: 20}
      - {above_input_tokens: 5000, input: 4}
  - model: progressive
    unit: 1M tokens
    input: 1
    output: 10
    context_tiers_apply_to: tokens above
    context_tiers: [{above_input_tokens: 1000, input: 2, output: 20}]
  - model: all-classes
    unit: 1M tokens
    input: 1
    output: 10
    cache_read: 0.1
    cache_write: 1.25
    cache_write_1h: 2
    reasoning: 30
    input_audio: 40
    cache_read_audio: 4
    output_audio: 80
    input_image: 5
    output_image: 60
  - {model: by-the-request, per_request: 0.001, unit: 1M tokens, input: 1}
  - {model: below-a-pico, unit: 1M tokens, input: 0.0000003, output: 0.0000007, cache_read: 0.0000001}
  - {model: input-only, unit: 1M tokens, input: 1}
  - {model: night, unit: 1M tokens, input: 4, output: 4}
  - {model: night, hours: 16:30-00:30, unit: 1M tokens, input: 1, output: 2}
  - {model: night, from: "2026-06-02", unit: 1M tokens, input: 3, output: 3}
  - {model: dear, unit: 1K tokens, input: 999999, output: 999999}
"""
KINDS: tuple[KindKey, ...] = (
    *(
        ("openai", "", model, "", ())
        for model in (
            "tiered",
            "progressive",
            "all-classes",
            "by-the-request",
            "below-a-pico",
            "input-only",
            "night",
            "dear",
            "gpt-5-mini",
            "gpt-4o-audio-preview",
            "no-such-model",
        )
    ),
    ("openai", "", "gpt-5", "flex", ()),
    ("openai", "", "gpt-5", "unheard-of", ()),
    ("anthropic", "", "claude-sonnet-4-5-20250929", "", (("geo", "us"),)),
    ("azure.ai.openai", "", "gpt-5", "", ()),
    ("gcp.gemini", "", "gemini-2.5-pro", "", ()),
    ("deepseek", "", "deepseek-chat", "", ()),
)


@pytest.fixture(scope="module")
def columns(tmp_path_factory: pytest.TempPathFactory) -> PriceColumns:
    path = tmp_path_factory.mktemp("prices") / "prices.yaml"
    path.write_text(FILE)
    return PriceColumns(PriceBook.load(path))


def usages() -> st.SearchStrategy[Usage]:
    counts = st.one_of(st.none(), st.integers(0, 8_000), st.sampled_from([1000, 1001, 5000, 5001]))
    return st.builds(Usage, **dict.fromkeys(TOKEN_FIELDS, counts)) | st.builds(
        Usage, st.integers(2_000, 9_000), st.integers(0, 900), st.none() | st.integers(0, 900),
        st.none() | st.integers(0, 900),
    )  # fmt: skip


CALLS = st.lists(
    st.tuples(
        st.integers(0, len(KINDS) - 1),
        st.integers(ns("2026-05-25"), ns("2026-06-10")),
        usages(),
    ),
    min_size=1,
    max_size=40,
)


def priced_by(
    columns: PriceColumns, calls: list[tuple[int, int, Usage]]
) -> list[Priced | Unpriced | None]:
    """What the columns say of each call; None: refused."""
    counts = [
        np.array([-1 if each is None else each for each in column], np.int64)
        if any(each is not None for each in column)
        else None
        for column in zip(*(counts_of(usage) for _, _, usage in calls), strict=True)
    ]
    costs, is_refused = columns.costs(
        KINDS,
        np.array([kind for kind, _, _ in calls], np.int64),
        np.array([at for _, at, _ in calls], np.int64),
        counts,
    )
    result: list[Priced | Unpriced | None] = []
    for row in range(len(calls)):
        if is_refused[row]:
            result.append(None)
        elif reason := REASONS[costs.reason[row]]:
            result.append(Unpriced(UnpricedReason(reason)))
        else:
            cost, prompt, answer = (
                int(each[row]) for each in (costs.cost, costs.input, costs.output)
            )
            price_id, source, flags = costs.prices[costs.price[row]]
            other = int(costs.other[row]) if costs.has_other[row] else None
            saved = int(costs.saved[row]) if costs.has_saved[row] else None
            result.append(Priced(cost, prompt, answer, price_id, source, flags, other, saved))
    return result


def priced_alone(book: PriceBook, kind: KindKey, at_ns: int, usage: Usage) -> Priced | Unpriced:
    provider, endpoint, model, tier, conditions = kind
    return book.price(
        provider=provider,
        endpoint_id=endpoint,
        model=model,
        at_ns=at_ns,
        usage=usage,
        service_tier=tier,
        conditions=dict(conditions),
    )


@given(CALLS)
@settings(max_examples=100)
def test_a_call_costs_by_columns_what_it_costs_alone_or_is_refused(
    columns: PriceColumns, calls: list[tuple[int, int, Usage]]
) -> None:
    for (kind, at, usage), by_columns in zip(calls, priced_by(columns, calls), strict=True):
        alone = priced_alone(columns.book, KINDS[kind], at, usage)
        if isinstance(alone, Priced) and alone.cost_picousd >= MAX_COST_PICOUSD:
            alone = INCONSISTENT_USAGE
        assert by_columns is None or by_columns == alone


def test_prices_by_the_place_of_a_token_and_sums_beyond_64_bits_are_refused(
    columns: PriceColumns,
) -> None:
    at = ns("2026-06-03")
    usage = Usage(6_000, 100, 10)

    by_columns = priced_by(columns, [(kind, at, usage) for kind in range(len(KINDS))])

    refused = [KINDS[at][2] for at, each in enumerate(by_columns) if each is None]
    assert refused == ["progressive", "dear"]
