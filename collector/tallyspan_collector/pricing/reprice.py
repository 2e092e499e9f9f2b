"""New prices for calls that are booked: the difference as an entry, nothing is written over.

The new cost is compared with what the ledger says now, so a run that was broken off is simply run
again: what it has booked already differs no more.
"""

import hashlib
import json
import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, Literal

from clickhouse_connect.driver.client import Client

from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import Priced
from tallyspan_collector.pricing.region import region_of

BATCH_ENTRIES = 10_000
COSTS = ("cost_usd", "input_cost_usd", "output_cost_usd")
SETTINGS = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
}
_KEY = (
    "start_time",
    "tenant",
    "service_name",
    "user_id",
    "department",
    "agent_id",
    "conversation_id",
    "provider_name",
    "endpoint_id",
    "operation_name",
    "model_name",
    "trace_id",
    "span_id",
)
"""What the entries of one call have in common."""
_OF_THE_ENTRY = frozenset(
    {
        *_KEY,
        *COSTS,
        *TOKEN_FIELDS,
        "entry_kind",
        "sign",
        "reported_cost_usd",
        "claimed_cost_usd",
        "unpriced_calls",
        "unpriced_tokens",
        "batch_id",
        "ingested_at",
    }
)
LAST = "last_entry_at"
"""When the call's latest entry was booked."""
Row = dict[str, Any]


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
) -> Result:
    """Return what the book's prices change; with `is_applied` it is booked and audited.

    Calls whose cost the provider stated, or that were not billed, keep it; a call that has no
    price any more keeps the one it was booked with. Raises what the store raises.
    """
    result = Result()
    audit = _Audit(client, scope, changed_by, reason, kind)
    for day, until in _days(client, scope):
        batch: list[Change] = []
        for change in _changes(client, book, scope, day, until, result):
            result.add(change)
            batch.append(change)
            if is_applied and len(batch) >= BATCH_ENTRIES:
                audit.begin()
                _book(client, batch)
                batch = []
        if is_applied and batch:
            audit.begin()
            _book(client, batch)
    if is_applied and result.total.calls:
        audit.end(result)
    return result


def _days(client: Client, scope: Scope) -> Iterator[tuple[datetime, datetime]]:
    """Yield the days that have calls, cut to the scope: a day is what is held at once."""
    rows = client.query(
        "SELECT DISTINCT toDate(start_time) AS day FROM llm_calls"
        " WHERE start_time >= {start:DateTime64(6, 'UTC')}"
        " AND start_time < {end:DateTime64(6, 'UTC')} ORDER BY day",
        parameters={"start": scope.start, "end": scope.end},
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
        found = book.price(
            provider=row["provider_name"],
            endpoint_id=row["endpoint_id"],
            model=row["model_name"],
            at_ns=_ns(row["start_time"]),
            usage=Usage(**{name: row[name] for name in TOKEN_FIELDS}),
            service_tier=row["service_tier"],
            region=region_of(row["server_address"]),
            units=row["units"],
        )
        if not isinstance(found, Priced):
            result.without_price_calls += 1
        elif row["cost_status"] == "unpriced" or any(_differences(row, found).values()):
            yield Change(row, found)
        else:
            result.unchanged_calls += 1


def _calls(client: Client, scope: Scope, start: datetime, end: datetime) -> Iterator[Row]:
    copied = [name for name in _columns(client) if name not in _OF_THE_ENTRY]
    picked = ", ".join(
        f"argMaxIf(l.{name}, l.ingested_at, l.sign >= 0) AS {name}" for name in copied
    )
    sums = ", ".join(f"sum(l.{name}) AS {name}" for name in (*TOKEN_FIELDS, *COSTS))
    last = f"max(l.ingested_at) AS {LAST}"
    keys = ", ".join(f"l.{name} AS {name}" for name in _KEY)
    where = [
        "l.start_time >= {start:DateTime64(6, 'UTC')}",
        "l.start_time < {end:DateTime64(6, 'UTC')}",
    ]
    parameters: dict[str, Any] = {"start": start, "end": end}
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
    query = (  # names come from the table itself, what a person typed is bound
        f"SELECT {keys}, {picked}, {sums}, {last} FROM llm_calls AS l WHERE {' AND '.join(where)}"  # noqa: S608
        f" GROUP BY {', '.join('l.' + name for name in _KEY)}"
        " HAVING sum(l.sign) > 0"
        f" AND argMaxIf(l.cost_status, l.ingested_at, l.sign >= 0) IN {statuses}"
        " ORDER BY l.start_time, l.trace_id, l.span_id"
    )
    with client.query_row_block_stream(query, parameters=parameters) as blocks:
        names = blocks.source.column_names
        for block in blocks:
            for values in block:
                yield dict(zip(names, values, strict=True))


def _columns(client: Client) -> list[str]:
    rows = client.query(
        "SELECT name FROM system.columns WHERE database = currentDatabase()"
        " AND table = 'llm_calls' ORDER BY position"
    ).result_rows
    return [str(name) for (name,) in rows]


def _models(client: Client, pattern: str, start: datetime, end: datetime) -> list[str]:
    rows = client.query(
        "SELECT DISTINCT model_name FROM llm_calls WHERE start_time >= {start:DateTime64(6, 'UTC')}"
        " AND start_time < {end:DateTime64(6, 'UTC')}",
        parameters={"start": start, "end": end},
    ).result_rows
    return [str(name) for (name,) in rows if fnmatchcase(str(name).lower(), pattern.lower())]


def _differences(row: Mapping[str, Any], priced: Priced) -> dict[str, Decimal]:
    made = (priced.cost_picousd, priced.input_cost_picousd, priced.output_cost_picousd)
    return {name: _usd(pico) - (row[name] or 0) for name, pico in zip(COSTS, made, strict=True)}


def _book(client: Client, changes: Sequence[Change]) -> None:
    now = datetime.now(UTC)
    rows = [_entry(change, now) for change in changes]
    # With the entry each change comes after: prices may go to and fro, and each time counts.
    said = [
        (row["trace_id"], row["span_id"], row["price_id"], row["cost_usd"], change.row[LAST])
        for row, change in zip(rows, changes, strict=True)
    ]
    digest = hashlib.blake2b(repr(said).encode(), digest_size=16)
    for row in rows:
        row["batch_id"] = int.from_bytes(digest.digest()[:8])
    names = list(rows[0])
    client.insert(
        "llm_calls",
        [[row[name] for name in names] for row in rows],
        column_names=names,
        settings={**SETTINGS, "insert_deduplication_token": f"price:{digest.hexdigest()}"},
    )


def _entry(change: Change, now: datetime) -> Row:
    row = {name: value for name, value in change.row.items() if name != LAST}
    was_unpriced = row["cost_status"] == "unpriced" and not row["is_notional"]
    tokens = (row["input_tokens"] or 0) + (row["output_tokens"] or 0)
    return (
        row
        | dict.fromkeys(TOKEN_FIELDS)
        | _differences(row, change.priced)
        | {
            "entry_kind": "price_change",
            "sign": 0,
            "cost_status": "priced",
            "unpriced_reason": "",
            "price_id": change.priced.price_id,
            "price_source": change.priced.price_source,
            "reported_cost_usd": None,
            "claimed_cost_usd": None,
            "unpriced_calls": -1 if was_unpriced else 0,
            "unpriced_tokens": -tokens if was_unpriced else 0,
            "ingested_at": now,
        }
    )


class _Audit:
    """Writes of a run before its first entry that it began, and at the end what it did."""

    def __init__(
        self, client: Client, scope: Scope, changed_by: str, reason: str, kind: str
    ) -> None:
        where = {k: v for k, v in asdict(scope).items() if k not in {"start", "end"} and v}
        self._client = client
        self._has_begun = False
        self._row: Row = {
            "run_id": secrets.token_hex(8),
            "kind": kind,
            "started_at": datetime.now(UTC),
            "changed_by": changed_by,
            "reason": reason,
            "calls_from": scope.start,
            "calls_to": scope.end,
            "scope": json.dumps(where),
        }

    def begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._write({"state": "begun"})

    def end(self, result: Result) -> None:
        said = {
            "old_price_ids": sorted(result.old_price_ids),
            "new_price_ids": sorted(result.new_price_ids),
        }
        self._write({"state": "finished", **asdict(result.total), **said})

    def _write(self, said: Row) -> None:
        row = self._row | {"written_at": datetime.now(UTC)} | said
        self._client.insert(
            "price_changes",
            [list(row.values())],
            column_names=list(row),
            settings={"async_insert": 0},
        )


def _usd(picousd: int) -> Decimal:
    return Decimal(picousd).scaleb(-12)


def _ns(at: datetime) -> int:
    since = at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
