"""The dataset Invoice Detail of FOCUS 1.4: what a provider bills of a month, a line a SKU."""

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import NamedTuple

from tallyspan_collector.focus.exact import EXACT, text
from tallyspan_collector.focus.periods import Period, moment_text
from tallyspan_collector.focus.sku import Row

COLUMNS = (
    "BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart",
    "ChargeCategory", "InvoiceDetailCreated", "InvoiceDetailDescription", "InvoiceDetailGrain",
    "InvoiceDetailId", "InvoiceDetailLastUpdated", "InvoiceId", "InvoiceIssueDate",
    "InvoiceIssueStatus", "InvoiceIssuerName", "PaymentDueDate", "PaymentTerms",
    "ReferenceInvoiceId",
)  # fmt: skip
_SHARED = (
    "BillingAccountId", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart",
    "ChargeCategory", "InvoiceDetailId", "InvoiceId", "InvoiceIssuerName",
)  # fmt: skip
NOT_SPECIFIED = "Not Specified"


class _Key(NamedTuple):
    invoice: str
    line: str


def invoice_details(charges: Iterable[Row], periods: Iterable[Period]) -> Iterator[Row]:
    """Yield the lines of the invoices that rows of Cost and Usage are in, in their order.

    The rows of a line add up to it exactly.
    """
    by_month = {(each.provider, f"{each.month:%Y-%m}"): each for each in periods}
    costs: dict[_Key, Decimal] = {}
    first: dict[_Key, Row] = {}
    for row in charges:
        key = _Key(row["InvoiceId"], row["InvoiceDetailId"])
        costs[key] = EXACT.add(costs.get(key, Decimal(0)), Decimal(row["BilledCost"]))
        first.setdefault(key, row)
    for key in sorted(costs):
        row = first[key]
        period = by_month[row["InvoiceIssuerName"], row["BillingPeriodStart"][:7]]
        yield _line(row, costs[key], period)


def _line(row: Row, cost: Decimal, period: Period) -> Row:
    grain = {"ServiceName": row["ServiceName"]}
    if "SkuId" in row:
        grain |= {"SkuId": row["SkuId"], "SkuMeter": row["SkuMeter"]}
    closed_at = period.closed_at
    return {name: row[name] for name in _SHARED} | {
        "BilledCost": text(cost),
        "InvoiceDetailCreated": moment_text(period.created),
        "InvoiceDetailDescription": _description(row),
        "InvoiceDetailGrain": json.dumps(grain, ensure_ascii=False),
        "InvoiceDetailLastUpdated": moment_text(period.updated),
        "InvoiceIssueDate": "" if closed_at is None else moment_text(closed_at),
        "InvoiceIssueStatus": "Open" if closed_at is None else "Issued",
        "PaymentTerms": NOT_SPECIFIED,
        "ReferenceInvoiceId": _reference(row),
    }


def _description(row: Row) -> str:
    what = row.get("SkuId") or row["ServiceName"]
    if row.get("ChargeClass"):
        return f"Corrections of {row['ChargePeriodStart'][:7]}: {what}"
    return f"{row['ChargeCategory']}: {what}"


def _reference(row: Row) -> str:
    """Return the invoice that a line corrects; its own where it corrects none."""
    if not row.get("ChargeClass"):
        return row["InvoiceId"]
    return (
        row["InvoiceId"].removesuffix(row["BillingPeriodStart"][:7]) + row["ChargePeriodStart"][:7]
    )
