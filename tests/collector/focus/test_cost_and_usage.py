"""`tallyspan export --format focus`: the charges of FOCUS 1.4 against hand-worked values.

Lists: gpt-4.1 costs 2, 0.50 (cached) and 8 USD a million; gemini-2.5-pro 1.25 and 10, with more than
200,000 tokens of input 2.50 and 15; a search of openai's costs 0.01 USD.
"""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from focus_rules import COST_AND_USAGE, Row, violations, violations_of_charge
from focus_validators import NOT_OURS, lint, official_failures
from ledger import Entry, book, call, price_change, reversal, unpriced
from shared_store import SharedStore
from tallyspan_collector.cli import main

PRICES = """
discounts:
  - {provider: openai, percent: 10, to: 2026-04-01}
prices:
  - {model: odd-llm, unit: 1M tokens, input: 1.0000005, output: 1}
  - {model: gift-llm, unit: 1M tokens, input: 0, output: 0}
  - {model: night-llm, hours: "00:00-12:00", unit: 1M tokens, input: 1, output: 2, discount_percent: 50}
  - {model: night-llm, unit: 1M tokens, input: 1, output: 2}
commitments:
  - {name: ptu, kind: provisioned, provider: openai, model: gpt-4o, units: 1, price: 24, per: day, from: 2026-03-01}
"""
NO_TOKENS: dict[str, Any] = dict.fromkeys(("input_tokens", "output_tokens"))
GEMINI: dict[str, Any] = {"model_name": "gemini-2.5-pro", "provider_name": "gcp.gemini"}
NO_COST: dict[str, Any] = dict.fromkeys(("cost_usd", "input_cost_usd", "output_cost_usd"))


def day(number: int, hour: int = 12) -> datetime:
    return datetime(2026, 3, number, hour, tzinfo=UTC)


def of(user: str, usd: str, tokens: tuple[int, int] = (0, 0), **columns: Any) -> Entry:
    """Return a call of a user that costs `usd`, with its tokens of input and output."""
    counts = {"input_tokens": tokens[0], "output_tokens": tokens[1]}
    parts = {"input_cost_usd": None, "output_cost_usd": None}
    return call(user_id=user, cost_usd=Decimal(usd), **counts, **parts, price_id="") | columns


def other(kind: str, usd: str, **columns: Any) -> Entry:
    """Return an entry that is of no call."""
    return call(entry_kind=kind, sign=0, **NO_TOKENS) | {
        "cost_usd": Decimal(usd), "cost_status": "reported", "user_id": "", "tags": {}, **columns,
    }  # fmt: skip


@pytest.fixture(scope="module")
def rows(store: SharedStore, client: Client) -> list[Row]:
    gone = of("gone", "0.0018", (1000, 0))
    late = of("ada", "0.0020", (1000, 0))
    book(
        client,
        [
            # 600 x 1.8 + 400 x 0.45 + 100 x 7.2 millionths of a USD, twice
            *(of("ada", "0.00198", (1000, 100), cache_read_tokens=400) for _ in range(2)),
            gone,
            reversal(gone),
            late,
            price_change(late, Decimal("0.0018"), day(31, 13)),
            # half of the list, less 10 %: 1000 x 0.9 millionths
            of("batch", "0.0009", (1000, 0), service_tier="batch"),
            of("searches", "0.018", meters={"web_search": 2.0}),
            # 200,000 x 1.25 and 200,001 x 2.50 millionths
            *(
                of("context", usd, (tokens, 0), **GEMINI)
                for usd, tokens in (("0.25", 200_000), ("0.5000025", 200_001))
            ),
            # a batch: 300,000 tokens of two requests are 150,000 of each, at 1.25 millionths; and one
            # request of 250,000 at 2.50
            of("context of two", "0.375", (300_000, 0), meters={"requests": 2.0}, **GEMINI),
            of("context of two", "0.625", (250_000, 0), **GEMINI),
            # no price of gpt-4.1 depends on the context
            of("long", "0.0018", (1000, 0)),
            of("long", "0.54", (300_000, 0)),
            # a prompt is grounded once, for 0.035, however often it is searched for
            of("grounded", "0.035", meters={"web_search": 3.0}, **GEMINI),
            # a token costs 1,000,000.5 pico-dollars; a half is rounded to the even one
            *(of("odd", "0.000001", (1, 0), model_name="odd-llm", provider_name="x") for _ in "123"),
            of("free", "0", (5, 7), model_name="gift-llm", provider_name="x"),
            of("night", "0.0000005", (1, 0), model_name="night-llm", start_time=day(31, 3), provider_name="x"),
            of("night", "0.000001", (1, 0), model_name="night-llm", start_time=day(31, 15), provider_name="x"),
            of("old", "0.777", (1000, 0)),
            of("reported", "0.5", (10, 10), cost_status="reported", provider_name="openrouter"),
            of("refused", "0", cost_status="not_billed"),
            unpriced(user_id="unpriced"),
            # paid by a subscription, and by a commitment: 1000 x 1.8 and 1000 x 2.25 millionths
            of("plan", "0.0018", (1000, 0), is_notional=True),
            of("ptu", "0.00225", (1000, 0), is_notional=True, model_name="gpt-4o", conditions={"commitment": "ptu"}),
            call(user_id="nobody knows", is_notional=True, cost_status="unpriced", **NO_COST),
            other("commitment", "14", price_id="ptu", cost_status="commitment", user_id="ptu"),
            other("commitment", "10", price_id="ptu", cost_status="unused", department="platform"),
            other("imported", "2", source="import:openai", user_id="imported", input_tokens=7),
            other("imported", "3", source="import:openai", user_id="imported without tokens"),
            other("imported", "9", user_id="imported, not billed", is_notional=True),
            other("true_up", "-0.5", source="bill:openai", model_name="gpt-4.1"),
            other("true_up", "0.25", source="bill:openai", tags={"item": "tax"}, model_name="", department="platform"),
            other("prior_period", "1.5", tags={"closed_month": "2026-02"}),
            other("prior_period", "-1.5", tags={"booked_in": "2026-04"}),
        ],
    )  # fmt: skip
    return exported(store)


def exported(store: SharedStore, *flags: str) -> list[Row]:
    (prices := store.data_dir / "prices.yaml").write_text(PRICES)
    out = store.data_dir / "focus.csv"
    base = ["--data-dir", str(store.data_dir), "--prices", str(prices), "--out", str(out)]
    period = ["--from", "2026-03-01", "--to", "2026-03-31"]
    assert main(["export", *base, *period, "--format", "focus", *flags]) == 0
    return list(csv.DictReader(io.StringIO(out.read_text())))


def of_user(rows: Sequence[Row], user: str) -> list[Row]:
    return [row for row in rows if json.loads(row["Tags"]).get("user_id", "") == user]


def priced(row: Row) -> tuple[str, ...]:
    """Return meter, amount, price, list price and billed cost."""
    names = ("SkuMeter", "PricingQuantity", "ContractedUnitPrice", "ListUnitPrice", "BilledCost")
    return tuple(row[name] for name in names)


def test_every_row_keeps_the_rules_of_the_specification(rows: list[Row]) -> None:
    assert violations(COST_AND_USAGE, rows) == []
    assert [(row, broken) for row in rows if (broken := violations_of_charge(row))] == []


def test_a_linter_of_the_published_data_model_finds_nothing(rows: list[Row]) -> None:
    assert lint({"Cost and Usage": rows}) == []


def test_the_official_validator_finds_nothing_but_faults_of_its_own(
    rows: list[Row], tmp_path: Path
) -> None:
    assert official_failures(rows, tmp_path) == NOT_OURS


def test_billed_and_effective_cost_add_up_to_the_ledger(rows: list[Row], client: Client) -> None:
    [(ledger,)] = client.query("SELECT sum(cost_usd) FROM usage_daily").result_rows

    assert sum(Decimal(row["BilledCost"]) for row in rows) == ledger
    assert sum(Decimal(row["EffectiveCost"]) for row in rows) == ledger


def test_calls_are_charged_by_class_of_tokens_as_contracted_and_by_the_list(
    rows: list[Row],
) -> None:
    assert [priced(row) for row in of_user(rows, "ada")] == [
        ("Input Tokens", "2200", "0.0000018", "0.000002", "0.00396"),
        ("Cache Read Input Tokens", "800", "0.00000045", "0.0000005", "0.00036"),
        ("Output Tokens", "200", "0.0000072", "0.000008", "0.00144"),
    ]
    [search] = of_user(rows, "searches")
    assert priced(search) == ("Web Search", "2", "0.009", "0.01", "0.018")
    assert search["PricingUnit"] == "Units"


def test_a_tier_and_a_band_of_context_are_prices_of_their_own(rows: list[Row]) -> None:
    [batch] = of_user(rows, "batch")
    short, long = of_user(rows, "context")

    assert batch["SkuPriceId"] == "openai/gpt-4.1/input_tokens;tier=batch"
    assert priced(batch)[1:] == ("1000", "0.0000009", "0.000001", "0.0009")
    assert short["SkuId"] == long["SkuId"] == "gcp.gemini/gemini-2.5-pro/input_tokens"
    assert short["SkuPriceId"] == short["SkuId"]
    assert long["SkuPriceId"] == f"{long['SkuId']};above_input_tokens=200000"
    assert (short["ListUnitPrice"], long["ListUnitPrice"]) == ("0.00000125", "0.0000025")
    assert json.loads(long["SkuPriceDetails"]) == {
        "x_Model": "gemini-2.5-pro",
        "x_TokenDirection": "Input",
        "x_AboveInputTokens": "200000",
    }


def test_a_call_of_several_requests_is_in_the_band_of_one(rows: list[Row]) -> None:
    assert [priced(row)[1:3] for row in of_user(rows, "context of two")] == [
        ("300000", "0.00000125"),
        ("250000", "0.0000025"),
    ]


def test_the_context_parts_no_calls_whose_price_does_not_depend_on_it(rows: list[Row]) -> None:
    [long] = of_user(rows, "long")

    assert priced(long)[1:3] == ("301000", "0.0000018")


def test_what_a_call_is_billed_for_once_is_counted_once(rows: list[Row]) -> None:
    [search] = of_user(rows, "grounded")

    assert priced(search) == ("Web Search", "1", "0.035", "0.035", "0.035")


def test_the_price_of_an_hour_is_that_of_its_calls(rows: list[Row]) -> None:
    assert [priced(row)[1:] for row in of_user(rows, "night")] == [
        ("1", "0.0000005", "0.000001", "0.0000005"),
        ("1", "0.000001", "0.000001", "0.000001"),
    ]


def test_what_calls_are_rounded_by_is_billed_and_not_contracted(rows: list[Row]) -> None:
    [odd] = of_user(rows, "odd")

    assert priced(odd) == ("Input Tokens", "3", "0.0000010000005", "0.0000010000005", "0.000003")
    assert odd["ContractedCost"] == "0.0000030000015"


def test_a_free_model_is_used_at_a_price_of_nothing(rows: list[Row]) -> None:
    assert [priced(row)[1:] for row in of_user(rows, "free")] == [
        ("5", "0", "0", "0"),
        ("7", "0", "0", "0"),
    ]


@pytest.mark.parametrize(
    ("user", "cost", "tokens", "why"),
    [
        ("old", "0.777", "1000", "at other prices than those of today"),
        ("reported", "0.5", "20", "the provider states a cost for the whole call"),
    ],
)
def test_calls_that_cannot_be_split_are_one_row_that_says_why(
    rows: list[Row], user: str, cost: str, tokens: str, why: str
) -> None:
    [row] = of_user(rows, user)

    assert priced(row) == ("Calls", cost, "1", "1", cost)
    assert (row["PricingUnit"], row["ConsumedQuantity"], row["ConsumedUnit"]) == (
        "USD", tokens, "Tokens",
    )  # fmt: skip
    assert row["ChargeDescription"].endswith(why)


def test_calls_without_a_price_or_taken_back_are_in_no_row(
    rows: list[Row], store: SharedStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert of_user(rows, "unpriced") == of_user(rows, "gone") == []
    exported(store)
    assert "1 call without a price" in capsys.readouterr().err


@pytest.mark.parametrize(("user", "category"), [("plan", "Other"), ("ptu", "Committed")])
def test_calls_that_are_paid_otherwise_cost_nothing_and_have_their_list_cost(
    rows: list[Row], user: str, category: str
) -> None:
    called = [row for row in of_user(rows, user) if row["SkuMeter"] == "Input Tokens"]

    assert [(row["BilledCost"], row["EffectiveCost"]) for row in called] == [("0", "0")]
    assert [row["PricingCategory"] for row in called] == [category]
    # 1000 tokens, gpt-4.1 at 2 and gpt-4o at 2.50 a million
    assert [row["ListCost"] for row in called] == ["0.002" if user == "plan" else "0.0025"]


def test_a_commitment_is_bought_at_its_cost_and_used_or_not_at_the_same(rows: list[Row]) -> None:
    sums: dict[tuple[str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    for row in rows:
        if row["CommitmentDiscountId"] == "ptu":
            both = sums[row["ChargeCategory"], row["CommitmentDiscountStatus"]]
            both[0] += Decimal(row["BilledCost"])
            both[1] += Decimal(row["EffectiveCost"])

    assert sums == {
        ("Purchase", ""): [24, 0],
        ("Usage", "Used"): [0, 14],
        ("Usage", "Unused"): [0, 10],
    }
    assert {row["CommitmentDiscountType"] for row in rows} == {"", "Provisioned"}


def test_imports_are_usage_by_tokens_or_by_the_day(rows: list[Row]) -> None:
    [counted], [uncounted] = (
        of_user(rows, name) for name in ("imported", "imported without tokens")
    )

    assert (counted["BilledCost"], counted["ConsumedQuantity"]) == ("2", "7")
    assert (uncounted["ConsumedQuantity"], uncounted["ConsumedUnit"]) == ("1", "Days")
    assert of_user(rows, "imported, not billed") == []
    assert counted["ChargeCategory"] == uncounted["ChargeCategory"] == "Usage"


def test_true_ups_are_adjustments_that_name_the_bill(rows: list[Row]) -> None:
    adjusted = {
        row["ChargeDescription"]: row["BilledCost"]
        for row in rows
        if row["ChargeCategory"] == "Adjustment" and "True-up" in row["ChargeDescription"]
    }

    assert adjusted == {
        "True-up of gpt-4.1 to the bill openai": "-0.5",
        "True-up to the bill openai: tax": "0.25",
    }


def test_a_correction_is_billed_in_an_open_month_and_of_the_closed_one(rows: list[Row]) -> None:
    [correction] = [row for row in rows if row["ChargeClass"] == "Correction"]
    [moved] = [row for row in rows if "moved to" in row["ChargeDescription"]]

    assert correction["BilledCost"] == "1.5"
    assert [
        correction[name] for name in ("BillingPeriodStart", "ChargePeriodStart", "ChargePeriodEnd")
    ] == ["2026-03-01T00:00:00Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"]
    assert correction["ChargeDescription"] == "Correction of gpt-4.1 of 2026-02, which is closed"
    assert (moved["BilledCost"], moved["ChargeClass"]) == ("-1.5", "")
    assert moved["ChargeDescription"].endswith("moved to 2026-04")
