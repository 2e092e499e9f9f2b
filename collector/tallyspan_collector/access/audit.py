"""The audit of the admin API: who sent which request. Written to the store in batches."""

import asyncio
import re
import secrets
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, fields
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import structlog
from clickhouse_connect.driver.client import Client
from prometheus_client import CollectorRegistry, Counter

from tallyspan_clickhouse.engine import one_line
from tallyspan_clickhouse.moments import milliseconds
from tallyspan_collector.access.keys import PREFIXES
from tallyspan_collector.units.threads import in_thread

WRITE_SECONDS = 1.0
MAX_WAITING = 50_000
REFUSAL_SECONDS = 60
MAX_ADDRESSES = 10_000
_BATCH = 5_000
_SECRET = re.compile(rf"({'|'.join(PREFIXES.values())}|eyJ|sk-)[A-Za-z0-9._~+/=-]{{8,}}")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the admin API, `at` in aware UTC; text that looks like a key is masked."""

    key_id: str
    key_name: str
    role: str
    client: str
    method: str
    path: str
    query: str
    status: int
    rows: int
    duration_ms: int
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: int = field(default_factory=lambda: secrets.randbits(63))

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", _clean(self.path, 500))
        object.__setattr__(self, "query", _clean(self.query, 2_000))


COLUMNS = tuple(each.name for each in fields(Request))


def _clean(text: str, max_characters: int) -> str:
    return _SECRET.sub(r"\1***", text)[:max_characters]


class AuditLog:
    """Keeps requests until they are in the store; more than MAX_WAITING push out the oldest."""

    def __init__(self, client: Client, metrics: CollectorRegistry) -> None:
        self._client = client
        self._dropped = Counter(
            "tallyspan_audit_dropped",
            "Requests to the admin API that are missing in api_audit",
            registry=metrics,
        )
        self._repeated = Counter(
            "tallyspan_audit_refusals_repeated",
            "Refused requests without a key that are no row of api_audit: their address has one of"
            " that minute",
            registry=metrics,
        )
        self._refused: dict[str, datetime] = {}
        self._waiting: deque[Request] = deque()
        self._writing = threading.Lock()
        self._task: asyncio.Task[None] | None = None

    def note(self, request: Request) -> None:
        """Keep the request for the next batch; returns at once.

        Of requests refused for their key, one a minute and address: a row is kept for 400 days,
        and whoever guesses makes a thousand a second.
        """
        if request.status == HTTPStatus.UNAUTHORIZED and self._has_row(request):
            self._repeated.inc()
            return
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self._dropped.inc()
        self._waiting.append(request)

    def _has_row(self, request: Request) -> bool:
        last = self._refused.get(request.client)
        if last is not None and (request.at - last).total_seconds() < REFUSAL_SECONDS:
            return True
        if len(self._refused) >= MAX_ADDRESSES:
            self._refused.clear()
        self._refused[request.client] = request.at
        return False

    def start(self) -> None:
        """Write every WRITE_SECONDS."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write the waiting requests, and end."""
        if self._task is not None:
            self._task.cancel()
            await self._try()

    def write(self) -> None:
        """Write the waiting requests. If the store raises, they stay for the next time."""
        with self._writing:
            while batch := [self._waiting[n] for n in range(min(len(self._waiting), _BATCH))]:
                self._client.insert(
                    "api_audit", [astuple(each) for each in batch], column_names=COLUMNS
                )
                for each in batch:
                    # Requests that came meanwhile may have pushed the oldest out.
                    if self._waiting and self._waiting[0] is each:
                        self._waiting.popleft()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            await self._try()

    async def _try(self) -> None:
        try:
            await in_thread(self.write)
        except Exception as error:  # noqa: BLE001  the store is away: it is written later
            _log.warning("audit.not_written", error=one_line(error), waiting=len(self._waiting))


def read(
    client: Client,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    key_name: str | None = None,
    status: int | None = None,
    before: tuple[int, int] | None = None,
    max_rows: int = 100,
) -> list[dict[str, Any]]:
    """Return requests, newest first, from behind `before`: milliseconds since 1970, and id."""
    conditions: Mapping[str, tuple[str, Any]] = {
        "start": ("at >= fromUnixTimestamp64Milli({start:Int64}, 'UTC')", _milliseconds(start)),
        "end": ("at < fromUnixTimestamp64Milli({end:Int64}, 'UTC')", _milliseconds(end)),
        "key_name": ("key_name = {key_name:String}", key_name),
        "status": ("status = {status:UInt16}", status),
    }
    where = ["true", *(text for text, value in conditions.values() if value is not None)]
    parameters = {name: value for name, (_, value) in conditions.items() if value is not None}
    if before is not None:
        where.append("(at, id) < (fromUnixTimestamp64Milli({at:Int64}, 'UTC'), {id:UInt64})")
        parameters |= {"at": before[0], "id": before[1]}
    result = client.query(
        f"SELECT {', '.join(COLUMNS)} FROM api_audit WHERE {' AND '.join(where)}"  # noqa: S608  closed
        " ORDER BY at DESC, id DESC LIMIT {limit:UInt32}",
        parameters=parameters | {"limit": max_rows},
        settings={"max_execution_time": 30},
    )
    return [row | {"at": row["at"].replace(tzinfo=UTC)} for row in result.named_results()]


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else milliseconds(moment)
