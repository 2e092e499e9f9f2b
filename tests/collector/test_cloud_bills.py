"""Cost exports of clouds as bills: by model, with credits and taxes, in any currency and zone."""

import csv
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallyspan_collector.bills.billed import Billed, Charge, model_key
from tallyspan_collector.bills.days import day_of
from tallyspan_collector.bills.exchange import CurrencyError, Exchange
from tallyspan_collector.bills.file_terms import FileTerms
from tallyspan_collector.bills.sku import model_of, model_of_aws
from tallyspan_collector.bills.sources import BILLS
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.pricing.rates import ExchangeRate
from tallyspan_collector.reconcile.compare import compare

DAY = date(2026, 3, 31)
PACIFIC = ZoneInfo("America/Los_Angeles")


def since(year: int, month: int, day: int, usd: str) -> ExchangeRate:
    return ExchangeRate(
        int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 10**9, Fraction(usd)
    )


EUR = Exchange({"EUR": (since(2026, 1, 1, "1.10"), since(2026, 3, 31, "1.25"))})


@pytest.mark.parametrize(
    ("sku", "model"),
    [
        ("gpt 4o 1120 cached Inp glbl Tokens", "gpt-4o-2024-11-20"),
        ("gpt-4o-mini-0718-Inp-glbl Tokens", "gpt-4o-mini-2024-07-18"),
        ("gpt 4o mini0718 BatchOutp DataZone Tokens", "gpt-4o-mini"),
        ("5.4 nano Inp Gl 1M Tokens", "gpt-5.4-nano"),
        ("GPT 5 outpt Glbl 1M Tokens", "gpt-5-2025-08-07"),
        ("o4-mini 0416 Inp glbl Tokens", "o4-mini-2025-04-16"),
        ("text-embedding-3-small-glbl Tokens", "text-embedding-3-small"),
        ("Gemini 2.5 Flash GA Thinking Text Output - Predictions", "gemini-2.5-flash"),
        ("Gemini 3.7 Flash Global Text Input - Predictions", "gemini-3.7-flash"),
        ("Generate content input token count Gemini 2.5 Pro short", "gemini-2.5-pro"),
    ],
)
def test_the_model_of_a_sku_is_the_one_that_calls_name(sku: str, model: str) -> None:
    assert model_key(model_of(sku)) == model_key(model)


@pytest.mark.parametrize(
    ("usage_type", "model"),
    [
        ("USE1-Claude4.6Opus-cache-read-input-token-count-cross-region-global",
         "global.anthropic.claude-opus-4-6-v1"),
        ("USW2-anthropic.claude-opus-4-8-mantle-cache-write-tokens-global-standard",
         "us.anthropic.claude-opus-4-8"),
        ("USE1-Claude4Sonnet-input-tokens-cross-region-global",
         "us.anthropic.claude-sonnet-4-20250514-v1:0"),
        ("USE1-Nova2.0Lite-input-tokens-cross-region-global-batch", "us.amazon.nova-2-lite-v1:0"),
        ("EU-Llama3-3-70B-output-tokens", "eu.meta.llama3-3-70b-instruct-v1:0"),
        ("USE1-DeepSeek-R1-input-tokens", "us.deepseek.r1-v1:0"),
        ("USE1-gpt-oss-120b-output-tokens-flex", "openai.gpt-oss-120b-1:0"),
    ],
)  # fmt: skip
def test_the_model_of_a_usage_type_is_the_one_that_bedrock_s_calls_name(
    usage_type: str, model: str
) -> None:
    assert model_key(model_of_aws(usage_type)) == model_key(model)


def test_a_usage_type_of_the_marketplace_names_no_model() -> None:
    assert model_of_aws("USE1-MP:USE1_InputTokenCount-Units", "an edition of something") == ""


@pytest.mark.parametrize("sku", ["PTU reservation", "Grounding with Google Search", "Hosted vCPU"])
def test_what_is_not_of_tokens_has_no_model(sku: str) -> None:
    assert model_of(sku) == ""


def aws(kind: str, usage_type: str, cost: str, **other: str) -> dict[str, Any]:
    return {
        "line_item_usage_start_date": "2026-03-31T04:00:00Z",
        "line_item_usage_end_date": "2026-03-31T05:00:00Z",
        "line_item_product_code": "AmazonBedrock",
        "line_item_usage_type": usage_type,
        "line_item_usage_account_id": "111122223333",
        "line_item_unblended_cost": cost,
        "line_item_currency_code": "USD",
        "line_item_line_item_type": kind,
        "line_item_line_item_description": "",
    } | other


CLAUDE = "USE1-Claude4Sonnet-input-tokens"
EDITION = "AWS Marketplace: Claude Opus 4.1 (Amazon Bedrock Edition)"
MONTH = {
    "line_item_usage_start_date": "2026-03-01T00:00:00Z",
    "line_item_usage_end_date": "2026-04-01T00:00:00Z",
}


def bill_of(
    folder: Path, source: str, rows: Sequence[dict[str, Any]], **terms: Any
) -> list[Billed]:
    path = folder / ("bill.jsonl" if source == "gcp" else "bill.csv")
    with path.open("w", newline="") as file:
        if source == "gcp":
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    read = BILLS[source].bill_file
    assert read is not None
    return list(read(path, FileTerms(**terms)))


def shown(lines: Sequence[Billed]) -> list[tuple[str, str, str, str]]:
    return [(line.model, line.item, f"{line.cost_usd:f}", line.charge) for line in lines]


def test_a_bill_of_aws_has_usage_by_model_and_discounts_credits_and_taxes(tmp_path: Path) -> None:
    rows = [
        aws("Usage", CLAUDE, "10"),
        aws("EdpDiscount", CLAUDE, "-1"),
        aws("Usage", "USE1-MP:USE1_InputTokenCount-Units", "4", line_item_product_code="9w3x",
            line_item_line_item_description=EDITION),
        aws("Credit", CLAUDE, "-2.5", **MONTH),
        aws("Tax", CLAUDE, "1.9", **MONTH),
        aws("Fee", "USE1-Claude4Sonnet-ProvisionedThroughput", "90", **MONTH),
        aws("Usage", "BoxUsage", "99", line_item_product_code="AmazonEC2"),
    ]  # fmt: skip
    lines = bill_of(tmp_path, "aws", rows)

    assert shown(lines) == [
        ("claude-4-sonnet", CLAUDE, "10", "usage"),
        ("claude-4-sonnet", CLAUDE, "-1", "usage"),
        ("claude-opus-4.1", "USE1-MP:USE1_InputTokenCount-Units", "4", "usage"),
        ("", f"Credit: {CLAUDE}", "-2.5", "credit"),
        ("", f"Tax: {CLAUDE}", "1.9", "tax"),
        ("", "Fee: USE1-Claude4Sonnet-ProvisionedThroughput", "90", "purchase"),
    ]
    assert {line.day for line in lines[3:]} == {date(2026, 3, 1)}


GCP = {
    "service": {"description": "Vertex AI"},
    "sku": {"description": "Gemini 2.5 Pro Text Input - Predictions"},
    "usage_start_time": "2026-04-01 02:00:00 UTC",
    "usage_end_time": "2026-04-01 03:00:00 UTC",
    "project": {"id": "search"},
    "cost": 0.25,
    "currency": "USD",
    "cost_type": "regular",
}


def test_credits_of_google_are_lines_and_its_hours_are_of_the_days_of_the_bill(
    tmp_path: Path,
) -> None:
    rows = [
        GCP | {"credits": [{"name": "committed use", "amount": -0.05}]},
        GCP | {"cost_type": "tax", "cost": 0.04, "credits": []},
    ]
    lines = bill_of(tmp_path, "gcp", rows, zone=PACIFIC)

    assert shown(lines) == [
        ("gemini-2.5-pro", "Gemini 2.5 Pro Text Input - Predictions", "0.25", "usage"),
        ("", "credit: committed use", "-0.05", "credit"),
        ("", "tax: Gemini 2.5 Pro Text Input - Predictions", "0.04", "tax"),
    ]
    assert {line.day for line in lines} == {DAY}


AZURE = {
    "Date": "03/31/2026",
    "MeterCategory": "Foundry Models",
    "MeterName": "gpt 4.1 mini Inp glbl Tokens",
    "CostInBillingCurrency": "8",
    "BillingCurrency": "EUR",
    "ResourceGroup": "rg-ai",
    "ChargeType": "Usage",
}


def test_euros_are_dollars_at_the_rate_of_the_day(tmp_path: Path) -> None:
    rows = [AZURE, AZURE | {"Date": "03/30/2026"}]
    lines = bill_of(tmp_path, "azure", rows, exchange=EUR)

    # 8 EUR are $10 since the 31st, and $8.80 before.
    assert [(str(line.day), line.cost_usd, line.currency) for line in lines] == [
        ("2026-03-31", Decimal(10), "EUR"),
        ("2026-03-30", Decimal("8.8"), "EUR"),
    ]


def test_dollars_that_azure_states_beside_euros_are_taken(tmp_path: Path) -> None:
    (line,) = bill_of(tmp_path, "azure", [AZURE | {"CostInUsd": "9.2"}])

    assert (line.cost_usd, line.currency, line.model) == (Decimal("9.2"), "", "gpt-4.1-mini")


def test_dollars_that_are_left_empty_beside_euros_are_no_dollars(tmp_path: Path) -> None:
    rows = [AZURE | {"CostInUsd": ""}]
    (line,) = bill_of(tmp_path, "azure", rows, exchange=EUR)

    assert (line.cost_usd, line.currency) == (Decimal(10), "EUR")
    with pytest.raises(ConfigError, match="the bill is in EUR"):
        bill_of(tmp_path, "azure", rows)


LINES = st.builds(
    Billed,
    day=st.sampled_from([DAY, date(2026, 4, 1)]),
    model=st.sampled_from(["gpt-4.1", "gpt-4.1-2025-04-14", "claude-opus-5", ""]),
    item=st.sampled_from(["credit", "search"]),
    project=st.sampled_from(["a", "b"]),
    input_tokens=st.none() | st.integers(0, 5),
    cost_usd=st.none() | st.decimals(-9, 9, places=2),
    charge=st.sampled_from(Charge),
)


@settings(max_examples=50)
@given(st.lists(LINES, max_size=8))
def test_no_dollar_and_no_token_of_a_bill_is_lost_in_the_comparison(bill: list[Billed]) -> None:
    lines = compare([], bill, DAY, date(2026, 4, 1), ZoneInfo("UTC"))

    for name, of_line in (("cost_usd", "billed_cost_usd"), ("tokens", "billed_tokens")):
        assert sum(getattr(line, of_line) or 0 for line in lines) == sum(
            getattr(line, name) or 0 for line in bill
        )


def test_a_bill_is_what_is_billed_and_not_what_is_spread_over_time(tmp_path: Path) -> None:
    row = {
        "ChargePeriodStart": "2026-03-31T00:00:00Z", "ChargePeriodEnd": "2026-04-01T00:00:00Z",
        "EffectiveCost": "3", "BilledCost": "5", "BillingCurrency": "USD",
        "ChargeDescription": "Nova", "SkuMeter": "USE1-NovaPro-input-tokens", "SubAccountId": "a",
        "ServiceName": "Amazon Bedrock", "ChargeCategory": "Usage",
    }  # fmt: skip
    (line,) = bill_of(tmp_path, "aws", [row])

    assert line.cost_usd == 5
    assert model_key(line.model) == model_key("amazon.nova-pro-v1:0")


def test_a_line_that_stands_twice_is_kept_and_marked(tmp_path: Path) -> None:
    row = aws("Usage", CLAUDE, "10")
    lines = bill_of(tmp_path, "aws", [row, aws("Usage", CLAUDE, "11"), row])

    assert [line.is_repeated for line in lines] == [False, False, True]


@pytest.mark.parametrize(
    ("source", "row", "words"),
    [
        ("azure", AZURE, "2: BillingCurrency: the bill is in EUR"),
        ("aws", aws("Usage", CLAUDE, "1", line_item_usage_end_date="2026-04-01T04:00:00Z"),
         "2: line_item_usage_start_date: 2026-03-31T04:00:00Z to 2026-04-01T04:00:00Z is of more"),
        ("aws", aws("Usage", CLAUDE, "ten"), "2: line_item_unblended_cost: must be a number"),
        ("gcp", GCP | {"usage_start_time": ""}, "1: usage_start_time: must be a day like"),
        ("gcp", GCP | {"credits": ["x"]}, "1: credits: must be a list of objects"),
        ("gcp", GCP | {"credits": [{"amount": "x"}]}, "1: credits.amount: must be a number"),
    ],
)  # fmt: skip
def test_a_line_of_a_bill_that_cannot_be_is_refused_by_line_and_column(
    tmp_path: Path, source: str, row: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        bill_of(tmp_path, source, [row])

    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("start", "end", "day"),
    [
        ("2026-03-31", "", 31),
        ("2026-04-01T05:00:00Z", "2026-04-01T07:00:00Z", 31),  # to midnight of the Pacific
        ("2026-03-31T07:00:00Z", "2026-04-01T07:00:00Z", 31),  # a whole day of the Pacific
        ("2026-03-31", "2026-04-01", 31),
        ("1774940400", "", 31),
    ],
)
def test_a_charge_is_of_the_day_that_it_has_in_the_zone_of_the_bill(
    start: str, end: str, day: int
) -> None:
    assert day_of(start, PACIFIC, end) == date(2026, 3, day)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-03-31T12:00:00-07:00", "2026-04-01T12:00:00-07:00"),  # halves of two days
        ("2026-03-31T00:00:00Z", "2026-04-01T00:00:00Z"),  # a day of another zone
        ("2026-03-01", "2026-04-01"),
    ],
)
def test_a_charge_over_a_midnight_is_refused(start: str, end: str) -> None:
    with pytest.raises(ValueError, match="of more than one day in America/Los_Angeles"):
        day_of(start, PACIFIC, end)


def test_a_currency_without_a_rate_on_the_day_is_refused() -> None:
    assert EUR.usd(Decimal(4), "eur", DAY) == 5
    for currency, day in (("EUR", date(2025, 12, 31)), ("CHF", DAY)):
        with pytest.raises(CurrencyError, match=f"no rate of {currency} for {day}"):
            EUR.usd(Decimal(1), currency, day)
