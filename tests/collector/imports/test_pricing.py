"""What a remainder costs where its report states no cost."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tallyspan_collector.imports.gaps import Remainder
from tallyspan_collector.imports.pricing import Pricing
from tallyspan_collector.imports.report import PARTS_OF_A_UNIT, Row
from tallyspan_collector.pricing.book import PriceBook

AT = datetime(2026, 3, 31, 12, tzinfo=UTC)
USD = 10**12


@pytest.fixture(scope="module")
def pricing(tmp_path_factory: pytest.TempPathFactory) -> Pricing:
    """2 USD a million tokens read, 4 in a prompt of more than 200,000; 0.5 from the cache; 8 written."""
    path: Path = tmp_path_factory.mktemp("prices") / "models_pricing.yaml"
    path.write_text("""prices:
  - model: ours
    unit: 1M tokens
    input: 2
    cache_read: 0.5
    output: 8
    input_audio: 3
    input_image: 5
    context_tiers:
      - {above_input_tokens: 200000, input: 4, output: 8}
""")
    return Pricing(PriceBook.load(path), "", AT)


def left(usage: dict[str, int], **other: Any) -> Remainder:
    owner: dict[str, Any] = {
        "provider": "openai", "item": "", "tier": "", "service": "", "operation": "",
        "project": "", "api_key": "", "user": "", "conditions": (), "is_long_context": False,
    }  # fmt: skip
    reported = other.pop("reported", usage)
    row = Row(**{"model": "ours", **owner, **other}, usage=reported)
    return Remainder(row, dict(usage))


def test_a_day_of_many_calls_has_not_the_price_of_one_long_prompt(pricing: Pricing) -> None:
    assert pricing.of_remainder(left({"input_tokens": 3_000_000})).cost_picousd == 6 * USD


def test_what_the_report_says_is_of_a_long_context_has_its_price(pricing: Pricing) -> None:
    long = left({"input_tokens": 3_000_000}, is_long_context=True)
    assert pricing.of_remainder(long).cost_picousd == 12 * USD


def test_requests_that_the_report_counts_say_how_long_the_average_is(pricing: Pricing) -> None:
    ten = {"input_tokens": 3_000_000, "requests": 10 * PARTS_OF_A_UNIT}
    assert pricing.of_remainder(left(ten)).cost_picousd == 12 * USD


def test_a_model_without_a_price_has_no_cost_and_a_reason(pricing: Pricing) -> None:
    cost = pricing.of_remainder(left({"input_tokens": 10}, model="nobody-knows-it"))

    assert (cost.cost_picousd, cost.status, cost.unpriced_reason) == (
        None,
        "unpriced",
        "unknown_model",
    )


def test_a_stated_cost_is_the_cost(pricing: Pricing) -> None:
    stated = left({"input_tokens": 10})
    stated.cost_picousd = 77

    assert pricing.of_remainder(stated)[:4] == (77, None, None, "reported")


def test_parts_that_contradict_each_other_are_left_as_the_report_has_them(
    pricing: Pricing,
) -> None:
    """Half of the prompt is left: so are half of its parts, and not more than there is."""
    reported = {
        "input_tokens": 1_000_000, "input_audio_tokens": 400_000, "input_image_tokens": 600_000,
    }  # fmt: skip
    rest = {
        "input_tokens": 500_000, "input_audio_tokens": 400_000, "input_image_tokens": 500_000,
    }  # fmt: skip
    result = left(rest, reported=reported)
    pricing.of_remainder(result)

    assert result.usage == {
        "input_tokens": 500_000, "input_audio_tokens": 200_000, "input_image_tokens": 300_000,
    }  # fmt: skip
