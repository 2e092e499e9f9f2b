"""What may be spent, and where it stands."""

import functools
from collections.abc import Callable
from datetime import date
from typing import Any

import anyio
import anyio.to_thread
from clickhouse_connect.driver.client import Client
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tallyspan_collector import budgets
from tallyspan_collector.api.parameters import check_names
from tallyspan_collector.summary import plain

NOT_STORED = {"Cache-Control": "no-store"}
THREADS = 2


class Budgets:
    """Answers from the views of the store; budgets are made with `tallyspan budgets set`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._limiter = anyio.CapacityLimiter(THREADS)

    def routes(self) -> list[Route]:
        """Return the paths below the admin prefix."""
        return [Route("/budgets", self.status), Route("/budgets/history", self.history)]

    async def status(self, request: Request) -> JSONResponse:
        """Every budget that holds today: spent, left, forecast and state, the most used first."""
        return await self._answer(request, budgets.status)

    async def history(self, request: Request) -> JSONResponse:
        """Every period of each budget, the latest first: amount, spent, used."""
        return await self._answer(request, budgets.periods)

    async def _answer(self, request: Request, ask: Callable[..., list[Any]]) -> JSONResponse:
        check_names(request.query_params, ())
        asked = functools.partial(ask, self._client, request.state.departments)
        rows = await anyio.to_thread.run_sync(asked, limiter=self._limiter)
        answer = {"budgets": [plain(_with_days(row)) for row in rows]}
        return JSONResponse(answer, headers=NOT_STORED)


def _with_days(row: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if type(value) is date else value for name, value in row.items()}
