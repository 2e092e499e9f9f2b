"""The directory as the store has it: read, and changed by an import."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import UTC, date, datetime
from typing import Any, Literal

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.query.access import EVERYTHING, Access
from tallyspan_clickhouse.query.filters import Filters, source
from tallyspan_collector.directory.period import Period, from_day

COLUMNS = tuple(field.name for field in fields(Period))
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """What an import does to one period; `before` is what it was, where it was."""

    kind: Literal["added", "changed", "removed"]
    period: Period
    before: Period | None = None


def stored(client: Client, user_id: str | None = None, tenant: str | None = None) -> list[Period]:
    """Return the periods of the directory, of one user or one tenant if named, in order."""
    where, parameters = ["NOT is_removed"], {}
    for name, value in (("user_id", user_id), ("tenant", tenant)):
        if value is not None:
            where.append(f"{name} = {{{name}:String}}")
            parameters[name] = value
    rows = client.query(
        f"SELECT {', '.join(COLUMNS)} FROM directory FINAL"  # noqa: S608  own names
        f" WHERE {' AND '.join(where)} ORDER BY tenant, user_id, valid_from",
        parameters=parameters,
    ).result_rows
    return [Period(*row) for row in rows]


def changes(
    new: Sequence[Period], existing: Iterable[Period], effective: date | None = None
) -> list[Change]:
    """Return the changes after which each person in `new` has these periods, and no others.

    With `effective` a period of `new` holds from that day on, and earlier days stay as they are.
    Persons who are not in `new` keep their periods.
    """
    before, wanted = _by_person(existing), _by_person(new)
    result: list[Change] = []
    for person, periods in wanted.items():
        old = before.get(person, [])
        if effective is not None:
            periods = from_day(periods[-1], old, effective)  # noqa: PLW2901  what it comes to
        was = {each.valid_from: each for each in old}
        now = {each.valid_from: each for each in periods}
        result += [Change("removed", each, each) for day, each in was.items() if day not in now]
        result += [Change("added", each) for day, each in now.items() if day not in was]
        result += [
            Change("changed", each, was[day])
            for day, each in now.items()
            if day in was and was[day] != each
        ]
    return sorted(result, key=lambda change: (change.period, change.kind))


def write(client: Client, batch: Sequence[Change], imported_by: str, imported_from: str) -> None:
    """Write the changes; collectors use them within seconds. Raises what the store raises."""
    if not batch:
        return
    version = [datetime.now(UTC), imported_by, imported_from, time.time_ns()]
    client.insert(
        "directory",
        [[*astuple(each.period), each.kind == "removed", *version] for each in batch],
        column_names=[
            *COLUMNS, "is_removed", "imported_at", "imported_by", "imported_from", "version",
        ],
        settings={"async_insert": 0},
    )  # fmt: skip


def unknown(client: Client, first: date, limit: int, access: Access = EVERYTHING) -> list[Row]:
    """Return users with calls since that day whom the directory does not have, dearest first."""
    text, parameters = source(
        "unknown_users", Filters(access=access), None, "c.day >= {first:Date}"
    )
    result = client.query(
        "SELECT user_id, tenant, argMax(c.reason, c.day) AS why, sum(c.calls) AS calls,"
        " sum(c.cost_usd) AS cost_usd, min(c.day) AS first_day, max(c.day) AS last_day"
        f" {text} GROUP BY user_id, tenant"
        " ORDER BY cost_usd DESC, calls DESC, user_id LIMIT {limit:UInt32}",
        parameters={**parameters, "first": first, "limit": limit},
    )
    return [row | {"why": row["why"].replace("_", " ")} for row in result.named_results()]


def _by_person(periods: Iterable[Period]) -> Mapping[tuple[str, str], list[Period]]:
    result: defaultdict[tuple[str, str], list[Period]] = defaultdict(list)
    for period in periods:
        result[period.person].append(period)
    return result


def details(periods: Iterable[Period]) -> Iterator[Row]:
    """Yield each period by its columns; days without an end as None."""
    for period in periods:
        row = dict(zip(COLUMNS, astuple(period), strict=True))
        yield row | {
            "valid_from": _shown(period.valid_from),
            "valid_to": _shown(period.valid_to),
        }


def _shown(day: date) -> str | None:
    return None if day.year in {1970, 2299} else day.isoformat()
