"""Remainders of reports in the ledger: the difference to what is booked is booked.

So it may be done again at any time: a report that changed, late calls and another price move what
is booked of a day, and nothing is booked twice.
"""

import json
import secrets
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_clickhouse.ledger_lock import PATIENCE_SECONDS
from tallyspan_clickhouse.moments import microseconds, sql_moment
from tallyspan_clickhouse.schema import IMPORTED
from tallyspan_collector.booked import ledger, of_no_call
from tallyspan_collector.booked.commitments import midnight
from tallyspan_collector.booked.ledger import COUNT
from tallyspan_collector.booked.of_no_call import OWNER, parts_of
from tallyspan_collector.booked.run import run
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.imports import recorded, reports
from tallyspan_collector.imports.entries import (
    COSTS,
    SUMMED,
    Amounts,
    Columns,
    Due,
    columns_of,
    due_of,
    named,
    trace_of,
)
from tallyspan_collector.imports.lines import DayLine, lines_of, write
from tallyspan_collector.imports.pricing import Cost, Pricing
from tallyspan_collector.imports.remainder import remainders
from tallyspan_collector.imports.report import rows
from tallyspan_collector.imports.reports import DayReport
from tallyspan_collector.pricing.book import PriceBook

NOTHING = Amounts({}, {})
_DAYS_AROUND = timedelta(days=2)
_ONE_DAY = timedelta(days=1)


@dataclass(slots=True)
class Result:
    """What a run booked, or would book: the lines of its days and how many owners change."""

    lines: list[DayLine] = field(default_factory=list)
    changes: int = 0
    old_cost_usd: Decimal = Decimal(0)
    new_cost_usd: Decimal = Decimal(0)

    def add(self, other: "Result") -> None:
        """Add what another run booked."""
        self.lines += other.lines
        self.changes += other.changes
        self.old_cost_usd += other.old_cost_usd
        self.new_cost_usd += other.new_cost_usd


class Imported:
    """The difference between the remainders of some days of one import and what is booked."""

    name = IMPORTED
    audit_table = "price_changes"

    def __init__(
        self,
        days: Sequence[DayReport],
        earlier: Collection[str],
        book: PriceBook,
        directory: Directory,
    ) -> None:
        self._days = sorted(days, key=lambda each: each.day)
        self._earlier = earlier
        self._book = book
        self._directory = directory
        self.result = Result()

    def audit_scope(self) -> Mapping[str, Any]:
        """Return the columns of the audit that say which days."""
        return {
            "kind": IMPORTED,
            "calls_from": midnight(self._days[0].day),
            "calls_to": midnight(self._days[-1].day + _ONE_DAY),
            "scope": json.dumps({"import": self._days[0].matching.name, "days": len(self._days)}),
        }

    def audit_totals(self) -> Mapping[str, Any]:
        """Return the columns of the audit that say what changed."""
        return {
            "old_cost_usd": self.result.old_cost_usd,
            "new_cost_usd": self.result.new_cost_usd,
        }

    def calls(self, client: Client) -> Iterator[ledger.Row]:
        """Yield the owners whose amounts change, each with the difference."""
        for report in self._days:
            due = self._due(client, report)
            booked = _booked(client, report)
            for span_id in sorted({*due, *booked}):
                owner, before, count = booked.get(span_id, ({}, NOTHING, 0))
                new = due.get(span_id) or Due(owner, NOTHING, columns_of(Cost(0)))
                self.result.old_cost_usd += before.cost_usd
                self.result.new_cost_usd += new.amounts.cost_usd
                difference = new.amounts.plus(before, -1)
                if not difference.is_nothing:
                    self.result.changes += 1
                    yield {"due": new, "difference": difference, COUNT: count}

    def entries(self, call: ledger.Row) -> Sequence[ledger.Row]:
        """Return the difference as entries: one, or several where the cost is too large for one."""
        due: Due = call["due"]
        difference: Amounts = call["difference"]
        sums: Columns = {name: difference.sums.get(name) for name in SUMMED}
        sums["unpriced_tokens"] = sums["unpriced_tokens"] or 0
        parts = parts_of(difference.cost_usd)
        if len(parts) > 1:  # nor do its parts fit
            sums |= dict.fromkeys(COSTS) | {"cost_usd": parts[0]}
        elif due.columns["cost_status"] != "unpriced":
            sums["cost_usd"] = parts[0]
        columns = due.owner | due.columns | sums | {"meters": dict(difference.meters)}
        first = ledger.entry_of_no_call(IMPORTED, columns)
        nothing = dict.fromkeys(SUMMED) | {"unpriced_tokens": 0, "meters": {}}
        return [first, *(first | nothing | {"cost_usd": part} for part in parts[1:])]

    def _due(self, client: Client, report: DayReport) -> dict[bytes, Due]:
        matching = report.matching
        pricing = Pricing(self._book, matching.endpoint, matching.noon(report.day))
        lines = reports.lines(client, report)
        reported = [
            named(row, matching.names)
            for row in rows(
                lines,
                matching.of.provider,
                pricing.of_row,
                has_all_costs=matching.of.has_all_costs,
            )
        ]
        by_user = any(row.user for row in reported)
        # counted before they are read: what comes in between is read again later
        around = report.day - _ONE_DAY, report.day + _ONE_DAY
        entries = recorded.entries_of(
            matching, report.day, recorded.entries_by_day(client, *around)
        )
        spans = recorded.read(client, matching, report.day, self._earlier, by_user=by_user)
        left = remainders(reported, spans, pricing.of_row)
        due: dict[bytes, Due] = {}
        for each in left:
            if each.is_empty:
                continue
            new = due_of(matching, report.day, each, pricing, self._directory)
            key = new.owner["span_id"]
            old = due.get(key)
            due[key] = new._replace(amounts=new.amounts.plus(old.amounts)) if old else new
        self.result.lines += lines_of(report, reported, spans, left, pricing, entries)
        return due


def book(
    client: Client,
    days: Sequence[DayReport],
    prices: PriceBook,
    directory: Directory,
    *,
    is_applied: bool = True,
    changed_by: str = "tallyspan",
    reason: str = "provider-side usage",
    patience_seconds: float = PATIENCE_SECONDS,
) -> Result:
    """Book what is left of the days, and what other imports of the same use then leave of them.

    Raises StoreError if other changes are being booked for longer than `patience_seconds`, and
    what the store raises.
    """
    result = Result()
    for held, earlier in _in_order(client, days):
        now, run_id = STORE_CLOCK.now(), secrets.token_hex(8)
        kind = Imported(held, earlier, prices, directory)
        run(
            client,
            kind,
            is_applied=is_applied,
            changed_by=changed_by,
            reason=f"{reason}: {held[0].matching.name}",
            patience_seconds=patience_seconds,
        )
        if is_applied:
            write(client, run_id, now, kind.result.lines)
        result.add(kind.result)
    return result


def _in_order(client: Client, days: Sequence[DayReport]) -> list[tuple[list[DayReport], list[str]]]:
    """Return the days by import, each with the imports whose entries count as recorded there.

    An import whose report has the use of another one again is booked after it, for the same days.
    """
    wanted = {(each.matching.name, each.day): each for each in days}
    if not wanted:
        return []
    there = reports.latest(client, min(each.day for each in days) - _ONE_DAY)
    matchings = {each.matching.name: each.matching for each in (*there, *days)}
    touched = {(each.matching.name, each.day + n * _ONE_DAY) for each in days for n in (-1, 0, 1)}
    for each in there:
        if any(
            matchings[name].is_within(each.matching) and day == each.day for name, day in touched
        ):
            wanted.setdefault((each.matching.name, each.day), each)
    by_name: dict[str, list[DayReport]] = defaultdict(list)
    for each in wanted.values():
        by_name[each.matching.name].append(each)
    order = sorted(by_name, key=lambda name: (not matchings[name].of.also_in, name))
    return [
        (
            by_name[name],
            [each.label for each in matchings.values() if each.is_within(matchings[name])],
        )
        for name in order
    ]


def _booked(client: Client, report: DayReport) -> dict[bytes, tuple[Columns, Amounts, int]]:
    """Return the owners that the ledger has of the day: who, how much, how many entries."""
    at = report.matching.noon(report.day)
    where = (
        f"l.start_time >= {sql_moment('start')} AND l.start_time < {sql_moment('stop')}"
        " AND l.trace_id = {trace_id:String}"
    )
    parameters = {
        "start": microseconds(at - _DAYS_AROUND),
        "stop": microseconds(at + _DAYS_AROUND),
        "trace_id": trace_of(report.matching, report.day).decode(),
    }
    return {
        bytes(row["span_id"]): (
            {name: row[name] for name in OWNER},
            Amounts.of(row, row["units"]),
            row[COUNT],
        )
        for row in of_no_call.rows(client, IMPORTED, where, parameters, SUMMED)
    }
