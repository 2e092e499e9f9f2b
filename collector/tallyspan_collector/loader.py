"""Spans -> calls -> prices -> one INSERT a batch. Who waits for `load` may acknowledge after it."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass

import structlog
from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.engine import one_line
from tallyspan_collector import entry
from tallyspan_collector.call import Call
from tallyspan_collector.dialects import otel_genai
from tallyspan_collector.errors import OverloadedError, StoreUnavailableError
from tallyspan_collector.metrics import Dropped, Metrics
from tallyspan_collector.otlp import Span
from tallyspan_collector.pricing.book import PriceBook

BATCH_CALLS = 20_000
BATCH_WAIT_SECONDS = 0.1
WAITING_CALLS_LIMIT = 200_000
SEEN_CALLS_LIMIT = 500_000
ATTEMPTS = 3
INSERT_SETTINGS = {"async_insert": 0, "insert_deduplicate": 1}
"""Stated with every insert: the defaults differ between ClickHouse versions."""

_log = structlog.get_logger()


@dataclass(slots=True)
class _Waiting:
    calls: list[Call]
    stored: asyncio.Future[None]


class Loader:
    """Groups what arrives into batches and inserts them, one at a time, in order."""

    def __init__(self, client: Client, book: PriceBook, metrics: Metrics) -> None:
        self._client = client
        self._book = book
        self._metrics = metrics
        self._queue: asyncio.Queue[_Waiting | None] = asyncio.Queue()
        self._waiting_calls = 0
        self._seen: OrderedDict[str, None] = OrderedDict()
        self.last_error = ""

    async def load(self, spans: list[Span]) -> None:
        """Return once every call among the spans is in the ledger.

        Raises `OverloadedError` if too much is waiting, `StoreUnavailableError` if the store
        refused: nothing of the request is acknowledged then and the sender tries again.
        """
        self._metrics.received(len(spans))
        calls = [call for span in spans if (call := otel_genai.read(span)) is not None]
        self._metrics.dropped(Dropped.NOT_A_CALL, len(spans) - len(calls))
        if not calls:
            return
        if self._waiting_calls + len(calls) > WAITING_CALLS_LIMIT:
            raise OverloadedError(f"{self._waiting_calls} calls are waiting for the store")
        self._waiting_calls += len(calls)
        try:
            waiting = _Waiting(calls, asyncio.get_running_loop().create_future())
            self._queue.put_nowait(waiting)
            await waiting.stored
        finally:
            self._waiting_calls -= len(calls)

    async def run(self) -> None:
        """Insert batches until `stop`; what was queued before it is still inserted."""
        while (first := await self._queue.get()) is not None:
            group = [first]
            await asyncio.sleep(BATCH_WAIT_SECONDS)
            calls = len(first.calls)
            is_last = False
            while not self._queue.empty() and calls < BATCH_CALLS:
                following = self._queue.get_nowait()
                if following is None:
                    is_last = True
                    break
                group.append(following)
                calls += len(following.calls)
            await self._store(group)
            if is_last:
                return

    def stop(self) -> None:
        """Let `run` end once all that is queued is in the ledger."""
        self._queue.put_nowait(None)

    async def _store(self, group: list[_Waiting]) -> None:
        fresh: dict[str, Call] = {}
        arrived = 0
        for waiting in group:
            for call in waiting.calls:
                arrived += 1
                key = call.trace_id + call.span_id
                if key not in self._seen:
                    fresh.setdefault(key, call)
        failure: StoreUnavailableError | None = None
        try:
            if fresh:
                await asyncio.to_thread(self._insert, list(fresh.values()))
        except StoreUnavailableError as error:
            failure = error
        else:
            self._remember(fresh)
            self._metrics.dropped(Dropped.DUPLICATE, arrived - len(fresh))
        self.last_error = str(failure or "")
        for waiting in group:
            if waiting.stored.done():
                continue  # the sender went away; its calls were stored or will be sent again
            if failure is None:
                waiting.stored.set_result(None)
            else:
                waiting.stored.set_exception(failure)

    def _remember(self, keys: dict[str, Call]) -> None:
        self._seen.update(dict.fromkeys(keys))
        while len(self._seen) > SEEN_CALLS_LIMIT:
            self._seen.popitem(last=False)

    def _insert(self, calls: list[Call]) -> None:
        costs = [entry.cost(call, self._book) for call in calls]
        batch = "".join(call.trace_id + call.span_id for call in calls)
        digest = hashlib.blake2b(batch.encode(), digest_size=16)
        batch_id = int.from_bytes(digest.digest()[:8])
        columns = entry.columns(calls, costs, batch_id, time.time_ns() // 1_000_000)
        for attempt in range(1, ATTEMPTS + 1):
            started = time.perf_counter()
            try:
                self._client.insert(
                    "llm_calls",
                    list(columns.values()),
                    column_names=list(columns),
                    column_oriented=True,
                    settings={**INSERT_SETTINGS, "insert_deduplication_token": digest.hexdigest()},
                )
            except Exception as error:
                self._metrics.insert_failed()
                reason = one_line(error)
                _log.warning("insert.failed", attempt=attempt, error=reason)
                if attempt == ATTEMPTS:
                    raise StoreUnavailableError(
                        f"the store did not take the batch: {reason}"
                    ) from error
                time.sleep(0.2 * attempt)
            else:
                self._metrics.inserted(time.perf_counter() - started)
                break
        for cost in costs:
            self._metrics.stored(str(cost["cost_status"]))
