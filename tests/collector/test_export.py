import csv
import io
import json
from datetime import timedelta
from decimal import Decimal

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from ledger import NOON, book, call, reversal, unpriced
from shared_store import SharedStore
from tallyspan_collector.cli import main

DAY = ["--from", "2026-03-31", "--to", "2026-03-31"]
# The columns FOCUS 1.2 makes mandatory.
MANDATORY = {
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd",
    "ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost",
    "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "ServiceCategory",
    "ServiceName",
}  # fmt: skip


@pytest.fixture(scope="module")
def store(store: SharedStore, client: Client) -> SharedStore:
    gone = call(user_id="gone")
    book(
        client,
        [
            call(user_id='comma, "quote"\nline', cost_usd=Decimal("0.000000000001")),
            call(user_id="ada", cost_usd=Decimal(2)),
            call(user_id="ada", start_time=NOON + timedelta(hours=1), cost_usd=Decimal(3)),
            call(user_id="ada", start_time=NOON + timedelta(days=1)),
            unpriced(user_id="bob"),
            call(
                user_id="=1+1",
                model_name="=1+1",
                department="=1+1",
                cost_usd=Decimal(0),
                start_time=NOON + timedelta(days=2),
            ),
            gone,
            reversal(gone),
        ],
    )
    return store


def exported(store: SharedStore, *flags: str) -> bytes:
    out = store.data_dir / "out"
    assert main(["export", "--data-dir", str(store.data_dir), "--out", str(out), *flags]) == 0
    return out.read_bytes()


def test_csv_has_every_live_call_of_the_period_exactly(store: SharedStore) -> None:
    rows = list(csv.DictReader(io.StringIO(exported(store, *DAY).decode())))

    costs = [(row["user_id"], row["estimated_cost_usd"]) for row in rows]
    assert sorted(costs) == [
        ("ada", "2"),
        ("ada", "3"),
        ("bob", "\\N"),
        ('comma, "quote"\nline', "0.000000000001"),
    ]


@pytest.mark.parametrize(
    ("flags", "column"),
    [
        (["csv"], "user_id"),
        (["focus"], "SubAccountId"),
        (["focus", "--focus-version", "1.2"], "SkuId"),
    ],
)
def test_no_cell_of_a_file_runs_as_a_formula(
    store: SharedStore, flags: list[str], column: str
) -> None:
    day = ["--from", "2026-04-02", "--to", "2026-04-02"]
    [row] = csv.DictReader(io.StringIO(exported(store, *day, "--format", *flags).decode()))

    assert row[column] == "'=1+1"


def test_parquet_has_the_same_calls(store: SharedStore) -> None:
    exported(store, "--format", "parquet", *DAY)

    with clickhouse_connect.get_client(
        interface="chdb", path=str(store.data_dir / "reads")
    ) as client:
        read = client.query(
            "SELECT count(), sum(estimated_cost_usd) FROM file({path:String}, 'Parquet')",
            parameters={"path": str(store.data_dir / "out")},
        )
        assert read.result_rows == [(4, Decimal("5.000000000001"))]


def test_focus_has_its_mandatory_columns_and_adds_up_to_the_priced_cost(
    store: SharedStore, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = list(
        csv.DictReader(
            io.StringIO(
                exported(store, "--format", "focus", "--focus-version", "1.2", *DAY).decode()
            )
        )
    )

    assert set(rows[0]) >= MANDATORY
    assert sum(Decimal(row["BilledCost"]) for row in rows) == Decimal("5.000000000001")
    [ada] = [row for row in rows if json.loads(row["Tags"])["user_id"] == "ada"]
    assert (ada["ChargePeriodStart"], ada["ChargePeriodEnd"], ada["PricingQuantity"]) == (
        "2026-03-31T00:00:00Z",
        "2026-04-01T00:00:00Z",
        "220",
    )
    assert "1 call without a price" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--from", "2026-04-01", "--to", "2026-03-01"], "the period has no length"),
        (
            [
                "--from",
                "2026-04-01T01:00",
                "--to",
                "2026-04-02",
                "--format",
                "focus",
                "--focus-version",
                "1.2",
            ],
            "whole days",
        ),
        (["--from", "soon", "--to", "2026-04-02"], "--from must be a date"),
        ([*DAY, "--out", "/nowhere/at/all"], "--out /nowhere/at/all: No such file"),
    ],
)
def test_an_export_that_cannot_be_is_refused(
    store: SharedStore, flags: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "--data-dir", str(store.data_dir), *flags]) == 2
    assert says in capsys.readouterr().err
