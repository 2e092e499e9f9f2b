"""What of a report is booked: the part that spans do not tell of, by the model and the day."""

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tallyspan_collector.imports.gaps import Recorded, Remainder
from tallyspan_collector.imports.remainder import remainders
from tallyspan_collector.imports.report import Row

MILLION = 10**6
RATES = {"input_tokens": 2_000_000, "output_tokens": 8_000_000}
"""Pico-dollars of a token: 2 and 8 USD a million."""


def price(row: Row) -> int:
    return sum(RATES.get(meter, 0) * amount for meter, amount in row.usage.items())


def row(model: str = "gpt-4.1", cost: int | None = None, **other: Any) -> Row:
    owner: dict[str, Any] = {
        "provider": "openai", "item": "", "tier": "", "service": "", "operation": "",
        "project": "", "api_key": "", "user": "", "conditions": (), "is_long_context": False,
    }  # fmt: skip
    usage = {name: other.pop(name) for name in [*other] if name.endswith("_tokens")}
    return Row(model=model, usage=usage, cost_picousd=cost, **(owner | other))


def span(model: str = "gpt-4.1", cost: int = 0, **other: Any) -> Recorded:
    owner = {"tier": "", "service": "", "project": "", "user": ""}
    usage = {name: other.pop(name) for name in [*other] if name.endswith("_tokens")}
    return Recorded(model=model, usage=usage, cost_picousd=cost, **(owner | other))


def left(rows: list[Row], *spans: Recorded) -> list[Remainder]:
    return remainders(rows, spans, price)


def amounts(rows: list[Row], *spans: Recorded) -> list[dict[str, int]]:
    return [each.usage for each in left(rows, *spans)]


def test_what_no_span_tells_of_is_left_whole() -> None:
    reported = row(input_tokens=100, cache_read_tokens=60, output_tokens=10)

    assert amounts([reported]) == [
        {"input_tokens": 100, "cache_read_tokens": 60, "output_tokens": 10}
    ]


def test_what_spans_tell_of_is_taken_off_each_meter() -> None:
    assert amounts(
        [row(input_tokens=100, output_tokens=10)], span(input_tokens=70, output_tokens=10)
    ) == [{"input_tokens": 30}]


def test_nothing_is_left_where_spans_tell_of_more() -> None:
    assert left([row(input_tokens=100)], span(input_tokens=130))[0].is_empty


def test_a_snapshot_and_its_model_are_the_same() -> None:
    assert amounts([row("gpt-4.1-2025-04-14", input_tokens=100)], span(input_tokens=90)) == [
        {"input_tokens": 10}
    ]


def test_what_both_know_says_whose_it_is() -> None:
    rows = [row(project="a", input_tokens=100), row(project="b", input_tokens=100)]
    result = left(rows, span(project="a", input_tokens=100), span(project="b", input_tokens=40))

    assert [each.usage for each in result] == [{}, {"input_tokens": 60}]
    assert not any(each.is_apportioned for each in result)


def test_spans_of_nobody_lower_the_rest_of_all_in_proportion_and_that_is_flagged() -> None:
    rows = [row(user="ada", input_tokens=100), row(user="bob", input_tokens=300)]
    result = left(rows, span(user="ada", input_tokens=100), span(input_tokens=100))

    assert [each.usage for each in result] == [{}, {"input_tokens": 200}]
    assert [each.is_apportioned for each in result] == [False, True]


def test_where_spans_know_no_project_the_keys_share_what_is_left() -> None:
    rows = [row(api_key="k1", input_tokens=100), row(api_key="k2", input_tokens=300)]
    result = left(rows, span(input_tokens=200))

    assert [each.usage for each in result] == [{"input_tokens": 50}, {"input_tokens": 150}]
    assert all(each.is_apportioned for each in result)


def test_spans_under_a_name_that_the_report_lacks_are_not_booked_again() -> None:
    """An alias of a gateway: the same tokens stand under another model on each side."""
    assert amounts([row(input_tokens=100)], span("our-alias", input_tokens=80)) == [
        {"input_tokens": 20}
    ]


def test_parts_stay_inside_their_whole() -> None:
    """Spans tell of the prompt, and not how much of it was cached."""
    reported = row(input_tokens=100, cache_read_tokens=80, cache_write_tokens=10)
    assert amounts([reported], span(input_tokens=95)) == [
        {"input_tokens": 5, "cache_read_tokens": 5}
    ]


def test_a_stated_cost_is_left_to_the_pico_dollar() -> None:
    rows = [row(input_tokens=100, cost=1_000_000_001)]
    (result,) = left(rows, span(input_tokens=30, cost=300_000_000))

    assert (result.usage, result.cost_picousd) == ({"input_tokens": 70}, 700_000_001)


def test_a_cost_that_differs_while_all_use_is_recorded_is_a_price_and_not_booked() -> None:
    rows = [row(input_tokens=100, cost=1_000)]
    (result,) = left(rows, span(input_tokens=100, cost=800))

    assert result.is_empty


def test_a_model_of_which_only_costs_are_reported_is_left_by_its_cost() -> None:
    """Copilot's credits, by model."""
    rows = [row("claude-haiku-4.5", cost=500), row("gpt-5", cost=300)]
    result = left(rows, span("claude-haiku-4.5", cost=200), span("gpt-5", cost=900))

    assert [each.cost_picousd for each in result] == [300, 0]


def test_fees_that_stand_in_calls_are_not_booked_as_a_line_of_their_own() -> None:
    """The report has searches apart; a call costs its tokens (200) and its search (50)."""
    rows = [row(input_tokens=100, cost=200), row("", item="web search", cost=80)]
    tokens, search = left(rows, span(input_tokens=100, cost=250))

    assert tokens.is_empty
    assert search.cost_picousd == 30


def test_lines_of_a_cloud_are_compared_with_all_that_its_calls_cost() -> None:
    rows = [row("", item="Claude input", cost=300), row("", item="Claude output", cost=100)]
    result = left(rows, span("claude-opus-4-5", cost=100))

    assert [each.cost_picousd for each in result] == [225, 75]


def test_a_credit_lowers_what_is_left_and_is_no_entry() -> None:
    rows = [row("", item="tokens", cost=300), row("", item="credit", cost=-100)]

    assert [each.cost_picousd for each in left(rows)] == [200, 0]


NAMES = st.sampled_from(["", "a", "b"])
COUNTS = st.integers(0, 1_000)
ROWS = st.builds(
    lambda model, project, user, prompt, answer, extra: row(
        model, project=project, user=user, input_tokens=prompt, output_tokens=answer, cost=extra
    ),
    st.sampled_from(["gpt-4.1", "gpt-5"]),
    NAMES,
    NAMES,
    COUNTS,
    COUNTS,
    st.none(),
)
SPANS = st.builds(
    lambda model, project, user, prompt, answer: span(
        model, project=project, user=user, input_tokens=prompt, output_tokens=answer
    ),
    st.sampled_from(["gpt-4.1", "gpt-5"]),
    NAMES,
    NAMES,
    COUNTS,
    COUNTS,
)


def sums(usages: list[tuple[str, dict[str, int]]]) -> Counter[tuple[str, str]]:
    total: Counter[tuple[str, str]] = Counter()
    for model, usage in usages:
        for meter, amount in usage.items():
            total[model, meter] += amount
    return total


@settings(max_examples=40)
@given(st.lists(ROWS, max_size=6), st.lists(SPANS, max_size=6), st.booleans())
def test_spans_and_imports_are_together_the_larger_one(
    rows: list[Row], spans: list[Recorded], is_priced: bool
) -> None:
    """By model and meter; and in money where the report states it at the price of the spans."""
    named = {each.model for each in rows}
    spans = [each for each in spans if each.model in named]
    if is_priced:
        rows = [Row(**{**fields(each), "cost_picousd": price(each)}) for each in rows]
        spans = [
            Recorded(**{**fields(each), "cost_picousd": cost_of(each.usage)}) for each in spans
        ]
    result = left(rows, *spans)
    reported = sums([(each.model, dict(each.usage)) for each in rows])
    recorded = sums([(each.model, dict(each.usage)) for each in spans])
    imported = sums([(each.row.model, each.usage) for each in result])

    for key in reported.keys() | recorded.keys():
        assert recorded[key] + imported[key] == max(reported[key], recorded[key])
    for each in result:
        assert all(0 <= each.usage[meter] <= each.row.usage[meter] for meter in each.usage)
    if is_priced:
        for model in named:
            ours = sum(each.cost_picousd for each in spans if each.model == model)
            theirs = sum(each.cost_picousd or 0 for each in rows if each.model == model)
            booked = sum(each.cost_picousd or 0 for each in result if each.row.model == model)
            is_open = any(each.usage for each in result if each.row.model == model)
            assert ours + booked == (max(ours, theirs) if is_open else ours)


def fields(each: Any) -> dict[str, Any]:
    return {name: getattr(each, name) for name in type(each).__dataclass_fields__}


def cost_of(usage: Any) -> int:
    return sum(RATES[meter] * int(amount) for meter, amount in usage.items())


def test_use_that_no_span_has_is_left_at_its_rate_beside_calls_with_fees() -> None:
    """One call of 100 tokens (200) had a search (5,000); 50 tokens and a search had no span."""
    rows = [row(input_tokens=150, cost=300), row("", item="web search", cost=10_000)]
    tokens, search = left(rows, span(input_tokens=100, cost=200 + 5_000))

    assert (tokens.usage, tokens.cost_picousd) == ({"input_tokens": 50}, 100)
    assert search.cost_picousd == 5_000
