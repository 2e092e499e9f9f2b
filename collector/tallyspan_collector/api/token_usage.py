"""The two questions the admin API answers: which calls, and what they add up to."""

import functools
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread
from clickhouse_connect.driver.client import Client
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tallyspan_collector import summary
from tallyspan_collector.api.parameters import PERIOD, check_names, read_filters, read_limit
from tallyspan_collector.summary import ENTRY_FILTERS, SUMMARY_FILTERS, plain

ENTRIES_LIMIT, ENTRIES_MOST = 100, 1_000
SUMMARY_LIMIT = 1_000
NOT_STORED = {"Cache-Control": "no-store"}
# More at once would only wait for each other in the store.
THREADS = 4

T = TypeVar("T")


class TokenUsage:
    """Answers from the ledger; questions wait for ClickHouse in a thread, not in the loop."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._limiter = anyio.CapacityLimiter(THREADS)

    def routes(self) -> list[Route]:
        """Return the paths below the admin prefix."""
        return [
            Route("/token_usage", self.entries),
            Route("/token_usage/summary", self.summary),
        ]

    async def entries(self, request: Request) -> JSONResponse:
        """One page of calls, newest first."""
        query = request.query_params
        check_names(query, (*ENTRY_FILTERS, *PERIOD, "limit", "cursor"))
        limit = read_limit(query, ENTRIES_LIMIT, ENTRIES_MOST)
        rows, next_cursor = await self._in_thread(
            functools.partial(
                summary.entries,
                self._client,
                read_filters(query, ENTRY_FILTERS, request.state.departments),
                limit,
                query.get("cursor"),
            )
        )
        answer = {"entries": [plain(row) for row in rows], "next_cursor": next_cursor}
        return JSONResponse(answer, headers=NOT_STORED)

    async def summary(self, request: Request) -> JSONResponse:
        """Totals by group; `totals` is over all groups, also those beyond `limit`."""
        query = request.query_params
        check_names(query, (*SUMMARY_FILTERS, *PERIOD, "group_by", "order", "limit"))
        limit = read_limit(query, SUMMARY_LIMIT, summary.MAX_ROWS)
        filters = read_filters(query, SUMMARY_FILTERS, request.state.departments)
        groups = summary.check_groups(query.get("group_by", "user").split(","))
        order = query.get("order", "cost")
        rows = await self._in_thread(
            functools.partial(summary.summarise, self._client, filters, groups, order, limit + 1)
        )
        total = await self._in_thread(functools.partial(summary.totals, self._client, filters))
        answer = {
            "group_by": groups,
            "rows": [plain(row) for row in rows[:limit]],
            "totals": plain(total),
            "truncated": len(rows) > limit,
        }
        return JSONResponse(answer, headers=NOT_STORED)

    async def _in_thread(self, ask: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(ask, limiter=self._limiter)
