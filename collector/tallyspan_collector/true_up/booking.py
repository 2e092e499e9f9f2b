"""True-up in the ledger: the difference between what is due of bills and what is booked."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.moments import microseconds, sql_moment
from tallyspan_clickhouse.schema import TRUE_UP
from tallyspan_collector.booked.commitments import NOON, midnight, usd
from tallyspan_collector.booked.ledger import Row
from tallyspan_collector.booked.of_no_call import (
    Booked,
    booked_costs,
    cost_entries,
    differences,
    hex_id,
    identified,
)
from tallyspan_collector.true_up import recorded
from tallyspan_collector.true_up.due import Due, Line, due, lines
from tallyspan_collector.true_up.scope import EDGE, Scope
from tallyspan_collector.true_up.stored import Days

_ONE_DAY = timedelta(days=1)


@dataclass(slots=True)
class Result:
    """What a run booked, or would book: both sides of each line, to whom, how many owners change.

    `old_cost_usd` and `new_cost_usd` are the true-up of the days before and after it.
    """

    lines: list[Line] = field(default_factory=list)
    due: list[Due] = field(default_factory=list)
    changes: int = 0
    old_cost_usd: Decimal = Decimal(0)
    new_cost_usd: Decimal = Decimal(0)

    @property
    def recorded_usd(self) -> Decimal:
        """Return what the ledger has without bills, in USD."""
        return usd(sum(line.recorded for line in self.lines))

    @property
    def billed_usd(self) -> Decimal:
        """Return what the bills say, in USD."""
        return usd(sum(line.billed for line in self.lines))


class TrueUp:
    """Days of bills made equal; days that are withdrawn have no true-up any more.

    `read_bills` is called when the changes are: in a run that books, that is under its lock. So no
    run books a bill that another one has replaced meanwhile.
    """

    name = TRUE_UP
    audit_table = "price_changes"

    def __init__(self, read_bills: Callable[[Client], Sequence[Days]]) -> None:
        self._read_bills = read_bills
        self._bills: Sequence[Days] = ()
        self.result = Result()

    def audit_scope(self) -> Mapping[str, Any]:
        """Return the columns of the audit that say which days."""
        days = [day for each in self._bills for day in each.days]
        scope = {"bills": sorted({each.scope.bill for each in self._bills}), "days": len(days)}
        if withdrawn := {each.scope.bill for each in self._bills if each.is_withdrawn}:
            scope["withdrawn"] = sorted(withdrawn)
        return {
            "kind": TRUE_UP,
            "calls_from": midnight(min(days)),
            "calls_to": midnight(max(days) + _ONE_DAY),
            "scope": json.dumps(scope),
        }

    def audit_totals(self) -> Mapping[str, Any]:
        """Return the columns of the audit that say what changed."""
        return {
            "old_cost_usd": self.result.old_cost_usd,
            "new_cost_usd": self.result.new_cost_usd,
        }

    def calls(self, client: Client) -> Iterator[Row]:
        """Yield the owners whose true-up changes, each with the difference."""
        self._bills = self._read_bills(client)
        for each in self._bills:
            wanted = {} if each.is_withdrawn else _due_of(client, each, self.result)
            yield from self._changes(client, each, wanted)

    def entries(self, call: Row) -> Sequence[Row]:
        """Return the difference as entries."""
        return cost_entries(TRUE_UP, call["owner"], call["cost_usd"])

    def _changes(self, client: Client, bill: Days, wanted: Mapping[bytes, Booked]) -> Iterator[Row]:
        booked = _booked(client, bill.scope, bill.days)
        self.result.old_cost_usd += sum(each.cost_usd for each in booked.values())
        self.result.new_cost_usd += sum(each.cost_usd for each in wanted.values())
        for change in differences(wanted, booked):
            self.result.changes += 1
            yield change


def _due_of(client: Client, bill: Days, result: Result) -> dict[bytes, Booked]:
    scope, days = bill.scope, {*bill.days}
    there = [
        each
        for each in recorded.read(client, scope, min(days), max(days), has_rest=bill.has_rest)
        if each.day in days
    ]
    of_bill = lines(scope, bill.charges, there)
    parts = due(scope, of_bill, there)
    result.lines += of_bill
    result.due += parts
    wanted: dict[bytes, Booked] = {}
    for part in parts:
        owner = _owner(scope, part)
        wanted[owner["span_id"]] = Booked(owner, usd(part.picousd), 0)
    return wanted


def _owner(scope: Scope, part: Due) -> Row:
    line, payer = part.line, part.payer
    tags = {"bill": scope.bill, "item": line.item, "owner": line.owner}
    return identified(
        {
            # Of UTC, as months are: noon of the islands far in the east is of the day before.
            "start_time": datetime.combine(line.day, NOON),
            "tenant": payer.tenant,
            "department": payer.department,
            "department_source": payer.department_source,
            "source": scope.label,
            "provider_name": part.provider,
            "endpoint_id": "" if "*" in scope.endpoint else scope.endpoint,
            "model_name": line.model,
            "tags": {name: text for name, text in tags.items() if text},
            "trace_id": _trace_of(scope, line.day),
        }
    )


def _booked(client: Client, scope: Scope, days: Sequence[date]) -> dict[bytes, Booked]:
    traces = [_trace_of(scope, day).decode() for day in days]
    start, stop = (midnight(day) for day in (min(days), max(days)))
    where = (
        f"l.start_time >= {sql_moment('start')} AND l.start_time < {sql_moment('stop')}"
        " AND toString(l.trace_id) IN {traces:Array(String)}"
    )
    parameters = {
        "start": microseconds(start - EDGE),
        "stop": microseconds(stop + EDGE),
        "traces": traces,
    }
    return booked_costs(client, TRUE_UP, where, parameters)


def _trace_of(scope: Scope, day: date) -> bytes:
    return hex_id(16, TRUE_UP, scope.bill, day.isoformat())
