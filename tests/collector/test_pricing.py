from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import pytest
from genai_prices import Usage as PricedUsage
from genai_prices import calc_price
from genai_prices.data_snapshot import get_snapshot
from hypothesis import assume, given
from hypothesis import strategies as st

from tallyspan.usage import Usage
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.pricing import bundled
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.bundled import PROVIDER_IDS
from tallyspan_collector.pricing.cost import Priced, Unpriced, UnpricedReason

BOOK = PriceBook()
NAMES = {theirs: ours for ours, theirs in PROVIDER_IDS.items()}
MODELS = [
    (NAMES[provider.id], provider.id, model.id)
    for provider in get_snapshot().providers
    if provider.id in NAMES
    for model in provider.models
]
BORDERS = [100_000, 128_000, 200_000, 272_000]
COUNTS = st.one_of(
    st.integers(0, 2_000_000), st.sampled_from([b + d for b in BORDERS for d in (-1, 0, 1)])
)
TIMES = st.datetimes(datetime(2024, 6, 1), datetime(2026, 12, 1))  # noqa: DTZ001


def ns(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 10**9


def price(
    book: PriceBook, model: str = "gpt-5-mini", usage: Usage | None = None, **given: object
) -> Priced | Unpriced:
    arguments: dict[str, object] = {
        "provider": "openai",
        "endpoint_id": "",
        "at_ns": ns("2026-06-01"),
        **given,
    }
    return book.price(model=model, usage=usage or Usage(1000, 100), **arguments)  # type: ignore[arg-type]


@given(st.sampled_from(MODELS), COUNTS, COUNTS, st.fractions(0, 1), st.fractions(0, 1), TIMES)
def test_bundled_cost_equals_calc_price_to_the_picodollar(
    model: tuple[str, str, str], given: int, made: int, read: float, write: float, at: datetime
) -> None:
    ours, theirs, name = model
    assume(bundled.is_known(theirs, name))
    cache_read = int(given * read)
    cache_write = int((given - cache_read) * write)
    at_utc = at.replace(tzinfo=UTC, microsecond=0)
    usage = Usage(given, made, cache_read_tokens=cache_read, cache_write_tokens=cache_write)
    found = BOOK.price(
        provider=ours,
        endpoint_id="",
        model=name,
        at_ns=int(at_utc.timestamp()) * 10**9,
        usage=usage,
    )
    oracle = calc_price(
        PricedUsage(
            input_tokens=given,
            output_tokens=made,
            cache_read_tokens=cache_read,
            cache_write_tokens=cache_write,
        ),
        model_ref=name,
        provider_id=theirs,
        genai_request_timestamp=at_utc,
    )

    assert isinstance(found, Priced)
    expected = (oracle.total_price * 10**12).to_integral_value(ROUND_HALF_EVEN)
    assert found.cost_picousd == expected


def test_a_served_tier_has_its_own_price() -> None:
    at_ns = ns("2026-11-01")
    standard, flex = price(BOOK, at_ns=at_ns), price(BOOK, at_ns=at_ns, service_tier="flex")

    assert isinstance(standard, Priced)
    assert isinstance(flex, Priced)
    assert flex.cost_picousd * 2 == standard.cost_picousd


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"model": "no-such-model"}, UnpricedReason.UNKNOWN_MODEL),
        ({"provider": "nobody"}, UnpricedReason.UNKNOWN_MODEL),
        ({"usage": Usage(cache_read_tokens=3)}, UnpricedReason.UNKNOWN_USAGE),
        ({"usage": Usage(output_tokens=3)}, UnpricedReason.UNKNOWN_USAGE),
        (
            {"usage": Usage(10, 1, cache_read_tokens=8, cache_write_tokens=8)},
            UnpricedReason.INCONSISTENT_USAGE,
        ),
        ({"usage": Usage(10, 1, input_audio_tokens=11)}, UnpricedReason.INCONSISTENT_USAGE),
    ],
)
def test_what_cannot_be_priced_says_why_and_is_not_zero(
    given: dict[str, object], reason: UnpricedReason
) -> None:
    assert price(BOOK, **given) == Unpriced(reason)  # type: ignore[arg-type]


CONTRACT = """\
prices:
  - model: gpt-5*
    unit: 1M tokens
    input: 1
    output: 10
  - model: gpt-5-mini
    unit: 1M tokens
    input: 2
    output: 20
  - model: gpt-5-mini
    provider: openai
    unit: 1K tokens
    input: 0.003
    cache_read: 0.0003
    output: 0.03
    to: 2026-03-15
  - model: gpt-5-mini
    provider: openai
    from: 2026-03-15
    unit: 1M tokens
    input: 4
    output: 40
  - model: "*"
    endpoint: my-gateway
    unit: 1M tokens
    input: 1.1
    output: 0.1
    discount_percent: 12.5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "models_pricing.yaml"


@pytest.mark.parametrize(
    ("given", "usd"),
    [
        ({"provider": "azure.ai.openai", "model": "gpt-5-nano"}, "0.002"),  # the glob
        ({"provider": "azure.ai.openai"}, "0.004"),  # the exact model before it
        (
            {"at_ns": ns("2026-03-14T23:59:59")},
            "0.006",
        ),  # the provider's before both, until the 15th
        ({"at_ns": ns("2026-03-15")}, "0.008"),  # 'to' is excluded, 'from' included
        (
            {"endpoint_id": "my-gateway", "model": "x"},
            "0.00097125",
        ),  # the contract before all, less 12.5 %
        ({"at_ns": ns("2026-01-01"), "usage": Usage(1000, 0, cache_read_tokens=500)}, "0.00165"),
        ({"usage": Usage(1000, 0, cache_read_tokens=500)}, "0.004"),  # no cache price: the input's
    ],
)
def test_the_most_specific_entry_of_the_day_decides(
    file: Path, given: dict[str, object], usd: str
) -> None:
    file.write_text(CONTRACT)
    found = price(PriceBook.load(file), **given)  # type: ignore[arg-type]

    assert isinstance(found, Priced)
    assert Decimal(found.cost_picousd).scaleb(-12) == Decimal(usd)
    assert found.price_source == "models_pricing.yaml"
    assert found.price_id.startswith("models_pricing.yaml:")


def test_what_the_file_does_not_name_keeps_the_bundled_price(file: Path) -> None:
    file.write_text("prices: []\n")

    assert price(PriceBook.load(file)) == price(BOOK)


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("input: 2", "inptu: 2", 8, "did you mean 'input'"),
        ("input: 2", "input: -2", 8, "0 or more"),
        ("input: 2", "input: cheap", 8, "number of USD"),
        ("input: 2", "input: .nan", 8, "number of USD|plain decimal"),
        ("input: 2", "input: .inf", 8, "number of USD|plain decimal"),
        ("unit: 1K tokens", "unit: 1G tokens", 12, "1M tokens, 1K tokens"),
        ("    unit: 1K tokens\n", "", 10, "'unit' is missing"),
        ("to: 2026-03-15", "to: 2026-13-15", 16, "must be a date"),
        ("to: 2026-03-15", "to: 2025-01-01\n    from: 2025-01-01", 16, "later than 'from'"),
        ("discount_percent: 12.5", "discount_percent: 101", 28, "0 to 100"),
        ("prices:", "price:", 1, "did you mean 'prices'"),
        ("  - model: gpt-5*\n", "  - model: 5\n", 2, "must be text"),
    ],
)
def test_a_bad_entry_is_refused_by_line_and_key(
    file: Path, old: str, new: str, line: int, reason: str
) -> None:
    assert old in CONTRACT
    file.write_text(CONTRACT.replace(old, new, 1))

    with pytest.raises(ConfigError, match=reason) as refused:
        PriceBook.load(file)
    assert str(refused.value).startswith(f"{file}:{line}: ")
