"""New prices for calls that are booked: the difference as an entry, nothing is written over.

The new cost is compared with what the ledger says now, so a run that was broken off is simply run
again: what it has booked already differs no more.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any, Literal

from clickhouse_connect.driver.client import Client

from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_clickhouse.ledger_lock import PATIENCE_SECONDS, ledger_lock
from tallyspan_collector.pricing import ledger
from tallyspan_collector.pricing.audit import Audit
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import COST_LIMIT, INCONSISTENT_USAGE, Priced, Unpriced
from tallyspan_collector.pricing.ledger import COSTS, Row
from tallyspan_collector.pricing.region import region_of

BATCH_ENTRIES = 10_000


@dataclass(frozen=True, slots=True)
class Scope:
    """Which calls: `start` included, `end` not; `model` may be a glob; empty: any."""

    start: datetime
    end: datetime
    model: str = ""
    provider: str = ""
    endpoint: str = ""
    department: str = ""
    only_unpriced: bool = False


@dataclass(slots=True)
class Total:
    """What a change comes to; costs in USD."""

    calls: int = 0
    newly_priced_calls: int = 0
    old_cost_usd: Decimal = Decimal(0)
    new_cost_usd: Decimal = Decimal(0)

    def add(self, change: "Change") -> None:
        """Add one call."""
        self.calls += 1
        self.newly_priced_calls += change.row["cost_status"] == "unpriced"
        self.old_cost_usd += change.row["cost_usd"] or 0
        self.new_cost_usd += _usd(change.priced.cost_picousd)


@dataclass(frozen=True, slots=True)
class Change:
    """One call as the ledger has it, and its new cost."""

    row: Row
    priced: Priced


@dataclass(slots=True)
class Result:
    """What a run did, or would do: by month and model, and the calls it left alone."""

    by_month_and_model: defaultdict[tuple[str, str], Total] = field(
        default_factory=lambda: defaultdict(Total)
    )
    total: Total = field(default_factory=Total)
    unchanged_calls: int = 0
    without_price_calls: int = 0
    old_price_ids: set[str] = field(default_factory=set)
    new_price_ids: set[str] = field(default_factory=set)

    def add(self, change: Change) -> None:
        """Add one call."""
        month = f"{change.row['start_time']:%Y-%m}"
        self.by_month_and_model[month, change.row["model_name"]].add(change)
        self.total.add(change)
        self.old_price_ids.add(change.row["price_id"])
        self.new_price_ids.add(change.priced.price_id)


def run(
    client: Client,
    book: PriceBook,
    scope: Scope,
    *,
    is_applied: bool,
    changed_by: str = "",
    reason: str = "",
    kind: Literal["reprice", "backfill"] = "reprice",
    patience_seconds: float = PATIENCE_SECONDS,
) -> Result:
    """Return what the book's prices change; with `is_applied` it is booked and audited.

    Calls whose cost the provider stated, or that were not billed, keep it; a call that has no
    price any more keeps the one it was booked with. One run at a time books, whichever machine it
    is on. Raises StoreError if another one still does after the patience, and what the store
    raises.
    """
    result = Result()
    if not is_applied:
        for day, until in _days(client, scope):
            for change in _changes(client, book, scope, day, until, result):
                result.add(change)
        return result
    audit = Audit(client, asdict(scope), changed_by, reason, kind)
    with ledger_lock(client, kind, patience_seconds) as held:
        for day, until in _days(client, scope):
            for batch in _batches(_changes(client, book, scope, day, until, result)):
                held.keep()
                audit.begin()
                for change in batch:
                    result.add(change)
                _book(client, batch)
            held.keep()
        if result.total.calls:
            audit.end(
                asdict(result.total)
                | {
                    "old_price_ids": sorted(result.old_price_ids),
                    "new_price_ids": sorted(result.new_price_ids),
                }
            )
    return result


def _batches(changes: Iterator[Change]) -> Iterator[list[Change]]:
    while batch := list(islice(changes, BATCH_ENTRIES)):
        yield batch


def _days(client: Client, scope: Scope) -> Iterator[tuple[datetime, datetime]]:
    """Yield the days that have calls, cut to the scope: a day is what is held at once."""
    rows = client.query(
        "SELECT DISTINCT toDate(start_time, 'UTC') AS day FROM llm_calls"  # noqa: S608  bound
        f" WHERE start_time >= {ledger.at('start')} AND start_time < {ledger.at('end')}"
        " ORDER BY day",
        parameters={"start": ledger.micros(scope.start), "end": ledger.micros(scope.end)},
    ).result_rows
    for (day,) in rows:
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        yield max(midnight, scope.start), min(midnight + timedelta(days=1), scope.end)


def _changes(
    client: Client,
    book: PriceBook,
    scope: Scope,
    start: datetime,
    end: datetime,
    result: Result,
) -> Iterator[Change]:
    for row in _calls(client, scope, start, end):
        found = priced_today(book, row)
        if not isinstance(found, Priced):
            result.without_price_calls += 1
        elif row["cost_status"] == "unpriced" or any(_differences(row, found).values()):
            yield Change(row, found)
        else:
            result.unchanged_calls += 1


def priced_today(book: PriceBook, row: Row) -> Priced | Unpriced:
    """Return what a booked call costs with the book, at its own time; or why not."""
    found = book.price(
        provider=row["provider_name"],
        endpoint_id=row["endpoint_id"],
        model=row["model_name"],
        at_ns=ledger.micros(row["start_time"]) * 1000,
        usage=Usage(**{name: row[name] for name in TOKEN_FIELDS}),
        service_tier=row["service_tier"],
        region=region_of(row["server_address"]),
        units=row["units"],
    )
    is_sound = isinstance(found, Unpriced) or found.cost_picousd < COST_LIMIT
    return found if is_sound else INCONSISTENT_USAGE


def _calls(client: Client, scope: Scope, start: datetime, end: datetime) -> Iterator[Row]:
    where = [
        f"l.start_time >= {ledger.at('start')}",
        f"l.start_time < {ledger.at('end')}",
    ]
    parameters: dict[str, Any] = {"start": ledger.micros(start), "end": ledger.micros(end)}
    filters = {
        "provider_name": scope.provider,
        "endpoint_id": scope.endpoint,
        "department": scope.department,
    }
    for name, value in filters.items():
        if value:
            where.append(f"l.{name} = {{{name}:String}}")
            parameters[name] = value
    if scope.model:
        where.append("l.model_name IN {models:Array(String)}")
        parameters["models"] = _models(client, scope.model, start, end)
    statuses = "('unpriced')" if scope.only_unpriced else "('unpriced', 'priced')"
    having = (
        f"sum(l.sign) > 0 AND argMaxIf(l.cost_status, l.ingested_at, l.sign >= 0) IN {statuses}"
    )
    return ledger.calls(client, " AND ".join(where), having, parameters)


def _models(client: Client, pattern: str, start: datetime, end: datetime) -> list[str]:
    rows = client.query(
        "SELECT DISTINCT model_name FROM llm_calls"  # noqa: S608  what is formatted in is bound
        f" WHERE start_time >= {ledger.at('start')}"
        f" AND start_time < {ledger.at('end')}",
        parameters={"start": ledger.micros(start), "end": ledger.micros(end)},
    ).result_rows
    return [str(name) for (name,) in rows if fnmatchcase(str(name).lower(), pattern.lower())]


def _differences(row: Mapping[str, Any], priced: Priced) -> dict[str, Decimal]:
    made = (priced.cost_picousd, priced.input_cost_picousd, priced.output_cost_picousd)
    return {name: _usd(pico) - (row[name] or 0) for name, pico in zip(COSTS, made, strict=True)}


def _book(client: Client, changes: Sequence[Change]) -> None:
    now = datetime.now(UTC)
    ledger.book(
        client,
        [_entry(change, now) for change in changes],
        [change.row[ledger.LAST] for change in changes],
    )


def _entry(change: Change, now: datetime) -> Row:
    row = change.row
    was_unpriced = row["cost_status"] == "unpriced" and not row["is_notional"]
    tokens = (row["input_tokens"] or 0) + (row["output_tokens"] or 0)
    return (
        ledger.change_of(row)
        | _differences(row, change.priced)
        | {
            "cost_status": "priced",
            "unpriced_reason": "",
            "price_id": change.priced.price_id,
            "price_source": change.priced.price_source,
            "unpriced_calls": -1 if was_unpriced else 0,
            "unpriced_tokens": -tokens if was_unpriced else 0,
            # Never before the entries it comes after: what a change belongs to goes by that.
            "ingested_at": max(now, row[ledger.LAST] + timedelta(milliseconds=1)),
        }
    )


def _usd(picousd: int) -> Decimal:
    return Decimal(picousd).scaleb(-12)
