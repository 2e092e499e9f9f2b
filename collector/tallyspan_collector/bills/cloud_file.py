"""Cost exports of the clouds as files: AWS, Azure, Google Cloud, and FOCUS, which all of them have.

CSV, or JSON with an object a line; `.gz` as well. A line is a SKU of a day (UTC) in an account or
project, with its cost. The names of SKUs do not tell models as the ledger names them, so a line has
no model and `item` is the SKU: it is compared with what all calls of the provider cost.
"""

import csv
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from tallyspan_collector.bills.billed import Billed
from tallyspan_collector.errors import ConfigError

_DAYS = ("%Y-%m-%d", "%m/%d/%Y")


@dataclass(frozen=True, slots=True)
class Columns:
    """What a kind of export calls the columns; several names: any of them.

    A line is taken if a column of `service` has one of `services` in it and, where the export has
    a column `charge`, that is one of `charges`: usage, and no tax or credit.
    """

    day: tuple[str, ...]
    cost: tuple[str, ...]
    currency: tuple[str, ...]
    item: tuple[str, ...]
    project: tuple[str, ...]
    service: tuple[str, ...]
    services: tuple[str, ...]
    charge: tuple[str, ...] = ()
    charges: tuple[str, ...] = ()


_FOCUS = {
    "day": ("ChargePeriodStart",),
    "cost": ("EffectiveCost", "BilledCost"),
    "currency": ("BillingCurrency",),
    "item": ("ChargeDescription", "SkuId"),
    "project": ("SubAccountId",),
    "service": ("ServiceName",),
    "charge": ("ChargeCategory",),
    "charges": ("usage",),
}
_AWS = ("bedrock",)
_AZURE = ("cognitive services", "openai", "foundry models", "ai services", "azure ai")
_GCP = ("vertex ai", "gemini", "generative language")
AWS = (
    Columns(
        day=("line_item_usage_start_date", "lineItem/UsageStartDate"),
        cost=("line_item_unblended_cost", "lineItem/UnblendedCost"),
        currency=("line_item_currency_code", "lineItem/CurrencyCode"),
        item=("line_item_usage_type", "lineItem/UsageType"),
        project=("line_item_usage_account_id", "lineItem/UsageAccountId"),
        # models of others are sold through the marketplace, under a code of their own
        service=(
            "line_item_product_code",
            "lineItem/ProductCode",
            "line_item_line_item_description",
            "lineItem/LineItemDescription",
            "product_product_name",
            "product/ProductName",
        ),
        services=_AWS,
        charge=("line_item_line_item_type", "lineItem/LineItemType"),
        charges=("usage", "discountedusage", "savingsplancoveredusage"),
    ),
    Columns(**_FOCUS, services=_AWS),
)
AZURE = (
    Columns(
        day=("Date", "date", "UsageDateTime"),
        cost=("CostInUsd", "costInUsd", "CostInBillingCurrency", "costInBillingCurrency"),
        currency=("BillingCurrency", "billingCurrency", "BillingCurrencyCode"),
        item=("MeterName", "meterName"),
        project=("ResourceGroup", "resourceGroupName", "SubscriptionId"),
        service=("MeterCategory", "meterCategory", "MeterSubCategory", "meterSubCategory"),
        services=_AZURE,
        charge=("ChargeType", "chargeType"),
        charges=("usage",),
    ),
    Columns(**_FOCUS, services=_AZURE),
)
GCP = (
    Columns(
        day=("usage_start_time",),
        cost=("cost",),
        currency=("currency",),
        item=("sku.description", "sku_description"),
        project=("project.id", "project_id"),
        service=("service.description", "service_description"),
        services=_GCP,
        charge=("cost_type",),
        charges=("regular",),
    ),
    Columns(**_FOCUS, services=_GCP),
)
_IN_USD = frozenset({"CostInUsd", "costInUsd"})


def read(path: Path, kinds: Iterable[Columns]) -> Iterator[Billed]:
    """Yield the lines of models in the file. Raises `ConfigError` by file, line and column."""
    chosen: Columns | None = None
    for number, row in _rows(path):
        where = f"{path}:{number}"
        if chosen is None:
            chosen = _kind(path, row, kinds)
        if _is_of_models(row, chosen):
            yield _line(where, row, chosen)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with path.open("rb") as raw:
            is_zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            plain: Any = gzip.GzipFile(fileobj=raw) if is_zipped else raw
            with TextIOWrapper(plain, encoding="utf-8-sig", newline="") as file:
                if path.name.removesuffix(".gz").endswith((".json", ".jsonl", ".ndjson")):
                    for number, line in enumerate(file, 1):
                        if line.strip():
                            yield number, _flat(json.loads(line, parse_float=Decimal))
                else:
                    lines = csv.DictReader(file)
                    for row in lines:
                        if None in row or None in row.values():
                            where = f"{path}:{lines.line_num}"
                            raise ConfigError(f"{where}: has not as many columns as the first line")
                        yield lines.line_num, row
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None


def _flat(row: object, prefix: str = "") -> dict[str, Any]:
    """Return nested columns as `sku.description`."""
    if not isinstance(row, dict):
        raise ValueError("a line is no JSON object")  # noqa: TRY004  of the file's content
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _kind(path: Path, row: Mapping[str, Any], kinds: Iterable[Columns]) -> Columns:
    there = row.keys()
    for each in kinds:
        if all(there & {*names} for names in (each.day, each.cost, each.service)):
            return each
    wanted = "; or ".join(f"{each.day[0]}, {each.cost[0]}, {each.service[0]}" for each in kinds)
    raise ConfigError(f"{path}:1: is no such export: it needs the columns {wanted}")


def _text(row: Mapping[str, Any], names: Iterable[str]) -> str:
    return next((str(row[name]).strip() for name in names if row.get(name)), "")


def _is_of_models(row: Mapping[str, Any], columns: Columns) -> bool:
    names = " ".join(str(row.get(name) or "") for name in columns.service).lower()
    charge = _text(row, columns.charge).lower()
    return any(each in names for each in columns.services) and (
        not charge or charge in columns.charges
    )


def _line(where: str, row: Mapping[str, Any], columns: Columns) -> Billed:
    column = next(name for name in columns.cost if name in row)
    currency = _text(row, columns.currency).upper()
    if currency not in {"", "USD"} and column not in _IN_USD:
        raise ConfigError(f"{where}: the bill is in {currency}: only costs in USD are taken")
    try:
        cost = Decimal(str(row[column] or 0))
    except InvalidOperation:
        cost = Decimal("NaN")
    if not cost.is_finite():
        raise ConfigError(f"{where}: {column}: must be a number; got {row[column]!r}")
    return Billed(
        day=_day(where, _text(row, columns.day)),
        item=_text(row, columns.item) or "(costs without a line)",
        project=_text(row, columns.project),
        cost_usd=cost,
    )


def _day(where: str, text: str) -> date:
    """Return the day in UTC: an hour of another zone is of the day that it is in UTC."""
    for pattern in _DAYS:
        try:
            return datetime.strptime(text, pattern).replace(tzinfo=UTC).date()
        except ValueError:
            continue
    try:
        at = datetime.fromisoformat(text.replace(" UTC", "+00:00"))
    except ValueError:
        raise ConfigError(f"{where}: no day like 2026-01-31: {text!r}") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).date()
