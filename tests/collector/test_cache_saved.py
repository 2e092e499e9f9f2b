"""What a provider's cache saves: the cost without it, less the cost."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given
from hypothesis import strategies as st

from ledger import NOON, book, call
from priced import ns, price
from shared_store import SharedStore
from tallyspan.usage import Usage
from tallyspan_collector.booked.reprice import Reprice, Scope
from tallyspan_collector.booked.run import run
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.ledger import entry
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import Priced
from tallyspan_collector.read.call import Call
from tallyspan_collector.summary import Filters, summarise

PRICES = """\
prices:
  - model: m
    unit: 1M tokens
    input: 3
    output: 15
    cache_read: 0.3
    cache_write: 3.75
    cache_write_1h: 6
    input_audio: 10
    cache_read_audio: 1
  - {model: uncached, unit: 1M tokens, input: 3, output: 15}
  - {model: thirds, unit: 1M tokens, input: 0.0000005, output: 0, cache_read: 0.0000001}
  - model: long
    unit: 1M tokens
    input: 2
    output: 8
    cache_read: 0.5
    context_tiers: [{above_input_tokens: 1000, input: 4, output: 8, cache_read: 1}]
  - model: marginal
    unit: 1M tokens
    input: 2
    output: 8
    cache_read: 0.5
    context_tiers: [{above_input_tokens: 1000, input: 4, output: 8, cache_read: 1}]
    context_tiers_apply_to: tokens above
"""
MILLION = 10**6


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> PriceBook:
    path = tmp_path_factory.mktemp("prices") / "models_pricing.yaml"
    path.write_text(PRICES)
    return PriceBook.load(path)


# Pico-dollars; a price of 3 USD a million is 3,000,000 for a token.
@pytest.mark.parametrize(
    ("model", "usage", "meters", "saved"),
    [
        # 800 x (3 - 0.3)
        ("m", Usage(1000, 50, 800), {}, 2160 * MILLION),
        # 400 writes, 100 of them for an hour: 300 x (3 - 3.75) + 100 x (3 - 6)
        ("m", Usage(1000, 50, 0, 400, 100), {}, -525 * MILLION),
        # 500 x 2.7 + 200 x -0.75
        ("m", Usage(1000, 50, 500, 200), {}, 1200 * MILLION),
        # 300 reads, 100 of them audio: 200 x (3 - 0.3) + 100 x (10 - 1)
        ("m", Usage(1000, 50, 300, cache_read_audio_tokens=100, input_audio_tokens=100),
         {}, 1440 * MILLION),
        # other meters change nothing: 800 x 2.7
        ("m", Usage(1000, 50, 800), {"web_search": 1}, 2160 * MILLION),
        # without a price of its own a read costs what input costs
        ("uncached", Usage(1000, 50, 800), {}, 0),
        # 3 x 0.5 rounded to 2, less 2 x 0.5 + 1 x 0.1 = 1.1 rounded to 1
        ("thirds", Usage(3, 0, 1), {}, 1),
        # above 1,000 tokens all of them cost 4 and 1: 500 x 3
        ("long", Usage(1500, 50, 500), {}, 1500 * MILLION),
        # tokens stand in the order reads, rest, answer: the 500 reads are below 1,000 either way
        ("marginal", Usage(1500, 50, 500), {}, 750 * MILLION),
        ("m", Usage(1000, 50), {}, None),
        ("m", Usage(1000, 50, 0, 0), {}, None),
    ],
)  # fmt: skip
def test_a_cache_saves_what_its_tokens_would_cost_as_input_less_what_they_cost(
    prices: PriceBook, model: str, usage: Usage, meters: dict[str, float], saved: int | None
) -> None:
    cost = price(prices, model, usage, meters=meters)

    assert isinstance(cost, Priced)
    assert cost.cache_saved_picousd == saved


@given(
    st.sampled_from(["m", "uncached", "thirds", "long", "marginal"]),
    st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 50),
    st.booleans(),
)  # fmt: skip
def test_saved_is_the_cost_without_the_cache_less_the_cost(
    prices: PriceBook, model: str, rest: int, read: int, write: int, answer: int, is_long: bool
) -> None:
    usage = Usage(rest + read + write, answer, read, write, write // 2)
    meters = {"cache_write_12h_tokens": float(write // 2)} if is_long else {}
    cost = price(prices, model, usage, meters=meters)
    without = price(prices, model, Usage(rest + read + write, answer))

    assert isinstance(cost, Priced)
    assert isinstance(without, Priced)
    saved = without.cost_picousd - cost.cost_picousd
    assert cost.cache_saved_picousd == (saved if read or write else None)


def test_a_cost_that_the_provider_states_says_nothing_of_its_cache(prices: PriceBook) -> None:
    ids = "a" * 32, "b" * 16, ""
    used = Call(*ids, ns("2026-06-01"), 0, "openai", "chat", "m", usage=Usage(1000, 50, 800))
    costs = entry.costs([used, used._replace(reported_cost_picousd=7)], prices, Directory())

    assert [each.cache_saved_picousd for each in costs] == [2160 * MILLION, None]
    assert costs[0].reversed().cache_saved_picousd == -2160 * MILLION


def test_a_price_change_books_the_difference_of_what_was_saved(
    empty_store: SharedStore, client: Client, tmp_path: Path
) -> None:
    # 800 reads: saved 800 x (3 - 0.3) / 1M = 0.00216; at 0.6 a million 0.00192
    cached = call(
        model_name="m", request_model="m", input_tokens=1000, output_tokens=50,
        cache_read_tokens=800, cost_usd=Decimal("0.00159"), cache_saved_usd=Decimal("0.00216"),
    )  # fmt: skip
    plan = cached | {"span_id": "c" * 16, "is_notional": True}
    book(client, [cached, plan, call(model_name="m", request_model="m")])
    path = tmp_path / "models_pricing.yaml"
    path.write_text(PRICES.replace("cache_read: 0.3\n", "cache_read: 0.6\n"))
    scope = Scope(NOON - timedelta(days=1), datetime(2026, 5, 1, tzinfo=UTC), model="m")
    run(client, Reprice(PriceBook.load(path), scope), is_applied=True, reason="dearer")

    (row,) = summarise(client, Filters(start=scope.start, end=scope.end), ["model"])
    assert row["cache_saved_usd"] == Decimal("0.00192")
    saved = client.query("SELECT cache_saved_usd FROM calls ORDER BY cache_saved_usd").result_rows
    assert saved == [(Decimal("0.00192"),), (None,), (None,)]
