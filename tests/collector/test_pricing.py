from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import pytest
from genai_prices import Usage as PricedUsage
from genai_prices import calc_price
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from priced import ns, price
from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.pricing import bundled
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.bundled import PROVIDER_IDS
from tallyspan_collector.pricing.cost import Priced, Unpriced, UnpricedReason
from tallyspan_collector.pricing.price import Price
from tallyspan_collector.pricing.rates import PriceFile
from tallyspan_collector.read.call import Call

BOOK = PriceBook(own=lambda _: PriceFile())
"""The package's prices alone."""
NAMES = {theirs: ours for ours, theirs in PROVIDER_IDS.items()}
MODELS = [
    (ours, provider.id, model.id)
    for provider in get_snapshot().providers
    for model in provider.models
    if bundled.installed().find(ours := NAMES.get(provider.id, provider.id), model.id)
]
TIERS = ["", "default", "flex", "priority", "fast", "batch", "ultrafast"]
THEIRS = dict(zip(TOKEN_FIELDS, TOKEN_FIELDS, strict=True)) | {
    "cache_read_audio_tokens": "cache_audio_read_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
}
"""Our counts -> what the package calls them."""
BORDERS = [32_000, 100_000, 128_000, 199_999, 200_000, 256_000, 272_000, 512_000, 524_288]
COUNTS = st.one_of(
    st.integers(0, 2_000_000),
    st.sampled_from([b + d for b in BORDERS for d in (-1, 0, 1)]),
)
TIMES = st.datetimes(datetime(2024, 6, 1), datetime(2026, 12, 1))  # noqa: DTZ001


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    given, made = draw(COUNTS), draw(COUNTS)
    read = draw(st.integers(0, given))
    write = draw(st.integers(0, given - read))
    audio, image = draw(st.integers(0, given)), draw(st.integers(0, given))
    counts = {
        "cache_read_tokens": read,
        "cache_write_tokens": write,
        "cache_write_1h_tokens": draw(st.integers(0, write)),
        "cache_read_audio_tokens": draw(st.integers(0, min(read, audio))),
        "reasoning_tokens": draw(st.integers(0, made)),
        "input_audio_tokens": audio,
        "output_audio_tokens": draw(st.integers(0, made)),
        "input_image_tokens": image,
        "output_image_tokens": draw(st.integers(0, made)),
    }
    stated = draw(st.sets(st.sampled_from(sorted(counts))))
    return Usage(given, made, **{name: counts[name] for name in stated})


def by_calc_price(
    theirs: str, model: str, usage: Usage, at: datetime, tier: str = ""
) -> int | None:
    """What the package's own arithmetic says in pico-dollars; None: it refuses the counts."""
    counts = {THEIRS[name]: getattr(usage, name) for name in TOKEN_FIELDS}
    try:
        found = calc_price(
            PricedUsage(**{name: value for name, value in counts.items() if value is not None}),
            model_ref=model,
            provider_id=theirs,
            genai_request_timestamp=at,
            price_context=bundled.context(theirs, tier),
        )
    except ValueError:
        return None
    return int((found.total_price * 10**12).to_integral_value(ROUND_HALF_EVEN))


@given(st.sampled_from(MODELS), usages(), TIMES, st.sampled_from(TIERS))
@settings(max_examples=400)
def test_bundled_cost_equals_calc_price_to_the_picodollar(
    model: tuple[str, str, str], usage: Usage, at: datetime, tier: str
) -> None:
    ours, theirs, name = model
    at_utc = at.replace(tzinfo=UTC, microsecond=0)
    at_ns = int(at_utc.timestamp()) * 10**9
    found = BOOK.price(
        provider=ours, endpoint_id="", model=name, at_ns=at_ns, usage=usage, service_tier=tier
    )
    expected = by_calc_price(theirs, name, usage, at_utc, tier)

    match found:
        case Priced():
            assert found.cost_picousd == expected
        case Unpriced(UnpricedReason.INCONSISTENT_USAGE):
            assert expected is None or _is_contradictory(usage)
        case Unpriced(UnpricedReason.UNKNOWN_TIER):
            assert tier not in {"", "default"}
        case Unpriced(UnpricedReason.FREE_TIER_PRICE):
            assert not expected
        case Unpriced(reason):
            assert reason is UnpricedReason.UNPRICED_UNIT


def _is_contradictory(usage: Usage) -> bool:
    read, audio = usage.cache_read_tokens or 0, usage.cache_read_audio_tokens or 0
    return audio > read or (usage.cache_write_1h_tokens or 0) > (usage.cache_write_tokens or 0)


def test_every_bundled_model_costs_what_calc_price_says_beside_each_of_its_tiers() -> None:
    wrong: list[object] = []
    seen = 0
    at = datetime(2026, 11, 1, 12, tzinfo=UTC)
    for ours, theirs, name in MODELS:
        price = BOOK.quote(ours, "", name, at_ns=int(at.timestamp()) * 10**9)
        if isinstance(price, Unpriced):
            assert price.reason is UnpricedReason.FREE_TIER_PRICE
            assert by_calc_price(theirs, name, Usage(1000, 77), at) == 0
            continue
        assert isinstance(price, Price)
        starts = {band.above for band in price.bands} - {-1}
        for given_tokens in {0, 1000} | {start + d for start in starts for d in (-1, 0, 1)}:
            usage = Usage(given_tokens, 77, given_tokens // 3, given_tokens // 5)
            found = price.cost(usage)
            expected = by_calc_price(theirs, name, usage, at)
            if isinstance(found, Priced):
                seen += 1
                if found.cost_picousd != expected:
                    wrong.append((name, given_tokens, found, expected))
            elif found.reason is not UnpricedReason.UNPRICED_UNIT:
                wrong.append((name, given_tokens, found))

    assert not wrong
    assert seen > 2 * len(MODELS)


def test_many_calls_at_once_cost_what_each_costs() -> None:
    calls = [
        Call(
            "", "", "", ns("2026-06-01") + n, 0, "openai", "chat", model, usage=usage, meters=units
        )
        for n, (model, usage, units) in enumerate(
            [
                ("gpt-5-mini", Usage(1000, 100), {}),
                ("no-such-model", Usage(1000, 100), {}),
                ("gpt-5", Usage(1000, 100, cache_read_tokens=300), {"web_search": 2.0}),
                ("gpt-5-mini", Usage(), {}),
            ]
        )
    ]

    assert BOOK.price_calls(calls) == [
        price(BOOK, c.request_model, c.usage, at_ns=c.start_time_ns, meters=c.meters) for c in calls
    ]


def test_a_web_search_is_billed_beside_the_tokens() -> None:
    without, with_ = price(BOOK, "gpt-5"), price(BOOK, "gpt-5", meters={"web_search": 3})

    assert isinstance(without, Priced)
    assert isinstance(with_, Priced)
    assert with_.cost_picousd - without.cost_picousd == 3 * 10**10  # 10 USD for 1,000


def test_a_sum_of_calls_is_priced_by_the_length_of_the_average_one(tmp_path: Path) -> None:
    file = tmp_path / "models_pricing.yaml"
    file.write_text("""
prices:
  - {provider: openai, model: gpt-5-mini, unit: 1M tokens, input: 1, output: 2,
     context_tiers: [{above_input_tokens: 200000, input: 3, output: 4}]}
""")
    book = PriceBook.load(file)
    costs = [
        price(book, "gpt-5-mini", Usage(500_000, 1000), meters=meters)
        for meters in ({}, {"requests": 2.0}, {"requests": 5.0})
    ]

    # 500,000 * 3 + 1,000 * 4; 250,000 each: the same; 100,000 each: 500,000 * 1 + 1,000 * 2
    amounts = [each.cost_picousd for each in costs if isinstance(each, Priced)]
    assert amounts == [1_504_000 * 10**6, 1_504_000 * 10**6, 502_000 * 10**6]


@pytest.mark.parametrize(("seconds", "billed"), [(0.5, 10), (10, 10), (61.25, 61.25)])
def test_groq_bills_ten_seconds_of_speech_at_least(seconds: float, billed: float) -> None:
    found = price(BOOK, "whisper-large-v3", Usage(), provider="groq", meters={"seconds": seconds})

    assert isinstance(found, Priced)
    expected = Decimal("0.111") / 3600 * Decimal(str(billed)) * 10**12
    assert found.cost_picousd == int(expected.to_integral_value(ROUND_HALF_EVEN))


def test_a_tier_without_a_price_is_not_charged_as_standard() -> None:
    assert price(BOOK, service_tier="scale") == Unpriced(UnpricedReason.UNKNOWN_TIER)


def test_a_model_that_is_priced_by_the_second_has_no_price_for_tokens() -> None:
    found = price(BOOK, "whisper-large-v3", provider="groq")

    assert found == Unpriced(UnpricedReason.UNPRICED_UNIT)


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
