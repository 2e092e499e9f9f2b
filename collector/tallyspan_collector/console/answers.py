"""What ClickHouse answers -> columns and rows the page can draw, amounts exact."""

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.query import QueryResult

from tallyspan_clickhouse.query.binding import MAX_ROWS
from tallyspan_collector.summary import MAX_SECONDS, decimal_text

MAX_FILE_ROWS = 1_000_000
Parameters = Mapping[str, int | str | list[str]]
_EVERY_ROW = 2**32 - 1
_KINDS = (
    (("Date",), "time"),
    (("Decimal",), "decimal"),
    (("Int", "UInt", "Float"), "number"),
)


def ask(
    client: Client, sql: str, parameters: Parameters, max_rows: int = MAX_ROWS
) -> dict[str, Any]:
    """Return `columns` (name and kind: time, decimal, number, text), `rows` and `total`.

    `total` is how many rows there are; `rows` has `max_rows` of them at most. Only parameters that
    the query names are sent. A time is milliseconds since 1970, a decimal its exact text. Raises
    ClickHouseError.
    """

    def query(text: str, most: int) -> QueryResult:
        every = {**parameters, "max_rows": most}
        bound = {name: value for name, value in every.items() if f"{{{name}:" in text}
        return client.query(text, parameters=bound, settings={"max_execution_time": MAX_SECONDS})

    result = query(sql, max_rows + 1)
    kinds = [_kind(each.name) for each in result.column_types]
    rows = result.result_rows
    total = len(rows)
    if total > max_rows:
        [(total,)] = query(f"SELECT count() FROM ({sql})", _EVERY_ROW).result_rows  # noqa: S608  of a page
    return {
        "columns": [
            {"name": name, "kind": kind}
            for name, kind in zip(result.column_names, kinds, strict=True)
        ],
        "rows": [[_plain(value) for value in row] for row in rows[:max_rows]],
        "total": total,
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
