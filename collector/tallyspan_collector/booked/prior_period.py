"""Closed months stay what they were closed with: what changes in them is moved to an open one.

Whatever is booked into a closed month (late calls, calls that are taken back, new prices, bills) is
taken out of it by entries of the kind `prior_period`, and booked by others in the first month after
it that is open. Both say which: `closed_month` where it is booked, `booked_in` where it is taken
out. When a month is opened again, what was moved is moved back.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of
from tallyspan_clickhouse.moments import microseconds
from tallyspan_clickhouse.schema import PRIOR_PERIOD
from tallyspan_collector.booked.commitments import NOON, midnight
from tallyspan_collector.booked.imports import gone_until
from tallyspan_collector.booked.ledger import COUNT, Row
from tallyspan_collector.booked.of_no_call import (
    Booked,
    booked_costs,
    cost_entries,
    hex_id,
    identified,
)
from tallyspan_collector.units.months import next_month

CLOSED_MONTH, BOOKED_IN = "closed_month", "booked_in"
PLACE = (
    "tenant", "department", "user_id", "agent_id", "model_name", "provider_name", "endpoint_id",
    "service_name",
)  # fmt: skip
"""What a closed month is kept by, beside the cost centre."""
_MONTHS = "SELECT month, state FROM months ORDER BY month"
_CLOSED = """
SELECT month, {place}, sum(cost_usd) AS cost FROM closed_months
WHERE month IN {{months:Array(Date)}} GROUP BY month, {place} HAVING cost != 0
"""
_LIVE = """
SELECT toStartOfMonth(day) AS month, {place}, sum(ifNull(cost_usd, 0)) AS cost
FROM usage_by_conversation
WHERE day >= {{first:Date}} AND day < {{stop:Date}}
    AND toStartOfMonth(day) IN {{months:Array(Date)}}
GROUP BY month, {place} HAVING cost != 0
"""
# All of them stand at noon of the first or the last day of a month.
_BOOKED = (
    "l.start_time IN arrayMap(at -> fromUnixTimestamp64Micro(at, 'UTC'), {noons:Array(Int64)})"
)
_NOTHING = Decimal(0)
_ONE_DAY = timedelta(days=1)


class Moved(NamedTuple):
    """What is moved of one place from a closed month to another."""

    month: date
    to: date
    place: tuple[str, ...]


@dataclass(slots=True)
class Result:
    """How much was moved out of closed months, or back into opened ones, by month in USD."""

    by_month: defaultdict[date, Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    @property
    def changes(self) -> int:
        """Return how many months had something to move."""
        return len(self.by_month)


class PriorPeriod:
    """Moves what changed in closed months, or back into opened ones.

    `looked_at`: the months in which anything can have been booked; None: any of them.
    """

    name = PRIOR_PERIOD
    audit_table = "price_changes"

    def __init__(self, looked_at: Collection[date] | None = None) -> None:
        self._looked_at = looked_at
        self._months: dict[date, str] = {}
        self.result = Result()

    def audit_scope(self) -> Mapping[str, Any]:
        """Return the columns of the audit that say which months."""
        first = min(self._months, default=date(1970, 1, 1))
        last = max(self._months, default=first)
        return {
            "kind": PRIOR_PERIOD,
            "calls_from": midnight(first),
            "calls_to": midnight(next_month(last)),
            "scope": json.dumps({"months": [f"{month:%Y-%m}" for month in self._months]}),
        }

    def audit_totals(self) -> Mapping[str, Any]:
        """Return the columns of the audit that say how much was moved into open months."""
        return {"new_cost_usd": sum(self.result.by_month.values(), _NOTHING)}

    def calls(self, client: Client) -> Iterator[Row]:
        """Yield the owners whose amount changes, each with the difference."""
        states = {month: str(state) for month, state in tuples_of(client, _MONTHS)}
        if not states:
            return
        # Of a month whose entries are gone in part, nobody can tell what was booked in it.
        gone = gone_until(client)
        self._months = {
            month: state for month, state in states.items() if gone is None or month > gone
        }
        closed = {month for month, state in self._months.items() if state == "closed"}
        looked_at = self._months.keys() & set(
            self._months if self._looked_at is None else self._looked_at
        )
        if not looked_at:
            return
        noons = {"noons": _noons(min(self._months), max(self._months))}
        booked = booked_costs(client, PRIOR_PERIOD, _BOOKED, noons)
        moved = _moved(booked)
        # Of the other closed months only what is moved here changes: nothing of it is read.
        live = _sums(client, _LIVE, looked_at & closed)
        frozen = _sums(client, _CLOSED, looked_at & closed)
        for month in sorted(self._months):  # what one moves into the next is moved on from there
            wanted = dict[Moved, Decimal]()
            if month in closed:
                to = open_after(month, closed)
                wanted = _wanted(month, to, live[month], frozen[month], moved)
            of_month = {each for each in moved if each.month == month}
            for each in sorted({*wanted, *of_month}):
                amount = wanted.get(each, _NOTHING)
                for is_out in (True, False):
                    owner = _owner(each, is_out=is_out)
                    there = booked.get(owner["span_id"], Booked(owner, _NOTHING, 0))
                    difference = (-amount if is_out else amount) - there.cost_usd
                    if not difference:
                        continue
                    live[month if is_out else each.to][each.place] += difference
                    if not is_out:
                        self.result.by_month[month] += difference
                    yield {"owner": owner, "cost_usd": difference, COUNT: there.entries}

    def entries(self, call: Row) -> Sequence[Row]:
        """Return the difference as entries."""
        return cost_entries(PRIOR_PERIOD, call["owner"], call["cost_usd"])


def notes(client: Client, first: date, last: date) -> list[str]:
    """Return a sentence for each closed month that has a day from the first to the last."""
    closed = {month for month, state in tuples_of(client, _MONTHS) if state == "closed"}
    return [
        f"{month:%Y-%m} is closed: what changes in it is booked in"
        f" {open_after(month, closed):%Y-%m}"
        for month in sorted(closed)
        if month <= last and first < next_month(month)
    ]


def open_after(month: date, closed: set[date]) -> date:
    """Return the first month after it that is not closed."""
    month = next_month(month)
    while month in closed:
        month = next_month(month)
    return month


_Sums = defaultdict[date, defaultdict[tuple[str, ...], Decimal]]


def _wanted(
    month: date,
    to: date,
    live: Mapping[tuple[str, ...], Decimal],
    frozen: Mapping[tuple[str, ...], Decimal],
    moved: Mapping[Moved, Decimal],
) -> dict[Moved, Decimal]:
    """Return what is to be moved of the month in all; what is booked where stays there."""
    wanted = {each: cost for each, cost in moved.items() if each.month == month}
    for place in live.keys() | frozen.keys():
        # What is still to be moved, beside what was: that is in `live` already.
        left = live.get(place, _NOTHING) - frozen.get(place, _NOTHING)
        if left:
            here = Moved(month, to, place)
            wanted[here] = wanted.get(here, _NOTHING) + left
    return wanted


def _owner(moved: Moved, *, is_out: bool) -> Row:
    if is_out:
        day, tags = next_month(moved.month) - _ONE_DAY, {BOOKED_IN: f"{moved.to:%Y-%m}"}
    else:
        day, tags = moved.to, {CLOSED_MONTH: f"{moved.month:%Y-%m}"}
    return identified(
        {
            "start_time": datetime.combine(day, NOON),
            **dict(zip(PLACE, moved.place, strict=True)),
            "tags": tags,
            "trace_id": hex_id(16, PRIOR_PERIOD, f"{moved.month:%Y-%m}"),
        }
    )


def _moved(booked: Mapping[bytes, Booked]) -> dict[Moved, Decimal]:
    """Return what was moved, by what was taken out; of a run that broke off, that came first."""
    moved: dict[Moved, Decimal] = {}
    for each in booked.values():
        tags, day = each.owner["tags"], each.owner["start_time"].date()
        place = tuple(str(each.owner[name]) for name in PLACE)
        if BOOKED_IN in tags:
            here = Moved(day.replace(day=1), _month(tags[BOOKED_IN]), place)
            moved[here] = moved.get(here, _NOTHING) - each.cost_usd
        else:
            here = Moved(_month(tags[CLOSED_MONTH]), day, place)
            moved.setdefault(here, _NOTHING)
    return moved


def _month(text: str) -> date:
    return date.fromisoformat(f"{text}-01")


def _noons(first: date, last: date) -> list[int]:
    """Return noon of the first and last day of each month, and of the first one after them.

    In microseconds since 1970.
    """
    months = [first]
    while months[-1] <= last:
        months.append(next_month(months[-1]))
    days = {day for month in months for day in (month, next_month(month) - _ONE_DAY)}
    return [microseconds(datetime.combine(day, NOON)) for day in sorted(days)]


def _sums(client: Client, query: str, months: Collection[date]) -> _Sums:
    sums: _Sums = defaultdict(lambda: defaultdict(Decimal))
    if months:
        bounds = {"first": min(months), "stop": next_month(max(months)), "months": sorted(months)}
        text = query.format(place=", ".join(PLACE))
        for month, *names, cost in tuples_of(client, text, bounds):
            sums[month][tuple(map(str, names))] += cost
    return sums
