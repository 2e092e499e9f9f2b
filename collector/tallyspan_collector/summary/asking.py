"""A query -> its rows, within limits."""

from clickhouse_connect.driver.client import Client

from tallyspan_collector.summary.conditions import Parameters
from tallyspan_collector.summary.plain import Row

MAX_SECONDS = 30
# All that a reader's account may set; the API's client has more (`api/limits.py`).
LIMITS: dict[str, int | str] = {"max_execution_time": MAX_SECONDS}


def rows(client: Client, text: str, parameters: Parameters) -> list[Row]:
    """Return the rows as dicts. Raises what the driver raises."""
    result = client.query(text, parameters=parameters, settings=LIMITS)
    return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]
