"""Cost exports of the clouds as files: AWS, Azure, Google Cloud, and FOCUS, which all of them have.

CSV, or JSON with an object a line; `.gz` as well. A line is a SKU of a day in an account or
project, with its cost. As a usage report (`read`) a line has no model, `item` is the SKU: it is
compared with what all calls of the provider cost. As a bill (`bill`) it has the model that the SKU
is about, and purchases, credits and taxes are lines too.
"""

import csv
import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC
from decimal import Decimal, InvalidOperation
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from tallyspan_collector.bills import sku
from tallyspan_collector.bills.billed import Billed, Charge
from tallyspan_collector.bills.charges import charge_of
from tallyspan_collector.bills.days import day_of
from tallyspan_collector.bills.exchange import ONLY_USD, CurrencyError, currency_name
from tallyspan_collector.bills.file_terms import FileTerms
from tallyspan_collector.errors import ConfigError

Row = Mapping[str, Any]
_AMERICAN = "%m/%d/%Y"
"""How Azure writes days."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What a kind of export calls the columns; several names: any of them.

    A line is taken if a column of `service` has one of `services` in it. It is of usage where the
    export has no column `charge`, or that is one of `charges`. `model_of` returns what its SKU is
    about, from the columns `item` and `about`. `credits` is a list of what is taken off the cost,
    `billed` what a bill has as the cost where that is another column than of use.
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
    end: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    model_of: Callable[..., str] = sku.model_of_any
    credits: str = ""
    billed: tuple[str, ...] = ()


_FOCUS = Columns(
    day=("ChargePeriodStart",),
    end=("ChargePeriodEnd",),
    cost=("EffectiveCost", "BilledCost"),
    billed=("BilledCost",),
    currency=("BillingCurrency",),
    item=("ChargeDescription", "SkuId"),
    project=("SubAccountId",),
    service=("ServiceName",),
    services=(),
    charge=("ChargeCategory",),
    charges=("usage",),
    about=("x_UsageType", "SkuMeter", "x_SkuMeterName", "x_SkuDescription"),
)
_AWS = ("bedrock",)
_AZURE = ("cognitive services", "openai", "foundry models", "ai services", "azure ai")
_GCP = ("vertex ai", "gemini", "generative language")
AWS = (
    Columns(
        day=("line_item_usage_start_date", "lineItem/UsageStartDate"),
        end=("line_item_usage_end_date", "lineItem/UsageEndDate"),
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
        about=(
            "line_item_line_item_description",
            "lineItem/LineItemDescription",
            "product_product_name",
            "product/ProductName",
        ),
        model_of=sku.model_of_aws,
    ),
    replace(_FOCUS, services=_AWS, model_of=sku.model_of_aws),
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
    replace(_FOCUS, services=_AZURE),
)
GCP = (
    Columns(
        day=("usage_start_time",),
        end=("usage_end_time",),
        cost=("cost",),
        currency=("currency",),
        item=("sku.description", "sku_description"),
        project=("project.id", "project_id"),
        service=("service.description", "service_description"),
        services=_GCP,
        charge=("cost_type",),
        charges=("regular",),
        credits="credits",
    ),
    replace(_FOCUS, services=_GCP),
)
_PARQUET = b"PAR1"
_IN_USD = frozenset({"CostInUsd", "costInUsd"})


def read(path: Path, kinds: Iterable[Columns]) -> Iterator[Billed]:
    """Yield the usage of models in the file, without models; days in UTC, costs in USD.

    Raises `ConfigError` by file, line and column.
    """
    for _, line in _lines(path, kinds, None):
        yield line


def bill(path: Path, kinds: Iterable[Columns], terms: FileTerms) -> Iterator[Billed]:
    """Yield all that the file bills for models, by model where a SKU tells it.

    Raises `ConfigError` by file, line and column.
    """
    for row, line in _lines(path, kinds, terms):
        yield replace(line, is_repeated=True) if terms.seen.again(row.values()) else line


def _lines(
    path: Path, kinds: Iterable[Columns], terms: FileTerms | None
) -> Iterator[tuple[Row, Billed]]:
    """Yield rows and their lines; without terms: only usage, as a report."""
    chosen: Columns | None = None
    for number, row in _rows(path):
        if chosen is None:
            chosen = _kind(path, row, kinds)
        charge = _text(row, chosen.charge).lower()
        is_wanted = terms is not None or not charge or charge in chosen.charges
        if is_wanted and _is_of_models(row, chosen):
            try:
                line = _line(row, chosen, terms)
                yield row, line
                if terms is not None:
                    yield from _credits(row, chosen, line, terms)
            except _ColumnError as error:
                raise ConfigError(f"{path}:{number}: {error}") from None


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with path.open("rb") as raw:
            head = raw.read(len(_PARQUET))
            if head == _PARQUET:
                raise ConfigError(f"{path}: is Parquet: export it as CSV, or JSON lines")
            is_zipped = head.startswith(b"\x1f\x8b")
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


def _is_of_models(row: Row, columns: Columns) -> bool:
    names = " ".join(str(row.get(name) or "") for name in columns.service).lower()
    return any(each in names for each in columns.services)


class _ColumnError(Exception):
    """A value that cannot be: column, and what is wrong."""


def _line(row: Row, columns: Columns, terms: FileTerms | None) -> Billed:
    exchange = terms.exchange if terms else ONLY_USD
    names = (*columns.billed, *columns.cost) if terms else columns.cost
    # A column that is empty says nothing: not every account of Azure has CostInUsd.
    filled = (name for name in names if str(row.get(name) or "").strip())
    column = next(filled, None) or _here(row, names)
    charge = charge_of(_text(row, columns.charge), columns.charges)
    # Fees, credits and taxes of a month have its first day and its last.
    end = _text(row, columns.end) if terms and charge is Charge.USAGE else ""
    try:
        zone = terms.zone if terms else UTC
        day = day_of(_text(row, columns.day), zone, end, formats=_AMERICAN)
    except ValueError as error:
        raise _ColumnError(f"{_here(row, columns.day)}: {error}") from None
    currency = "" if column in _IN_USD else currency_name(_text(row, columns.currency))
    try:
        cost = exchange.usd(_amount(column, row[column]), currency, day)
    except CurrencyError as error:
        raise _ColumnError(f"{_here(row, columns.currency)}: {error}") from None
    line = Billed(
        day=day,
        item=_text(row, columns.item) or "(costs without a line)",
        project=_text(row, columns.project),
        cost_usd=cost,
        charge=charge,
        currency=currency,
    )
    if terms is None:
        return line
    if charge is Charge.USAGE:
        texts = (_text(row, (name,)) for name in columns.about)
        return replace(line, model=columns.model_of(line.item, *texts))
    return replace(line, item=f"{_text(row, columns.charge)}: {line.item}")


def _here(row: Row, names: Iterable[str]) -> str:
    return next((name for name in names if name in row), "the day")


def _credits(
    row: Row, columns: Columns, line: Billed, terms: FileTerms
) -> Iterator[tuple[Row, Billed]]:
    """Yield what is taken off a line, below 0, as lines of their own."""
    listed = row.get(columns.credits) if columns.credits else None
    for credit in listed if isinstance(listed, list) else ():
        if not isinstance(credit, dict):
            raise _ColumnError(f"{columns.credits}: must be a list of objects with an amount")
        amount = _amount(f"{columns.credits}.amount", credit.get("amount"))
        name = str(credit.get("name") or credit.get("type") or "without a name")
        off = replace(
            line,
            model="",
            item=f"credit: {name}",
            cost_usd=terms.exchange.usd(amount, line.currency, line.day),
            charge=Charge.CREDIT,
        )
        yield {"": row, "credit": credit}, off


def _amount(column: str, value: object) -> Decimal:
    try:
        amount = Decimal(str(value or 0))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise _ColumnError(f"{column}: must be a number; got {value!r}")
    return amount
