"""Reports as they were read, in the store: every version of a day, and which one holds."""

import hashlib
import secrets
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of
from tallyspan_clickhouse.errors import StoreError
from tallyspan_collector.access.account import account
from tallyspan_collector.bills.billed import Billed
from tallyspan_collector.booked.commitments import usd
from tallyspan_collector.imports.matching import Matching
from tallyspan_collector.imports.report import amount_of, pico, usage_of

_LATEST = """
SELECT source, day, argMax(fetch_id, fetched_at) AS fetch_id,
    argMax(content_hash, fetched_at) AS content_hash, argMax(lines, fetched_at) AS count,
    argMax(settings, fetched_at) AS settings
FROM usage_report_days
{where}
GROUP BY source, day
"""
_LINES = """
SELECT {columns}
FROM usage_reports FINAL
WHERE source = {{source:String}} AND day = {{day:Date}} AND fetch_id = {{fetch_id:String}}
ORDER BY number
"""
_COLUMNS = (
    "provider", "model_name", "item", "service_tier", "service_name", "operation_name", "project",
    "api_key", "user_id", "conditions", "is_long_context", "usage", "cost_usd",
)  # fmt: skip
"""What a line has, in the order of `_values`."""
_TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")


class DayReport(NamedTuple):
    """The report of a day."""

    matching: Matching
    day: date
    fetch_id: str
    content_hash: str
    line_count: int
    """How many lines it has."""
    lines: Sequence[Billed] | None = None
    """None: they are in the store."""


def latest(
    client: Client, first: date | None = None, names: Collection[str] | None = None
) -> list[DayReport]:
    """Return the report that holds of each day since `first`, of all imports or those named."""
    conditions: list[str] = []
    parameters: dict[str, object] = {}
    if first is not None:
        conditions.append("day >= {first:Date}")
        parameters["first"] = first
    if names is not None:
        conditions.append("source IN {names:Array(String)}")
        parameters["names"] = list(names)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = tuples_of(client, _LATEST.format(where=where), parameters)
    return [
        DayReport(Matching.from_json(settings), day, str(fetch_id), str(digest), count)
        for _, day, fetch_id, digest, count, settings in sorted(rows)
    ]


def lines(client: Client, report: DayReport) -> list[Billed]:
    """Return the lines of a report.

    Raises StoreError while the store has not got all of them: on another server they come later.
    """
    if report.lines is not None:
        return list(report.lines)
    parameters = {
        "source": report.matching.name,
        "day": report.day,
        "fetch_id": report.fetch_id,
    }
    query = _LINES.format(columns=", ".join(_COLUMNS))
    rows = [*client.query(query, parameters=parameters).named_results()]
    if len(rows) != report.line_count:
        raise StoreError(
            f"the report of {report.day} for the import {report.matching.name} has"
            f" {report.line_count} lines, and the store {len(rows)} of them: try again later",
            retryable=True,
        )
    return [_line(report.day, row) for row in rows]


def store(
    client: Client,
    matching: Matching,
    days: Sequence[date],
    read: Iterable[Billed],
    now: datetime,
) -> list[DayReport]:
    """Keep what a report says of whole days; lines of other days are left out.

    A day of which it says the same again keeps its lines. The row that makes a report hold is
    written after its lines: what is broken off before that is no report.
    """
    by_day: dict[date, list[Billed]] = defaultdict(list)
    for line in read:
        by_day[line.day].append(line)
    before = {each.day: each for each in latest(client, min(days), [matching.name])} if days else {}
    by = account()
    rows: list[list[object]] = []
    held: list[DayReport] = []
    for day in days:
        kept = [each for each in by_day.get(day, ()) if not each.is_empty]
        content = sorted(repr(_values(each)) for each in kept)
        digest = hashlib.blake2b("\n".join(content).encode(), digest_size=16).hexdigest()
        old = before.get(day)
        fetch_id = old.fetch_id if old and old.content_hash == digest else secrets.token_hex(8)
        if not old or old.fetch_id != fetch_id:
            rows += [
                [matching.name, day, fetch_id, number, *_values(each), now]
                for number, each in enumerate(kept)
            ]
        held.append(DayReport(matching, day, fetch_id, digest, len(kept)))
    if rows:
        client.insert("usage_reports", rows, column_names=_REPORT_COLUMNS, settings=_AT_ONCE)
    client.insert(
        "usage_report_days",
        [
            [
                matching.name, each.day, each.fetch_id, now, each.content_hash,
                each.line_count, matching.to_json(), by,
            ]
            for each in held
        ],
        column_names=_DAY_COLUMNS,
        settings=_AT_ONCE,
    )  # fmt: skip
    return held


_AT_ONCE = {"async_insert": 0}
_DAY_COLUMNS = (
    "source", "day", "fetch_id", "fetched_at", "content_hash", "lines", "settings", "fetched_by",
)  # fmt: skip
_REPORT_COLUMNS = ("source", "day", "fetch_id", "number", *_COLUMNS, "fetched_at")


def _values(line: Billed) -> list[object]:
    """Return the `_COLUMNS` of a line."""
    usage = {meter: float(amount_of(meter, count)) for meter, count in usage_of(line).items()}
    return [
        line.provider, line.model, line.item, line.tier, line.service, line.operation,
        line.project, line.api_key, line.user, dict(line.conditions), line.is_long_context, usage,
        None if line.cost_usd is None else usd(pico(line.cost_usd)),
    ]  # fmt: skip


def _line(day: date, row: dict[str, Any]) -> Billed:
    usage = dict(row["usage"])
    counts = {name: int(usage.pop(name)) for name in (*_TOKENS, "requests") if name in usage}
    return Billed(
        day=day,
        provider=str(row["provider"]),
        model=str(row["model_name"]),
        item=str(row["item"]),
        tier=str(row["service_tier"]),
        operation=str(row["operation_name"]),
        project=str(row["project"]),
        api_key=str(row["api_key"]),
        user=str(row["user_id"]),
        service=str(row["service_name"]),
        is_long_context=bool(row["is_long_context"]),
        conditions=dict(row["conditions"]),
        cost_usd=row["cost_usd"],
        meters={meter: int(count) for meter, count in usage.items()},
        requests=counts.get("requests"),
        input_tokens=counts.get("input_tokens"),
        output_tokens=counts.get("output_tokens"),
        cache_read_tokens=counts.get("cache_read_tokens"),
        cache_write_tokens=counts.get("cache_write_tokens"),
    )
