"""Calls of one price split by class: whatever they used, the parts are what the ledger has."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.focus.exact import text
from tallyspan_collector.focus.groups import Calls, Place
from tallyspan_collector.focus.split import Splitter
from tallyspan_collector.pricing import rates
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import Priced
from tallyspan_collector.pricing.match import Ranked
from tallyspan_collector.pricing.rates import PriceFile

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
NANOSECONDS = int(NOON.timestamp()) * 10**9
MODELS = {
    "gpt-4.1": "openai",
    "claude-sonnet-4-5": "anthropic",
    "gemini-2.5-pro": "gcp.gemini",
    "gpt-4o-audio-preview": "openai",
}


def file_of(folder: Path, content: str) -> PriceFile:
    (path := folder / "prices.yaml").write_text(content)
    return rates.load(path)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> PriceBook:
    discounts = "discounts:\n  - {provider: openai, percent: 7.3}\n  - {provider: anthropic, percent: 12.3456789}\n"
    return PriceBook(file_of(tmp_path_factory.mktemp("prices"), discounts))


def group_of(book: PriceBook, model: str, usages: Sequence[Usage], searches: int) -> Calls:
    """Return calls with what the book says that each of them costs."""
    provider, meters = MODELS.get(model, "x"), {"web_search": float(searches)} if searches else {}
    costs = [
        book.price(provider=provider, endpoint_id="", model=model, at_ns=NANOSECONDS,
                   usage=each, meters=meters)
        for each in usages
    ]  # fmt: skip
    assert all(isinstance(each, Priced) for each in costs)
    return Calls(
        place=Place("", "", "", "", "", provider, "", model),
        service_tier="",
        conditions={},
        cost_status="priced",
        is_unlisted=False,
        first=NOON,
        calls=len(usages),
        single=len(usages),
        tokens={name: sum(getattr(each, name) or 0 for each in usages) for name in TOKEN_FIELDS},
        meters={"web_search": Decimal(searches * len(usages))} if searches else {},
        meters_once={"web_search": Decimal(len(usages))} if searches else {},
        cost_usd=sum(
            (Decimal(each.cost_picousd).scaleb(-12) for each in costs if isinstance(each, Priced)),
            Decimal(0),
        ),
        list_usd=Decimal(0),
    )


@st.composite
def usage(draw: st.DrawFn) -> Usage:
    read, write, plain, output = (draw(st.integers(0, 40_000)) for _ in range(4))
    hour = draw(st.integers(0, write))
    return Usage(read + write + plain, output, read, write, hour)


@given(
    model=st.sampled_from(sorted(MODELS)),
    usages=st.lists(usage(), min_size=1, max_size=4),
    searches=st.integers(0, 2),
)
@settings(max_examples=30)
def test_the_parts_of_calls_are_all_their_tokens_and_all_their_cost(
    book: PriceBook, model: str, usages: list[Usage], searches: int
) -> None:
    calls = group_of(book, model, usages, searches)
    split = Splitter(book).split(calls, calls.cost_usd)

    assert split.reason == ""
    tokens = [each for each in split.parts if each.meter.endswith("_tokens")]
    assert sum(each.quantity for each in tokens) == sum(
        (each.input_tokens or 0) + (each.output_tokens or 0) for each in usages
    )
    # Each call is rounded to the pico-dollar.
    missing = calls.cost_usd - sum((each.cost for each in split.parts), Decimal(0))
    assert abs(missing) <= Decimal(len(usages)).scaleb(-12)
    assert all(each.usd < each.list_usd or MODELS[model] == "gcp.gemini" for each in split.parts)


def test_one_pico_dollar_too_much_is_not_split(book: PriceBook) -> None:
    calls = group_of(book, "gpt-4.1", [Usage(1000, 100)], searches=0)
    more = calls.cost_usd + Decimal("0.000000000001")

    assert Splitter(book).split(calls, more).reason.endswith("at other prices than those of today")


def test_a_price_by_the_place_of_a_token_is_not_split(tmp_path: Path) -> None:
    bands = (
        "prices:\n  - {model: ladder, unit: 1M tokens, input: 1, output: 1,"
        " context_tiers_apply_to: tokens above,"
        " context_tiers: [{above_input_tokens: 10, input: 2, output: 2}]}\n"
    )
    ladder = PriceBook(file_of(tmp_path, bands))
    calls = group_of(ladder, "ladder", [Usage(20, 0)], searches=0)

    assert calls.cost_usd == Decimal("0.00003")  # 10 at 1 and 10 at 2 millionths of a USD
    assert "the place of a token" in Splitter(ladder).split(calls, calls.cost_usd).reason


def test_a_price_that_is_no_decimal_number_is_not_split(tmp_path: Path) -> None:
    whole = file_of(tmp_path, "prices:\n  - {model: house, unit: 1M tokens, input: 1, output: 1}\n")
    thirds = Ranked(
        replace(rate, parts=tuple(part.scaled(Fraction(1, 3)) for part in rate.parts))
        for rate in whole.rates
    )
    third = PriceBook(replace(whole, rates=thirds))
    calls = group_of(third, "house", [Usage(3, 0)], searches=0)

    assert "without an end" in Splitter(third).split(calls, calls.cost_usd).reason


def test_a_search_that_a_call_is_billed_for_once_is_counted_once(book: PriceBook) -> None:
    # Two calls with two searches each; a prompt that Google grounds costs 0.035 USD.
    calls = group_of(book, "gemini-2.5-pro", [Usage(0, 0), Usage(0, 0)], searches=2)
    [search] = Splitter(book).split(calls, Decimal("0.07")).parts

    assert calls.cost_usd == Decimal("0.07")
    assert (search.meter, search.quantity) == ("web_search", Decimal(2))


def test_calls_that_have_no_price_any_more_are_not_split(book: PriceBook) -> None:
    calls = group_of(book, "gpt-4.1", [Usage(1000, 100)], searches=0)
    gone = replace(calls, place=calls.place._replace(model="gone"))

    assert Splitter(book).split(gone, calls.cost_usd).reason == "today's prices have none for it"


@pytest.mark.parametrize(
    ("number", "as_text"),
    [("1E+3", "1000"), ("-0.50", "-0.5"), ("0E-12", "0"), ("1E-12", "0.000000000001")],
)
def test_numbers_have_no_exponent_and_no_zeros_at_their_end(number: str, as_text: str) -> None:
    assert text(Decimal(number)) == as_text
