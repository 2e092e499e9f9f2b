"""`tallyspan report --claimed`: the costs that emitters claim, compared with ours."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TextIO

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.query.filters import Filters, source
from tallyspan_collector.commands.table import write_table
from tallyspan_collector.files.spreadsheet import write_rows
from tallyspan_collector.summary import RequestError, plain

CLAIM_DIMENSIONS: Mapping[str, str] = {
    "emitter": "emitter",
    "provider": "provider_name",
    "model": "model_name",
    "day": "toString(day)",
    "tenant": "tenant",
}
DEFAULT_GROUPS = ("emitter", "model")
_AMOUNTS = ("claimed_cost_usd", "cost_usd", "difference_usd")
Row = dict[str, Any]


def compare(client: Client, group_by: Sequence[str], start: datetime) -> list[Row]:
    """Return a row for each group, the largest difference first: calls, both costs in USD, drift.

    `drift_percent` is the difference in percent of our cost, None where that is 0. Calls without a
    cost of ours are in `unpriced_calls` and in no amount. Raises RequestError for unknown groups.
    """
    unknown = [name for name in group_by if name not in CLAIM_DIMENSIONS]
    if unknown or not group_by:
        raise RequestError(
            f"--by {','.join(unknown)}: claimed costs are grouped by {', '.join(CLAIM_DIMENSIONS)}"
        )
    keys = ", ".join(f"{CLAIM_DIMENSIONS[name]} AS `{name}`" for name in group_by)
    names = ", ".join(f"`{name}`" for name in group_by)
    sums = ", ".join(
        f"sum(c.{name}) AS {name}"
        for name in ("calls", "unpriced_calls", "differing_calls", *_AMOUNTS)
    )
    text, parameters = source("claimed_costs", Filters(), None, "c.day >= {day:Date}")
    result = client.query(
        f"SELECT {keys}, {sums}, max(c.largest_difference_usd) AS largest_difference_usd"
        f" {text} GROUP BY {names} ORDER BY abs(difference_usd) DESC, {names}",
        parameters={**parameters, "day": start.date()},
    )
    return [
        row | {"drift_percent": _percent(row["difference_usd"], row["cost_usd"])}
        for row in result.named_results()
    ]


def _percent(difference: Decimal, ours: Decimal) -> Decimal | None:
    return (100 * difference / ours).quantize(Decimal("0.01")) if ours else None


def render(rows: Sequence[Row], fmt: str, out: TextIO) -> None:
    """Write the rows as table, json or csv; amounts are exact."""
    plain_rows = [plain(row) for row in rows]
    match fmt:
        case "json":
            json.dump({"rows": plain_rows}, out, indent=2, ensure_ascii=False)
            out.write("\n")
        case "csv":
            if rows:
                write_rows(plain_rows, list(rows[0]), out)
        case _ if rows:
            write_table([{name: _cell(row[name]) for name in row} for row in plain_rows], out)
        case _:
            out.write("no call claims a cost in this time\n")


def _cell(value: object) -> object:
    return "-" if value is None else value
