"""`tallyspan export --format focus` against the rules of FOCUS 1.2 for charges of usage.

The rules are those of the specification's columns (github.com/FinOps-Open-Cost-and-Usage-Spec) for
rows whose ChargeCategory is Usage, Purchase or Adjustment and whose ChargeClass is null; there are
no others.
"""

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from ledger import NOON, Entry, book, call, price_change, reversal, unpriced
from shared_store import SharedStore
from tallyspan_collector.cli import main

Row = dict[str, str]
# No sign of plus, no thousands, no currency, no exponent where none is needed.
DECIMAL = r"-?\d+(\.\d+)?"
POSITIVE = r"(?!0+(\.0+)?$)\d+(\.\d+)?"
TEXT = r"(?s).*\S.*"
MOMENT = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z"
UNIT = r"Tokens|Requests|Days"


@dataclass(frozen=True)
class Rule:
    """What a column holds; `is_null` says of a row whether it must be null (an empty field).

    `is_optional`: the column may be missing (feature level recommended or conditional).
    """

    pattern: str
    is_null: Callable[[Row], bool] = lambda _: False
    is_optional: bool = False


def is_purchase(row: Row) -> bool:
    return row["ChargeCategory"] == "Purchase"


def is_adjustment(row: Row) -> bool:
    return row["ChargeCategory"] == "Adjustment"


def is_no_usage(row: Row) -> bool:
    return row["ChargeCategory"] != "Usage"


def always(_: Row) -> bool:
    return True


RULES = {
    "BilledCost": Rule(DECIMAL),
    "BillingAccountId": Rule(TEXT),
    # Null: the tenant has no name beside its id.
    "BillingAccountName": Rule(TEXT, always),
    "BillingCurrency": Rule(r"USD"),
    "BillingPeriodEnd": Rule(MOMENT),
    "BillingPeriodStart": Rule(MOMENT),
    "ChargeCategory": Rule(r"Usage|Purchase|Adjustment"),
    # Correction, or null. What changed later is in the row of its day: no row corrects another.
    "ChargeClass": Rule(r"Correction", always),
    "ChargeDescription": Rule(TEXT),
    "ChargeFrequency": Rule(r"Usage-Based|Recurring|One-Time", is_optional=True),
    "ChargePeriodEnd": Rule(MOMENT),
    "ChargePeriodStart": Rule(MOMENT),
    "ConsumedQuantity": Rule(POSITIVE, is_no_usage, is_optional=True),
    "ConsumedUnit": Rule(UNIT, is_no_usage, is_optional=True),
    "ContractedCost": Rule(DECIMAL),
    "EffectiveCost": Rule(DECIMAL),
    "InvoiceIssuerName": Rule(TEXT),
    "ListCost": Rule(DECIMAL),
    "PricingCategory": Rule(r"Standard|Dynamic|Committed|Other", is_adjustment, is_optional=True),
    "PricingQuantity": Rule(DECIMAL, is_adjustment),
    "PricingUnit": Rule(UNIT, is_adjustment),
    "ProviderName": Rule(TEXT),
    "PublisherName": Rule(TEXT),
    "ResourceId": Rule(TEXT, lambda row: row["ResourceType"] == "", is_optional=True),
    "ResourceName": Rule(TEXT, always, is_optional=True),
    "ResourceType": Rule(TEXT, lambda row: row["ResourceId"] == "", is_optional=True),
    "ServiceCategory": Rule(r"AI and Machine Learning"),
    "ServiceName": Rule(TEXT),
    "ServiceSubcategory": Rule(r"Generative AI", is_optional=True),
    "SkuId": Rule(TEXT, is_optional=True),
    "SubAccountId": Rule(TEXT, lambda row: row["SubAccountName"] == "", is_optional=True),
    "SubAccountName": Rule(TEXT, lambda row: row["SubAccountId"] == "", is_optional=True),
    "Tags": Rule(r"(?s)\{.*\}", is_optional=True),
}
"""Every column of the export, and every one the specification makes mandatory."""


@pytest.fixture(scope="module")
def rows(store: SharedStore, client: Client) -> list[Row]:
    nothing = dict.fromkeys(("input_tokens", "output_tokens"))
    nobody = dict.fromkeys(("department", "provider_name", "endpoint_id", "service_name"), "")
    gone, dearer = call(user_id="gone"), call(user_id="dearer", cost_usd=Decimal(1))
    book(
        client,
        [
            call(user_id='comma, "quote"\nline', cost_usd=Decimal("0.000000000001")),
            call(user_id="mixed"),
            unpriced(user_id="mixed"),
            unpriced(user_id="unpriced"),
            call(user_id="", model_name="", request_model="", tenant="acme", **nobody),
            call(user_id="images", **nothing, cost_status="reported", cost_usd=Decimal("0.04")),
            call(user_id="refused", **nothing, cost_status="not_billed", cost_usd=Decimal(0)),
            call(user_id="subscriber", is_notional=True),
            call(user_id="december", start_time=datetime(2026, 12, 31, 23, tzinfo=UTC)),
            call(
                user_id="seat",
                entry_kind="commitment",
                sign=0,
                cost_status="unused",
                cost_usd=Decimal(24),
                **nothing,
            ),
            imported(user_id="imported", cost_usd=Decimal(2)),
            imported(user_id="line", cost_usd=Decimal(5), **nothing),
            adjusted(user_id="credit", entry_kind="true_up", cost_usd=Decimal(-7)),
            adjusted(user_id="mixed", entry_kind="prior_period", cost_usd=Decimal(11)),
            gone,
            reversal(gone),
            dearer,
            price_change(dearer, Decimal(3), NOON + timedelta(days=1)),
        ],
    )
    out = store.data_dir / "focus.csv"
    flags = [
        "--from",
        "2026-01-01",
        "--to",
        "2026-12-31",
        "--format",
        "focus",
        "--focus-version",
        "1.2",
        "--out",
        str(out),
    ]
    assert main(["export", "--data-dir", str(store.data_dir), *flags]) == 0
    return list(csv.DictReader(io.StringIO(out.read_text())))


def imported(**columns: Any) -> Entry:
    """Return an entry of what a provider reports and no span tells of."""
    return call(entry_kind="imported", sign=0, cost_status="reported") | columns


def adjusted(**columns: Any) -> Entry:
    """Return an entry of what a bill has, or of a correction of a closed month."""
    nothing = dict.fromkeys(("input_tokens", "output_tokens"))
    return call(sign=0, cost_status="reported", **nothing) | columns


def user(row: Row) -> str:
    return str(json.loads(row["Tags"]).get("user_id", ""))


def test_the_columns_are_those_of_focus_and_no_mandatory_one_is_missing(rows: list[Row]) -> None:
    assert set(rows[0]) <= set(RULES)
    assert set(rows[0]) >= {name for name, rule in RULES.items() if not rule.is_optional}


@pytest.mark.parametrize("column", RULES)
def test_each_column_holds_what_its_rule_allows_and_is_null_only_where_it_must(
    rows: list[Row], column: str
) -> None:
    rule = RULES[column]

    for row in rows:
        if rule.is_null(row):
            assert row[column] == "", user(row)
        else:
            assert re.fullmatch(rule.pattern, row[column]), user(row)


def test_a_charge_is_of_a_day_inside_the_month_it_is_billed_in(rows: list[Row]) -> None:
    for row in rows:
        start, end, first, stop = (
            datetime.fromisoformat(row[name])
            for name in (
                "ChargePeriodStart", "ChargePeriodEnd", "BillingPeriodStart", "BillingPeriodEnd",
            )
        )  # fmt: skip
        assert end - start == timedelta(days=1)
        assert first <= start < end <= stop
        assert (first.day, stop.day) == (1, 1)
        assert timedelta(days=28) <= stop - first <= timedelta(days=31)


def test_the_four_costs_are_one_and_add_up_to_what_the_ledger_has(rows: list[Row]) -> None:
    for row in rows:
        assert row["BilledCost"] == row["EffectiveCost"] == row["ContractedCost"] == row["ListCost"]
    assert sum(Decimal(row["BilledCost"]) for row in rows) == (
        3 * Decimal("0.000123") + Decimal("3.040000000001") + 24 + 2 + 5 - 7 + 11
    )


def test_quantities_are_those_of_the_calls_that_have_a_cost(rows: list[Row]) -> None:
    found = {
        user(row): (row["PricingQuantity"], row["PricingUnit"])
        for row in rows
        if not is_adjustment(row)
    }

    assert found["mixed"] == ("110", "Tokens")
    assert found["images"] == found["refused"] == ("1", "Requests")
    assert found["subscriber"] == ("110", "Tokens")
    assert (found["imported"], found["line"]) == (("110", "Tokens"), ("1", "Days"))
    assert "unpriced" not in found
    assert "gone" not in found
    for row in rows:
        if not is_no_usage(row):
            assert (row["ConsumedQuantity"], row["ConsumedUnit"]) == found[user(row)]


def test_what_of_commitments_is_of_no_call_is_a_purchase(rows: list[Row]) -> None:
    [bought] = filter(is_purchase, rows)

    assert (user(bought), bought["BilledCost"]) == ("seat", "24")
    assert (bought["PricingQuantity"], bought["PricingUnit"]) == ("1", "Days")


def test_what_bills_and_closed_months_change_are_adjustments(rows: list[Row]) -> None:
    adjustments = {user(row): row["BilledCost"] for row in rows if is_adjustment(row)}

    assert adjustments == {"credit": "-7", "mixed": "11"}
    assert {row["BilledCost"] for row in rows if user(row) == "mixed"} == {"11", "0.000123"}


def test_what_no_span_tells_of_is_usage_and_says_so(rows: list[Row]) -> None:
    described = {user(row): (row["ChargeCategory"], row["ChargeDescription"]) for row in rows}

    assert (
        described["imported"]
        == described["line"]
        == (
            "Usage",
            "Use that no span tells of: gpt-4.1",
        )
    )


def test_tags_are_an_object_of_texts_without_empty_ones(rows: list[Row]) -> None:
    for row in rows:
        assert all(isinstance(each, str) and each for each in json.loads(row["Tags"]).values())
