"""What ClickHouse answers -> columns and rows the page can draw, amounts exact."""

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_collector.summary import MAX_SECONDS, decimal_text

MAX_ROWS = 20_000
Parameters = Mapping[str, int | list[str]]
_KINDS = (
    (("Date",), "time"),
    (("Decimal",), "decimal"),
    (("Int", "UInt", "Float"), "number"),
)


def ask(client: Client, sql: str, parameters: Parameters) -> dict[str, Any]:
    """Return `columns` (name and kind: time, decimal, number, text), `rows` and `truncated`.

    Only parameters that the query names are sent. A time is milliseconds since 1970, a decimal its
    exact text. Raises ClickHouseError.
    """
    bound = {name: value for name, value in parameters.items() if f"{{{name}:" in sql}
    result = client.query(sql, parameters=bound, settings={"max_execution_time": MAX_SECONDS})
    kinds = [_kind(each.name) for each in result.column_types]
    rows = result.result_rows
    return {
        "columns": [
            {"name": name, "kind": kind}
            for name, kind in zip(result.column_names, kinds, strict=True)
        ],
        "rows": [[_plain(value) for value in row] for row in rows[:MAX_ROWS]],
        "truncated": len(rows) > MAX_ROWS,
    }


def _kind(type_name: str) -> str:
    inner = type_name.removeprefix("LowCardinality(").removeprefix("Nullable(")
    return next((kind for starts, kind in _KINDS if inner.startswith(starts)), "text")


def _plain(value: Any) -> Any:
    match value:
        case Decimal():
            return decimal_text(value)
        case datetime():
            return round(value.timestamp() * 1000)
        case date():
            return _plain(datetime(value.year, value.month, value.day, tzinfo=UTC))
        case float():
            return value if math.isfinite(value) else None
        case _:
            return value
