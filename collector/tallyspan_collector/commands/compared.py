"""`tallyspan report --compare month`: a period so far against the same days of the one before."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import TextIO

from tallyspan_collector.commands.table import write_table
from tallyspan_collector.files.spreadsheet import write_rows
from tallyspan_collector.summary import Row, plain
from tallyspan_collector.summary.comparison import CHANGES, Running
from tallyspan_collector.units.money import dollars


def render(
    rows: Sequence[Row], total: Row, of: Running, group_by: Sequence[str], fmt: str, out: TextIO
) -> None:
    """Write the rows as table, json or csv; a table has the totals in its last line."""
    match fmt:
        case "json":
            answer = plain(asdict(of)) | {
                "rows": [plain(row) for row in rows],
                "totals": plain(total),
            }
            json.dump(answer, out, indent=2, ensure_ascii=False)
            out.write("\n")
        case "csv":
            write_rows([plain(row) for row in rows], (*group_by, *CHANGES), out)
        case _:
            last = dict.fromkeys(group_by, "-") | {group_by[0]: "total"} | total
            write_table([_shown(row, group_by) for row in (*rows, last)], out)


def days(of: Running) -> str:
    """Return which days are compared with which, as a sentence."""
    return (
        f"this {of.period} since {of.period_start}, against {of.before_start} to"
        f" {of.before_last_day} ({of.time_zone})"
    )


def _shown(row: Row, group_by: Sequence[str]) -> Row:
    unpriced = row["unpriced_calls"] + row["before_unpriced_calls"]
    change = row["change"]
    more = row["change_usd"]
    return {name: row[name] or "(none)" for name in group_by} | {
        "cost": dollars(row["cost_usd"] or Decimal(0)),
        "before": dollars(row["before_cost_usd"] or Decimal(0)),
        "change": ("+" if more > 0 else "") + dollars(more),
        "percent": "" if change is None else f"{change:+.1%}",
        "unpriced calls": unpriced or "",
    }
