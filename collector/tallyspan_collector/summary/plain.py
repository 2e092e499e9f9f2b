"""Values of the store -> what JSON and CSV carry without loss."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

Row = dict[str, Any]


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
