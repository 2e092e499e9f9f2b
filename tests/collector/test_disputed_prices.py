"""Calls at a price that a second source has otherwise: flagged, with what they cost there."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from priced import price
from tallyspan.usage import Usage
from tallyspan_collector.pricing import rates, shipped
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import Priced
from tallyspan_collector.pricing.rates import PriceFile

OWN = """\
prices:
  - {provider: openai, model: gpt-9, unit: 1M tokens, input: 2, output: 8, cache_read: 0.5}
  - {provider: openai, model: gpt-9, service_tier: batch, unit: 1M tokens, input: 1, output: 4}
factors:
  - {provider: openai, model: gpt-9, region: eu, times: 1.1}
"""
THEIRS = """\
prices:
  - {provider: openai, model: gpt-9, from: 2026-03-01, unit: 1M tokens, input: 3, output: 8}
"""
USAGE = Usage(1000, 100, cache_read_tokens=400)


def file(folder: Path, text: str) -> PriceFile:
    path = folder / "file.yaml"
    path.write_text(text)
    return rates.load(path)


@pytest.fixture
def book(tmp_path: Path) -> PriceBook:
    own = shipped.as_own(file(tmp_path, OWN))
    disputed = shipped.as_own(file(tmp_path, THEIRS))
    return PriceBook(own=lambda _: own, disputed=disputed)


def costs(book: PriceBook, **more: object) -> tuple[int, tuple[str, ...], int | None]:
    cost = price(book, "gpt-9", USAGE, **more)
    assert isinstance(cost, Priced)
    return cost.cost_picousd, cost.flags, cost.other_cost_picousd


def test_the_other_cost_has_their_classes_in_the_place_of_ours(book: PriceBook) -> None:
    # ours: 600 x 2 + 400 x 0.5 + 100 x 8 = 2,200; theirs: 600 x 3 + 400 x 0.5 + 100 x 8 = 2,800
    assert costs(book) == (2_200 * 10**6, ("price_disputed",), 2_800 * 10**6)


def test_a_factor_of_ours_is_on_both(book: PriceBook) -> None:
    # x 1.1
    assert costs(book, conditions={"region": "eu"}) == (
        2_420 * 10**6,
        ("price_disputed",),
        3_080 * 10**6,
    )


def test_a_dispute_holds_from_its_day_and_for_its_tier(book: PriceBook) -> None:
    assert costs(book, at_ns=0) == (2_200 * 10**6, (), None)
    # batch: 600 x 1 + 400 x 1 + 100 x 4: cache reads have no price of their own
    assert costs(book, service_tier="batch") == (1_400 * 10**6, (), None)


def test_the_administrators_price_is_final(tmp_path: Path) -> None:
    ours = file(tmp_path, OWN)
    disputed = shipped.as_own(file(tmp_path, THEIRS))

    assert costs(PriceBook(ours, disputed=disputed))[1:] == ((), None)


def test_a_discount_of_the_administrators_is_on_both(tmp_path: Path, book: PriceBook) -> None:
    book.use(file(tmp_path, "discounts:\n  - {provider: openai, percent: 50}\n"), book.data)

    assert costs(book) == (1_100 * 10**6, ("price_disputed",), 1_400 * 10**6)


def test_a_price_of_the_package_may_be_disputed_too(tmp_path: Path) -> None:
    text = THEIRS.replace("gpt-9", "gpt-5-mini").replace("input: 3, output: 8", "input: 1")
    cost = price(PriceBook(disputed=shipped.as_own(file(tmp_path, text))), usage=Usage(1000, 0))

    assert isinstance(cost, Priced)
    # 0.25 and 1 for a million
    assert (cost.cost_picousd, cost.other_cost_picousd) == (250 * 10**6, 1_000 * 10**6)
    assert cost.flags == ("price_disputed",)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_without_a_dispute_nothing_changes(input_tokens: int, output_tokens: int) -> None:
    usage = Usage(input_tokens, output_tokens)

    assert price(_PLAIN, "gpt-4.1", usage) == price(_SHIPPED, "gpt-4.1", usage)


_PLAIN, _SHIPPED = PriceBook(disputed=PriceFile()), PriceBook()
