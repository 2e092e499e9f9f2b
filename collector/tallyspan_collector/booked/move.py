"""Booked calls moved to the department the directory has now: by entries, not written over.

A call that is moved is taken back from its old department and booked to the new one, both entries
of the kind `correction`.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.moments import microseconds
from tallyspan_collector.booked import ledger
from tallyspan_collector.booked.ledger import LAST, Row
from tallyspan_collector.directory.lookup import Directory

SETTLED = timedelta(hours=13)
"""Calls booked later may still be reversed by their collector, from the department they had.

A trace is remembered for up to two of the resolver's windows after its last span.
"""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which calls: of these users (none: of all), on these days (UTC), both included.

    `with_named`: also those whose department came with the span itself.
    """

    users: tuple[str, ...]
    first: date
    last: date
    with_named: bool = False


@dataclass(slots=True)
class Total:
    """Calls that move, and their cost in USD."""

    calls: int = 0
    cost_usd: Decimal = Decimal(0)


@dataclass(slots=True)
class Result:
    """What a run did, or would do, by user, old and new department; and what it left alone."""

    moved: defaultdict[tuple[str, str, str], Total] = field(
        default_factory=lambda: defaultdict(Total)
    )
    total: Total = field(default_factory=Total)
    named_by_span: int = 0
    not_settled: int = 0
    not_in_directory: int = 0


class Move:
    """Calls whose user has another department in the directory; `now` is the time of the run."""

    name = "directory correct"
    audit_table = "directory_corrections"

    def __init__(self, directory: Directory, scope: Scope, now: datetime | None = None) -> None:
        self._directory = directory
        self._scope = scope
        self._settled_before = (now or datetime.now(UTC)) - SETTLED
        self.result = Result()

    def audit_scope(self) -> Mapping[str, Any]:
        """Return the columns of the audit that say which calls."""
        scope = self._scope
        return {"users": [*scope.users], "calls_from": scope.first, "calls_to": scope.last}

    def audit_totals(self) -> Mapping[str, Any]:
        """Return the columns of the audit that say what changed."""
        return asdict(self.result.total)

    def calls(self, client: Client) -> Iterator[Row]:
        """Yield the calls of the scope that have a user."""
        start = datetime.combine(self._scope.first, time(), UTC)
        end = datetime.combine(self._scope.last, time(), UTC) + timedelta(days=1)
        where, parameters = ["l.user_id != ''"], {}
        if self._scope.users:
            where.append("l.user_id IN {users:Array(String)}")
            parameters["users"] = [*self._scope.users]
        return ledger.calls_by_day(client, start, end, where, "sum(l.sign) > 0", parameters)

    def entries(self, call: Row) -> Sequence[Row]:
        """Return the two entries that move the call; none where it stays."""
        at_ns = microseconds(call["start_time"]) * 1_000
        department = self._directory.department(call["tenant"], call["user_id"], at_ns)
        result = self.result
        if not department:
            result.not_in_directory += 1
        elif department == call["department"]:
            pass
        elif call["department_source"] == "span" and not self._scope.with_named:
            result.named_by_span += 1
        elif call[LAST] > self._settled_before:
            result.not_settled += 1
        else:
            for total in (
                result.moved[call["user_id"], call["department"], department],
                result.total,
            ):
                total.calls += 1
                total.cost_usd += call["cost_usd"] or 0
            moved = {"department": department, "department_source": "directory"}
            return (
                ledger.entry(call, "correction", -1),
                ledger.entry(call, "correction", 1) | moved,
            )
        return ()
