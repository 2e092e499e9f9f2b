"""The summary as table, JSON or CSV."""

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Literal, TextIO

from tallyspan_collector.commands.table import aligned, width
from tallyspan_collector.files.spreadsheet import write_rows
from tallyspan_collector.summary import MEASURES, Row, plain
from tallyspan_collector.summary.bills import in_one_line
from tallyspan_collector.units.counts import counted
from tallyspan_collector.units.money import dollars
from tallyspan_collector.units.text import printable

Format = Literal["table", "json", "csv"]
TABLE_MEASURES = ("calls", "input_tokens", "output_tokens", "total_tokens")
IN_CURRENCY = "cost_in_currency"
EXTRAS = (IN_CURRENCY, "cost_usd_as_of_today", "difference_usd", "newly_priced_calls")
"""Measures of rows with a currency, or with the prices of today."""


def render(
    rows: Sequence[Row],
    group_by: Sequence[str],
    fmt: Format,
    out: TextIO,
    totals: Row | None = None,
    currency: str = "",
    billed_usd: Decimal | None = None,
) -> None:
    """Write the summary to `out`; without `totals` the sums of the rows are shown.

    `currency` is that of `cost_in_currency`, if the rows have it; `billed_usd` what bills say of
    the same days.
    """
    total = add_up(rows) if totals is None else totals
    match fmt:
        case "json":
            answer = {"rows": [plain(row) for row in rows], "totals": plain(total)}
            json.dump(answer, out, indent=2, ensure_ascii=False)
            out.write("\n")
        case "csv":
            extras = [name for name in EXTRAS if name in total]
            write_rows(map(plain, rows), (*group_by, *MEASURES, *extras), out)
        case "table":
            out.write(_table(rows, group_by, total, currency, billed_usd))


def add_up(rows: Iterable[Row]) -> Row:
    """Return the sums of MEASURES over the rows; None where every row has None."""
    kept = list(rows)
    total: Row = {}
    for name in MEASURES:
        counts = [row[name] for row in kept if row[name] is not None]
        total[name] = sum(counts) if counts or name.endswith("calls") or name == "errors" else None
    for name in EXTRAS:
        if kept and name in kept[0]:
            counts = [row[name] for row in kept if row[name] is not None]
            # A sum in a currency that lacks some rows would be wrong.
            is_whole = name != IN_CURRENCY or len(counts) == sum(
                row["cost_usd"] is not None for row in kept
            )
            total[name] = sum(counts) if counts and is_whole else None
    return total


def cost_text(row: Row) -> str:
    """Return the cost and the number of calls without a price: `$0.0123 + 2 unpriced`."""
    unpriced = f"{row['unpriced_calls']:,} unpriced"
    if row["cost_usd"] is None:
        return unpriced if row["unpriced_calls"] else "not billed"
    notional = f" ({dollars(row['notional_cost_usd'])} notional)" if row["notional_calls"] else ""
    return dollars(row["cost_usd"]) + (f" + {unpriced}" if row["unpriced_calls"] else "") + notional


def _table(
    rows: Sequence[Row],
    group_by: Sequence[str],
    total: Row,
    currency: str,
    billed_usd: Decimal | None,
) -> str:
    extras = [
        title
        for name, title in ((IN_CURRENCY, currency), ("difference_usd", "as of today"))
        if name in total
    ]
    if "difference_usd" in total:
        extras.append("difference")
    measures = (name.removesuffix("_tokens") for name in TABLE_MEASURES)
    lines = [[*group_by, *measures, "cost", *extras]]
    lines += [
        [*(printable(row[name]) or "(none)" for name in group_by), *_figures(row), *_extras(row)]
        for row in rows
    ]
    lines.append(["total", *[""] * (len(group_by) - 1), *_figures(total), *_extras(total)])
    head, *body, foot = aligned(lines, len(group_by))
    rule = "-" * max(map(width, (head, *body, foot)))
    return "\n".join(
        [head, rule, *body, rule, foot, *_notes(total), *_billed(total, billed_usd), ""]
    )


def _figures(row: Row) -> list[str]:
    counts = ("unknown" if row[name] is None else f"{row[name]:,}" for name in TABLE_MEASURES)
    return [*counts, cost_text(row)]


def _extras(row: Row) -> list[str]:
    cells = []
    if IN_CURRENCY in row:
        amount = row[IN_CURRENCY]
        cells.append("-" if amount is None else dollars(amount).replace("$", ""))
    if "difference_usd" in row:
        today, difference = row["cost_usd_as_of_today"], row["difference_usd"] or Decimal(0)
        cells.append("unpriced" if today is None else dollars(today))
        cells.append(("+" if difference > 0 else "") + dollars(difference))
    return cells


def _notes(total: Row) -> list[str]:
    notes = []
    if total["estimated_calls"]:
        notes.append(f"{counted(total['estimated_calls'], 'call')} with estimated token counts")
    if total["unknown_usage_calls"]:
        notes.append(f"{counted(total['unknown_usage_calls'], 'call')} with unknown token counts")
    if saved := total["cache_saved_usd"]:
        amount = dollars(abs(saved))
        what = f"saved {amount} against the price of input"
        notes.append(f"caches {what if saved > 0 else f'cost {amount} more than they saved'}")
    if total["notional_calls"]:
        calls = counted(total["notional_calls"], "call")
        notes.append(f"{calls} paid by a subscription or a commitment: notional, not billed")
    committed = [
        f"{dollars(total[f'{kind}_cost_usd'])} {kind}"
        for kind in ("commitment", "plan", "unused", "imported")
        if total[f"{kind}_cost_usd"]
    ]
    if committed:
        use = dollars(total["use_cost_usd"] or Decimal(0))
        notes.append(f"of the cost {use} use, {', '.join(committed)}")
    return notes


def _billed(total: Row, billed_usd: Decimal | None) -> list[str]:
    """Return in one line what is recorded, trued up and billed; nothing where no bill is known."""
    true_up, prior = total["true_up_cost_usd"], total["prior_period_cost_usd"]
    if not (true_up or prior or billed_usd):
        return []
    return [in_one_line(total["cost_usd"] or Decimal(0), true_up, prior, billed_usd)]
