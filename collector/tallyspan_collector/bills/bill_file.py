"""A bill as a CSV file: the exports of the consoles of OpenAI and Anthropic, or your own columns.

Columns of our own: `day`, and any of `model`, `project`, `tier`, `item`, `requests`,
`input_tokens`, `output_tokens`, `cache_read_tokens`, `cache_write_tokens`, `cost_usd`.
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from tallyspan_collector.bills import openai
from tallyspan_collector.bills.billed import COUNTS, Billed
from tallyspan_collector.errors import ConfigError

Row = Mapping[str, str]
COLUMNS = ("day", "model", "project", "tier", "item", *COUNTS, "api_key", "user")


def read(path: Path, columns: Mapping[str, str]) -> Iterator[Billed]:
    """Yield the lines of the file; `columns` maps names of ours to those of the file.

    Raises `ConfigError` by file, line and column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file, delimiter=_delimiter(path, file.readline()))
            file.seek(0)
            names = [name.strip() for name in lines.fieldnames or []]
            lines.fieldnames = names
            make = _maker(path, names, columns)
            for row in lines:
                where = f"{path}:{lines.line_num}"
                if None in row or None in row.values():
                    raise ConfigError(f"{where}: has not as many columns as the first line")
                if any(value.strip() for value in row.values()):
                    line = make(row, _Values(where, row))
                    if line is not None:
                        yield line
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None


def _delimiter(path: Path, head: str) -> str:
    if not head.strip():
        raise ConfigError(f"{path}: is empty; the first line must name the columns")
    return max(",;\t", key=head.count)


class _Values:
    """Values of one line; every complaint has file, line and column."""

    def __init__(self, where: str, row: Row) -> None:
        self._where = where
        self._row = row

    def day(self, name: str) -> date:
        text = self._row[name].strip()
        try:
            if text.isdigit() and len(text) >= len("1000000000"):
                return datetime.fromtimestamp(int(text), UTC).date()
            return date.fromisoformat(text[:10])
        except (ValueError, OverflowError, OSError):
            raise ConfigError(
                f"{self._where}: {name}: must be a day like 2026-01-31; got {text!r}"
            ) from None

    def amount(self, name: str) -> Decimal | None:
        text = self._row[name].strip().removeprefix("$")
        if not text:
            return None
        try:
            value = Decimal(text)
        except InvalidOperation:
            value = Decimal("NaN")
        if not value.is_finite():
            raise ConfigError(
                f"{self._where}: {name}: must be a number with a point, such as 12.34;"
                f" got {self._row[name]!r}"
            )
        return value

    def count(self, name: str) -> int | None:
        value = self.amount(name)
        if value is not None and (value < 0 or value != value.to_integral_value()):
            raise ConfigError(
                f"{self._where}: {name}: must be a whole number; got {self._row[name]!r}"
            )
        return None if value is None else int(value)

    def total(self, *names: str) -> int:
        return sum(self.count(name) or 0 for name in names if name in self._row)

    def refuse(self, sentence: str) -> ConfigError:
        return ConfigError(f"{self._where}: {sentence}")


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
    if not set(COUNTS) & chosen.keys():
        raise ConfigError(
            f"{path}:1: no column with an amount: one of {', '.join(COUNTS)} is needed"
        )
    return lambda row, values: _own(row, values, chosen)


def _own(row: Row, values: _Values, chosen: Mapping[str, str]) -> Billed:
    def text(name: str) -> str:
        return row[chosen[name]].strip() if name in chosen else ""

    def count(name: str) -> int | None:
        return values.count(chosen[name]) if name in chosen else None

    return Billed(
        day=values.day(chosen["day"]),
        model=text("model"),
        project=text("project"),
        tier=text("tier"),
        item=text("item") or "(line without a model)",
        requests=count("requests"),
        input_tokens=count("input_tokens"),
        output_tokens=count("output_tokens"),
        cache_read_tokens=count("cache_read_tokens"),
        cache_write_tokens=count("cache_write_tokens"),
        cost_usd=values.amount(chosen["cost_usd"]) if "cost_usd" in chosen else None,
        api_key=text("api_key"),
        user=text("user"),
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
        day=values.day("start_time"),
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
    if row.get("amount_currency", "usd").strip().lower() not in {"", "usd"}:
        raise values.refuse(f"the bill is in {row['amount_currency']}: only USD can be compared")
    model, tier = openai.model_of(row["line_item"])
    return Billed(
        day=values.day("start_time"),
        model=model,
        project=_text(row, "project_id"),
        api_key=_text(row, "api_key_id"),
        user=_text(row, "user_id"),
        tier=tier,
        item=row["line_item"] or "(costs without a line)",
        cost_usd=values.amount("amount_value"),
    )


def _if_there(row: Row, values: _Values, name: str) -> int | None:
    return values.count(name) if name in row else None


def _text(row: Row, name: str) -> str:
    return row.get(name, "").strip()
