"""A month that finance closed, and what is booked into it later, in the datasets of FOCUS 1.4."""

import csv
import io
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from command_line import CommandLine
from focus_rules import Row, violations_of_charge
from ledger import book, call
from shared_store import SharedStore
from tallyspan_collector.cli import main
from tallyspan_collector.months.schedule import Closing


class Month(CommandLine):
    """`tallyspan month` on a ledger."""

    name = "month"


def used(month: int, cost: str, **columns: Any) -> dict[str, Any]:
    at = datetime(2026, month, 15, 12, tzinfo=UTC)
    return call(start_time=at, cost_usd=Decimal(cost), ingested_at=at, **columns)


def exported(store: SharedStore, dataset: str) -> list[Row]:
    out = store.data_dir / f"{dataset}.csv"
    period = ["--from", "2026-03-01", "--to", "2026-04-30", "--dataset", dataset]
    flags = ["--data-dir", str(store.data_dir), "--out", str(out), *period]
    assert main(["export", "--format", "focus", *flags]) == 0
    return list(csv.DictReader(io.StringIO(out.read_text())))


def billed(rows: list[Row]) -> dict[str, Decimal]:
    """Return USD by month and, for corrections, the month they are of."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        correction = f" of {row['ChargePeriodStart'][:7]}" if row["ChargeClass"] else ""
        sums[row["BillingPeriodStart"][:7] + correction] += Decimal(row["BilledCost"])
    return sums


def test_a_closed_month_keeps_its_total_and_is_corrected_in_the_next(
    empty_store: SharedStore, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    book(client, [used(3, "6"), used(4, "1")])
    month = Month(empty_store.data_dir, client, capsys)
    assert month.run("close", "2026-03", "--accept", "no_bill=no provider sends bills here") == 0
    before = exported(empty_store, "cost-and-usage")

    book(client, [used(3, "3", user_id="bob")])
    Closing().look(client)  # as the collector does by itself
    after = exported(empty_store, "cost-and-usage")

    assert billed(before) == {"2026-03": 6, "2026-04": 1}
    assert billed(after) == {"2026-03": 6, "2026-04": 1, "2026-04 of 2026-03": 3}
    assert [broken for row in after if (broken := violations_of_charge(row))] == []
    assert {
        row["BillingPeriodStart"][:7]: row["BillingPeriodStatus"]
        for row in exported(empty_store, "billing-period")
    } == {"2026-03": "Closed", "2026-04": "Open"}
    invoices: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in exported(empty_store, "invoice-detail"):
        invoices[row["InvoiceId"], row["ReferenceInvoiceId"]] += Decimal(row["BilledCost"])
    assert invoices == {
        ("openai/2026-03", "openai/2026-03"): 6,
        ("openai/2026-04", "openai/2026-04"): 1,
        ("openai/2026-04", "openai/2026-03"): 3,
    }
