"""A query -> its rows, within limits; values of the store -> what JSON and CSV can carry."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.query.filters import Parameters

Row = dict[str, Any]
MAX_SECONDS = 30
# All that a reader's account may set; the API's client has more (`api/limits.py`).
SETTINGS: dict[str, int | str] = {"max_execution_time": MAX_SECONDS}


def rows(client: Client, text: str, parameters: Parameters) -> list[Row]:
    """Return the rows as dicts. Raises what the driver raises."""
    result = client.query(text, parameters=parameters, settings=SETTINGS)
    return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]


def decimal_text(amount: Decimal) -> str:
    """Return the amount exactly, without exponent and without zeros at the end."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def plain(row: Mapping[str, Any]) -> Row:
    """Return the row as JSON can carry it: amounts as exact text, times as ISO 8601 with Z."""
    return {name: _plain_value(value) for name, value in row.items()}


def _plain_value(value: Any) -> Any:
    match value:
        case Decimal():
            return decimal_text(value)
        case datetime():
            return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case _:
            return value
