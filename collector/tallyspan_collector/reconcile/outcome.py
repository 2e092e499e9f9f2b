"""A run of reconcile: kept in the store, written as table, JSON or CSV."""

import json
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, TextIO

from clickhouse_connect.driver.client import Client

from tallyspan_collector.access.account import account
from tallyspan_collector.files.spreadsheet import write_rows
from tallyspan_collector.reconcile.compare import TO_DO, Line, total
from tallyspan_collector.reconcile.runs import Run
from tallyspan_collector.units.counts import counted

COLUMNS = (
    "day",
    "model",
    "project",
    "recorded_calls",
    "billed_requests",
    "recorded_tokens",
    "billed_tokens",
    "token_drift_percent",
    "recorded_cost_usd",
    "billed_cost_usd",
    "cost_drift_percent",
    "reason",
    "detail",
    "to_do",
)
_NOT_SHOWN = {"recorded_calls", "billed_requests", "detail", "to_do"}
_TABLE = tuple(name for name in COLUMNS if name not in _NOT_SHOWN)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The lines of a run and what it was asked; `threshold` is a part of billed.

    `first` and `last` are the days that were compared.
    """

    provider: str
    source: str
    zone: str
    threshold: float
    lines: Sequence[Line]
    first: date
    last: date
    notes: Sequence[str] = ()
    run_id: str = field(default_factory=lambda: secrets.token_hex(8))
    run_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def is_within(self) -> bool:
        """Whether every line is within the threshold."""
        return all(line.is_within for line in self.lines)

    def store(self, client: Client, *, is_scheduled: bool = False) -> None:
        """Write lines and run to the store. Raises what the store raises."""
        run = Run(
            self.provider,
            self.source,
            self.first,
            self.last,
            is_scheduled,
            lines=len(self.lines),
            lines_off=sum(not line.is_within for line in self.lines),
            notes=self.notes,
            run_id=self.run_id,
            run_at=self.run_at,
        )
        rows = [*(self._kept(line, line.charge.value) for line in self.lines), *self._nothing()]
        client.insert(
            "reconciliation_lines",
            [list(row.values()) for row in rows],
            column_names=list(rows[0]),
            settings={"async_insert": 0},
        )
        run.store(client)

    def _nothing(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each day without a line: what an earlier run had of it holds no more."""
        there = {line.day for line in self.lines}
        for number in range((self.last - self.first).days + 1):
            day = self.first + timedelta(days=number)
            if day not in there:
                yield self._kept(Line(day, ""), "")

    def _kept(self, line: Line, charge: str) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "run_at": self.run_at,
            "run_by": account(),
            "provider": self.provider,
            "source": self.source,
            "zone": self.zone,
            "day": line.day,
            "model_name": line.model,
            "charge": charge,
            "project": line.project,
            "recorded_calls": line.recorded_calls,
            "billed_requests": line.billed_requests,
            "recorded_tokens": line.recorded_tokens,
            "billed_tokens": line.billed_tokens,
            "recorded_cost_usd": line.recorded_cost_usd,
            "billed_cost_usd": line.billed_cost_usd,
            "token_drift": line.token_drift,
            "cost_drift": line.cost_drift,
            "reason": line.reason.value if line.reason else "",
            "detail": line.detail,
            "threshold": self.threshold,
            "is_within": line.is_within,
        }

    def write(self, fmt: Literal["table", "json", "csv"], out: TextIO) -> None:
        """Write the lines; costs in USD, exact; what the bill does not say stays empty."""
        rows = [_row(line) for line in self.lines]
        summed = _row(total([line for line in self.lines if line.is_use])) | {"day": "total"}
        match fmt:
            case "json":
                answer = {
                    "run_id": self.run_id,
                    "provider": self.provider,
                    "source": self.source,
                    "zone": self.zone,
                    "threshold_percent": _percent(self.threshold),
                    "is_within": self.is_within,
                    "notes": list(self.notes),
                    "lines": rows,
                    "totals": {k: v for k, v in summed.items() if k not in _TEXTS},
                }
                json.dump(answer, out, indent=2, ensure_ascii=False)
                out.write("\n")
            case "csv":
                write_rows(rows, COLUMNS, out)
            case "table":
                self._write_table([*rows, summed], out)

    def _write_table(self, rows: Sequence[dict[str, Any]], out: TextIO) -> None:
        shown = [[_title(name) for name in _TABLE]]
        shown += [[_cell(row[name]) for name in _TABLE] for row in rows]
        widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
        for cells in shown:
            padded = [
                cell.rjust(width) if "tokens" in name or "usd" in name or "percent" in name
                else cell.ljust(width)
                for name, cell, width in zip(_TABLE, cells, widths, strict=False)
            ]  # fmt: skip
            out.write("  ".join(padded).rstrip() + "\n")
        out.writelines(f"{note}\n" for note in self.notes)
        off = [line for line in self.lines if not line.is_within]
        reasons = Counter((line.reason, line.detail) for line in off if line.reason)
        out.writelines(
            f"{reason} ({counted(count, 'line')}): {_cell(detail)}; {TO_DO[reason]}\n"
            for (reason, detail), count in reasons.most_common(20)
        )
        out.write(
            f"{len(off)} of {len(self.lines)} lines are off by more than"
            f" {_percent(self.threshold):g} %\n"
        )


_TEXTS = {"day", "model", "project", "reason", "detail", "to_do"}


def _row(line: Line) -> dict[str, Any]:
    billed = line.billed_cost_usd
    return {
        "day": line.day.isoformat(),
        "model": line.model,
        "project": line.project,
        "recorded_calls": line.recorded_calls,
        "billed_requests": line.billed_requests,
        "recorded_tokens": line.recorded_tokens,
        "billed_tokens": line.billed_tokens,
        "token_drift_percent": _percent(line.token_drift),
        "recorded_cost_usd": f"{line.recorded_cost_usd:f}",
        "billed_cost_usd": None if billed is None else f"{billed:f}",
        "cost_drift_percent": _percent(line.cost_drift),
        "reason": line.reason.value if line.reason else "",
        "detail": line.detail,
        "to_do": TO_DO[line.reason] if line.reason else "",
    }


def _percent(part: float | None) -> float | None:
    return None if part is None else round(part * 100, 4)


def _title(name: str) -> str:
    return name.replace("_percent", " %").replace("_usd", " USD").replace("_", " ")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:+.2f}"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(value))
