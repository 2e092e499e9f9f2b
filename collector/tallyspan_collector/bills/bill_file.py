"""A bill as a CSV file: the exports of the consoles of OpenAI and Anthropic, or your own columns.

Columns of our own are `COLUMNS`: `day` and one amount are needed. `cost` is in `currency`, `end` is
when the charge ends, `charge` is what it is for: usage, purchase, credit, refund, tax.
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path

from tallyspan_collector.bills import openai
from tallyspan_collector.bills.billed import COUNTS, Billed, Charge
from tallyspan_collector.bills.charges import charge_of
from tallyspan_collector.bills.days import day_of
from tallyspan_collector.bills.exchange import CurrencyError, currency_name
from tallyspan_collector.bills.file_terms import FileTerms
from tallyspan_collector.errors import ConfigError

Row = Mapping[str, str]
COLUMNS = (
    "day", "end", "model", "project", "tier", "item", "charge", *COUNTS, "cost", "currency",
    "api_key", "user",
)  # fmt: skip
_AMOUNTS = (*COUNTS, "cost")


def read(path: Path, terms: FileTerms) -> Iterator[Billed]:
    """Yield the lines of the file; the columns of `terms` map names of ours to those of the file.

    Raises `ConfigError` by file, line and column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file, delimiter=_delimiter(path, file.readline()))
            file.seek(0)
            names = [name.strip() for name in lines.fieldnames or []]
            lines.fieldnames = names
            make = _maker(path, names, terms.columns)
            for row in lines:
                where = f"{path}:{lines.line_num}"
                if None in row or None in row.values():
                    raise ConfigError(f"{where}: has not as many columns as the first line")
                if any(value.strip() for value in row.values()):
                    line = make(row, _Values(where, row, terms))
                    if line is not None:
                        yield replace(line, is_repeated=terms.seen.again(row.values()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None


def _delimiter(path: Path, head: str) -> str:
    if not head.strip():
        raise ConfigError(f"{path}: is empty; the first line must name the columns")
    return max(",;\t", key=head.count)


class _Values:
    """Values of one line; every complaint has file, line and column."""

    def __init__(self, where: str, row: Row, terms: FileTerms) -> None:
        self._where = where
        self._row = row
        self._terms = terms

    def day(self, name: str, end: str = "") -> date:
        """Return the day that columns name; a time without a zone is of the zone of the bill."""
        zone = self._terms.zone
        last = self._row.get(end, "").strip()
        try:
            return day_of(self._row[name].strip(), zone, last, of_naive=zone)
        except ValueError as error:
            raise self._refusal(name, str(error)) from None

    def usd(self, name: str, currency: str, day: date) -> tuple[Decimal | None, str]:
        """Return an amount in USD, and what it was in before; `currency` is the column of that."""
        amount = self.amount(name)
        if amount is None:
            return None, ""
        text = self._row.get(currency, "").strip()
        try:
            return self._terms.exchange.usd(amount, text, day), currency_name(text)
        except CurrencyError as error:
            raise self._refusal(currency, str(error)) from None

    def amount(self, name: str) -> Decimal | None:
        text = self._row[name].strip().removeprefix("$")
        if not text:
            return None
        try:
            value = Decimal(text)
        except InvalidOperation:
            value = Decimal("NaN")
        if not value.is_finite():
            wanted = "must be a number with a point, such as 12.34"
            raise self._refusal(name, f"{wanted}; got {self._row[name]!r}")
        return value

    def count(self, name: str) -> int | None:
        value = self.amount(name)
        if value is not None and (value < 0 or value != value.to_integral_value()):
            raise self._refusal(name, f"must be a whole number; got {self._row[name]!r}")
        return None if value is None else int(value)

    def total(self, *names: str) -> int:
        return sum(self.count(name) or 0 for name in names if name in self._row)

    def _refusal(self, column: str, sentence: str) -> ConfigError:
        return ConfigError(f"{self._where}: {column}: {sentence}")


Maker = Callable[[Row, _Values], Billed | None]


def _maker(path: Path, names: list[str], columns: Mapping[str, str]) -> Maker:
    here = set(names)
    if not columns:
        if {"usage_date_utc", "usage_output_tokens", "model_version"} <= here:
            return _anthropic_usage
        if {"usage_date_utc", "cost_usd", "token_type"} <= here:
            return _anthropic_cost
        if {"start_time", "amount_value", "line_item"} <= here:
            return _openai_cost
        if {"start_time", "input_tokens", "num_model_requests"} <= here:
            return _openai_usage
    chosen = {name: name for name in COLUMNS if name in here} | dict(columns)
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown:
        raise ConfigError(f"--column {unknown[0]}: must be one of {', '.join(COLUMNS)}")
    missing = [f"{ours}={theirs}" for ours, theirs in columns.items() if theirs not in here]
    if missing or "day" not in chosen:
        what = f"no column for --column {missing[0]}" if missing else "no column 'day'"
        raise ConfigError(
            f"{path}:1: {what}; it has {', '.join(names)}. Map them with --column OURS=THEIRS,"
            f" OURS one of {', '.join(COLUMNS)}"
        )
    if not set(_AMOUNTS) & chosen.keys():
        raise ConfigError(
            f"{path}:1: no column with an amount: one of {', '.join(_AMOUNTS)} is needed"
        )
    if "cost" in chosen and ("currency" not in chosen or "cost_usd" in chosen):
        raise ConfigError(
            f"{path}:1: 'cost' needs a column 'currency', and no 'cost_usd' beside it"
        )
    return lambda row, values: _own(row, values, chosen)


def _own(row: Row, values: _Values, chosen: Mapping[str, str]) -> Billed:
    def text(name: str) -> str:
        return row[chosen[name]].strip() if name in chosen else ""

    def count(name: str) -> int | None:
        return values.count(chosen[name]) if name in chosen else None

    day = values.day(chosen["day"], chosen.get("end", ""))
    charge = charge_of(text("charge"))
    item = text("item") or "(line without a model)"
    if charge is not Charge.USAGE:
        item = f"{text('charge')}: {text('item') or text('model') or '(without a name)'}"
    cost, currency = (
        values.usd(chosen["cost"], chosen["currency"], day)
        if "cost" in chosen
        else (values.amount(chosen["cost_usd"]) if "cost_usd" in chosen else None, "")
    )
    return Billed(
        day=day,
        model=text("model") if charge is Charge.USAGE else "",
        project=text("project"),
        tier=text("tier"),
        item=item,
        requests=count("requests"),
        input_tokens=count("input_tokens"),
        output_tokens=count("output_tokens"),
        cache_read_tokens=count("cache_read_tokens"),
        cache_write_tokens=count("cache_write_tokens"),
        cost_usd=cost,
        api_key=text("api_key"),
        user=text("user"),
        charge=charge,
        currency=currency,
    )


def _anthropic_usage(row: Row, values: _Values) -> Billed:
    write = values.total("usage_input_tokens_cache_write_5m", "usage_input_tokens_cache_write_1h")
    read = values.total("usage_input_tokens_cache_read")
    return Billed(
        day=values.day("usage_date_utc"),
        model=row["model_version"],
        project=_text(row, "workspace"),
        api_key=_text(row, "api_key"),
        tier=row.get("usage_type", ""),
        input_tokens=values.total("usage_input_tokens_no_cache") + read + write,
        output_tokens=values.total("usage_output_tokens"),
        cache_read_tokens=read,
        cache_write_tokens=write,
    )


def _anthropic_cost(row: Row, values: _Values) -> Billed:
    model = row.get("model", "")
    return Billed(
        day=values.day("usage_date_utc"),
        model="-".join(model.lower().split()),
        project=_text(row, "workspace"),
        api_key=_text(row, "api_key"),
        item=row["token_type"] or row.get("cost_type", ""),
        cost_usd=values.amount("cost_usd") or Decimal(0),
    )


def _openai_usage(row: Row, values: _Values) -> Billed | None:
    if not row["input_tokens"].strip() and not row["num_model_requests"].strip():
        return None  # a day without usage
    is_batch = row.get("batch", "").strip().lower() in {"true", "1"}
    return Billed(
        day=values.day("start_time", "end_time"),
        model=row.get("model", ""),
        project=_text(row, "project_id"),
        api_key=_text(row, "api_key_id"),
        user=_text(row, "user_id"),
        tier="batch" if is_batch else row.get("service_tier", ""),
        item="" if row.get("model") else "(usage without a model)",
        requests=values.count("num_model_requests"),
        input_tokens=values.count("input_tokens"),
        output_tokens=values.count("output_tokens") if "output_tokens" in row else None,
        cache_read_tokens=_if_there(row, values, "input_cached_tokens"),
        cache_write_tokens=_if_there(row, values, "input_cache_write_tokens"),
    )


def _openai_cost(row: Row, values: _Values) -> Billed | None:
    if not row["amount_value"].strip():
        return None  # a day without costs
    model, tier = openai.model_of(row["line_item"])
    day = values.day("start_time", "end_time")
    cost, currency = values.usd("amount_value", "amount_currency", day)
    return Billed(
        day=day,
        model=model,
        project=_text(row, "project_id"),
        api_key=_text(row, "api_key_id"),
        user=_text(row, "user_id"),
        tier=tier,
        item=row["line_item"] or "(costs without a line)",
        cost_usd=cost,
        currency=currency,
    )


def _if_there(row: Row, values: _Values, name: str) -> int | None:
    return values.count(name) if name in row else None


def _text(row: Row, name: str) -> str:
    return row.get(name, "").strip()
