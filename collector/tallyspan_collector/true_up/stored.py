"""Bills in the store: every revision of every day, and which one holds."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of
from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_collector.access.account import account
from tallyspan_collector.booked.commitments import usd
from tallyspan_collector.true_up.due import Charge
from tallyspan_collector.true_up.scope import Scope

_LATEST = """
SELECT bill, day, argMax(revision, read_at), argMax(settings, read_at) FROM bill_days
WHERE day >= {first:Date} AND day <= {last:Date} GROUP BY bill, day
"""
_LINES = """
SELECT day, model_name, item, owner, billed_usd FROM bill_lines FINAL
WHERE bill = {bill:String} AND (day, revision) IN {revisions:Array(Tuple(Date, String))}
ORDER BY day, number
"""
_HEAD = "bill day revision read_at lines billed_usd source settings read_by"
_FIRST, _LAST = date(1970, 1, 1), date(2149, 6, 6)


class Head(NamedTuple):
    """Which revision of a bill holds for a day; an empty one: it was withdrawn."""

    bill: str
    day: date
    revision: str
    settings: str


class Days(NamedTuple):
    """Days of one bill and month, all of one scope, with their lines; a day may have none.

    `is_withdrawn`: no bill of them holds any more. `has_rest`: what is of no call and names no
    endpoint is on it, even if the bill is of some endpoints only.
    """

    scope: Scope
    days: Sequence[date]
    charges: Sequence[Charge]
    is_withdrawn: bool = False
    has_rest: bool = True


def write(client: Client, days: Days, source: str) -> None:
    """Keep the lines as the bill of the days; what was there stays as an earlier revision."""
    now, by_day = STORE_CLOCK.now(), defaultdict(list)
    for charge in days.charges:
        by_day[charge.day].append(charge)
    lines: list[list[object]] = []
    heads: list[list[object]] = []
    for day in days.days:
        charges = by_day[day]
        revision = hashlib.blake2b(repr(charges).encode(), digest_size=8).hexdigest()
        total = usd(sum(each.picousd for each in charges))
        heads.append([days.scope.bill, day, revision, now, len(charges), total, source,
                      days.scope.to_json(), account()])  # fmt: skip
        lines += [
            [days.scope.bill, day, revision, number, each.model, each.item, each.owner,
             usd(each.picousd), now]
            for number, each in enumerate(charges)
        ]  # fmt: skip
    _insert(client, "bill_lines", lines,
            "bill day revision number model_name item owner billed_usd read_at")  # fmt: skip
    _insert(client, "bill_days", heads, _HEAD)


def withdraw(client: Client, scope: Scope, days: Iterable[date]) -> None:
    """Say that no bill of the days holds any more."""
    now = STORE_CLOCK.now()
    rows = [[scope.bill, day, "", now, 0, 0, "", scope.to_json(), account()] for day in days]
    _insert(client, "bill_days", rows, _HEAD)


def heads(client: Client, first: date = _FIRST, last: date = _LAST) -> set[Head]:
    """Return which revision holds of every day a bill was ever kept of; raises as the store."""
    return {
        Head(str(bill), day, str(revision), str(settings))
        for bill, day, revision, settings in tuples_of(
            client, _LATEST, {"first": first, "last": last}
        )
    }


def days_of(client: Client, of_days: Iterable[Head], among: Iterable[Head]) -> list[Days]:
    """Return the days with their lines, by bill, month and scope. Raises what the store raises.

    `among`: the heads of all bills of these days.
    """
    everything = [*among]
    alike: dict[tuple[str, date, str, bool], list[Head]] = defaultdict(list)
    for each in sorted(of_days):
        month = each.day.replace(day=1)
        alike[each.bill, month, each.settings, not each.revision].append(each)
    result = []
    for (bill, _, settings, is_withdrawn), of_scope in sorted(alike.items()):
        revisions = [(each.day, each.revision) for each in of_scope]
        charges = () if is_withdrawn else _charges(client, bill, revisions)
        days = [each.day for each in of_scope]
        of_bill = Days(Scope.from_json(settings), days, charges, is_withdrawn)
        result += apart(of_bill, everything)
    return result


def apart(of_bill: Days, among: Iterable[Head]) -> list[Days]:
    """Return the days on which the bill has what names no endpoint, and those on which it has not.

    Of bills of one provider, each of some endpoints, it is the first by name that has it: what
    names none would otherwise be taken off every one of them.
    """
    scopes: dict[str, Scope] = {}
    taken = set()
    for each in among:
        if each.revision and each.bill < of_bill.scope.bill:
            scope = scopes.setdefault(each.settings, Scope.from_json(each.settings))
            if scope.is_of_provider_of(of_bill.scope):
                taken.add(each.day)
    result = []
    for has_rest in (True, False):
        days = [day for day in of_bill.days if (day in taken) != has_rest]
        charges = [each for each in of_bill.charges if (each.day in taken) != has_rest]
        if days:
            result.append(of_bill._replace(days=days, charges=charges, has_rest=has_rest))
    return result


def read(client: Client, first: date = _FIRST, last: date = _LAST) -> list[Days]:
    """Return the bills that hold, as `days_of` does. Raises what the store raises."""
    there = heads(client, first, last)
    return days_of(client, (each for each in there if each.revision), there)


def _charges(client: Client, bill: str, revisions: Sequence[tuple[date, str]]) -> Sequence[Charge]:
    rows = tuples_of(client, _LINES, {"bill": bill, "revisions": revisions})
    return [
        Charge(day, model, item, owner, int(cost.scaleb(12)))
        for day, model, item, owner, cost in rows
    ]


def _insert(client: Client, table: str, rows: Sequence[Sequence[object]], names: str) -> None:
    if rows:
        client.insert(table, rows, column_names=names.split(), settings={"async_insert": 0})
