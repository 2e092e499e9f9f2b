"""Billing Period and Invoice Detail of FOCUS 1.4, beside the charges that they are about."""

import csv
import io
import json
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from clickhouse_connect.driver.client import Client

from focus_rules import (
    BILLING_PERIOD,
    COST_AND_USAGE,
    INVOICE_DETAIL,
    Row,
    violations,
    violations_of_line,
)
from focus_validators import lint
from ledger import book, call
from shared_store import SharedStore
from tallyspan_collector.cli import main

FEBRUARY, MARCH = (datetime(2026, month, 10, tzinfo=UTC) for month in (2, 3))
BOOKED = datetime(2026, 3, 31, 12, tzinfo=UTC)
"""When the entries of `ledger` are booked."""
CLOSED = datetime(2026, 4, 2, 9, 30, tzinfo=UTC)
RULES = {
    "cost-and-usage": COST_AND_USAGE,
    "billing-period": BILLING_PERIOD,
    "invoice-detail": INVOICE_DETAIL,
}


@pytest.fixture(scope="module")
def datasets(store: SharedStore, client: Client) -> dict[str, list[Row]]:
    # Prices of the list: 1000 x 2 and 100 x 8 millionths of a USD.
    one = {"input_tokens": 1000, "output_tokens": 100, "cost_usd": Decimal("0.0028")}
    claude = {"provider_name": "anthropic", "model_name": "claude-unknown"}
    correction = {"entry_kind": "prior_period", "sign": 0, "user_id": "", "cost_usd": Decimal(1)}
    book(
        client,
        [
            call(start_time=FEBRUARY, **one),
            call(start_time=MARCH, **one),
            call(start_time=MARCH, user_id="bob", **one),
            call(start_time=MARCH, tenant="acme", **claude, cost_usd=Decimal("0.1")),
            call(start_time=MARCH, tags={"closed_month": "2026-02"}) | correction,
        ],
    )
    close(client, "closed", CLOSED)
    return {name: exported(store, name) for name in RULES}


def close(client: Client, state: str, at: datetime) -> None:
    """Write that February was closed, or reopened."""
    names = ("month", "version", "state", "written_at", "written_by", "cost_usd")
    row = (FEBRUARY.replace(day=1).date(), 1, state, at, "finance", Decimal("0.0028"))
    client.insert("month_closes", [row], column_names=names)


def exported(store: SharedStore, name: str) -> list[Row]:
    out = store.data_dir / f"{name}.csv"
    period = ["--from", "2026-02-01", "--to", "2026-03-31"]
    flags = ["--data-dir", str(store.data_dir), "--out", str(out), "--dataset", name, *period]
    assert main(["export", "--format", "focus", *flags]) == 0
    return list(csv.DictReader(io.StringIO(out.read_text())))


@pytest.mark.parametrize("name", RULES)
def test_every_row_keeps_the_rules_of_its_dataset(
    datasets: dict[str, list[Row]], name: str
) -> None:
    assert violations(RULES[name], datasets[name]) == []
    assert datasets[name]


def test_a_linter_of_the_published_data_model_finds_nothing_in_the_three_together(
    datasets: dict[str, list[Row]],
) -> None:
    assert (
        lint(
            {
                name.replace("-", " ").title().replace("And", "and"): rows
                for name, rows in datasets.items()
            }
        )
        == []
    )


def test_a_closed_month_is_a_closed_billing_period_of_every_provider(
    datasets: dict[str, list[Row]],
) -> None:
    periods = [
        (row["InvoiceIssuerName"], row["BillingPeriodStart"][:7], row["BillingPeriodStatus"],
         row["BillingPeriodCreated"], row["BillingPeriodLastUpdated"])
        for row in datasets["billing-period"]
    ]  # fmt: skip

    booked, closed = "2026-03-31T12:00:00Z", "2026-04-02T09:30:00Z"
    assert periods == [
        ("openai", "2026-02", "Closed", booked, closed),
        ("anthropic", "2026-03", "Open", booked, booked),
        ("openai", "2026-03", "Open", booked, booked),
    ]


def test_the_charges_of_an_invoice_line_add_up_to_it(datasets: dict[str, list[Row]]) -> None:
    sums: dict[tuple[str, ...], Decimal] = defaultdict(Decimal)
    for row in datasets["cost-and-usage"]:
        key = tuple(row[name] for name in ("InvoiceIssuerName", "InvoiceId", "InvoiceDetailId"))
        sums[key] += Decimal(row["BilledCost"])

    assert sums == {
        tuple(row[name] for name in ("InvoiceIssuerName", "InvoiceId", "InvoiceDetailId")): Decimal(
            row["BilledCost"]
        )
        for row in datasets["invoice-detail"]
    }


def test_an_invoice_line_is_of_a_sku_and_issued_once_the_month_is_closed(
    datasets: dict[str, list[Row]],
) -> None:
    lines = {
        (row["InvoiceId"], row["InvoiceDetailDescription"]): (
            row["BilledCost"],
            row["InvoiceIssueStatus"],
            row["InvoiceIssueDate"],
            row["ReferenceInvoiceId"],
        )
        for row in datasets["invoice-detail"]
    }

    closed, march = ("Issued", "2026-04-02T09:30:00Z", "openai/2026-02"), "openai/2026-03"
    assert lines == {
        ("openai/2026-02", "Usage: openai/gpt-4.1/input_tokens"): ("0.002", *closed),
        ("openai/2026-02", "Usage: openai/gpt-4.1/output_tokens"): ("0.0008", *closed),
        (march, "Usage: openai/gpt-4.1/input_tokens"): ("0.004", "Open", "", march),
        (march, "Usage: openai/gpt-4.1/output_tokens"): ("0.0016", "Open", "", march),
        (march, "Corrections of 2026-02: openai"): ("1", "Open", "", "openai/2026-02"),
        ("anthropic/acme/2026-03", "Usage: anthropic/claude-unknown/calls"): (
            "0.1", "Open", "", "anthropic/acme/2026-03",
        ),
    }  # fmt: skip
    for row in datasets["invoice-detail"]:
        assert violations_of_line(row) == []
        assert json.loads(row["InvoiceDetailGrain"])["ServiceName"] == row["InvoiceIssuerName"]


def test_a_reopened_month_is_open_again_and_was_updated_then(
    datasets: dict[str, list[Row]], store: SharedStore, client: Client
) -> None:
    close(client, "reopened", datetime(2026, 4, 3, tzinfo=UTC))
    february = exported(store, "billing-period")[0]

    assert datasets["billing-period"][0]["BillingPeriodStatus"] == "Closed"
    assert (february["BillingPeriodStatus"], february["BillingPeriodLastUpdated"]) == (
        "Open",
        "2026-04-03T00:00:00Z",
    )


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--dataset", "invoice-detail", "--to", "2026-03-30"], "has whole months"),
        (["--dataset", "billing-period", "--focus-version", "1.2"], "FOCUS 1.2 has none"),
    ],
)
def test_a_dataset_that_cannot_be_is_refused(
    store: SharedStore, flags: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["export", "--format", "focus", "--data-dir", str(store.data_dir)]
    assert main([*base, "--from", "2026-03-01", "--to", "2026-03-31", *flags]) == 2
    assert says in capsys.readouterr().err


def test_a_period_whose_entries_are_gone_is_refused(
    store: SharedStore, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    client.command(
        "ALTER TABLE llm_calls MODIFY TTL toDateTime(start_time) + INTERVAL 30 DAY"
        " SETTINGS materialize_ttl_after_modify = 0"
    )
    base = ["export", "--format", "focus", "--data-dir", str(store.data_dir)]
    assert main([*base, "--from", "2026-03-01", "--to", "2026-03-31"]) == 2
    assert "have expired or are archived" in capsys.readouterr().err
