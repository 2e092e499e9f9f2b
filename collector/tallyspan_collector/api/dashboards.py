"""The console's requests: the dashboards there are, and the figures of their panels."""

import asyncio
import functools
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import anyio.to_thread
import orjson
import structlog
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tallyspan_collector.api.store_failure import code_of, sentence_of
from tallyspan_collector.console import answers, macros, time_range
from tallyspan_collector.console.dashboards import Dashboard, bundled
from tallyspan_collector.console.questions import Question, questions
from tallyspan_collector.summary import RequestError

NOT_STORED = {"Cache-Control": "no-store"}
MAX_VALUES = 1_000
# More queries at once would wait for each other in the store.
THREADS = 6
log = structlog.get_logger()
_KEY = re.compile(r"k(?:[0-9A-F]{2})*", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Selection:
    """The range and the values of a page, and the departments the reader may see; none: all."""

    start: datetime
    end: datetime
    values: Mapping[str, Sequence[str]]
    departments: tuple[str, ...]


class Dashboards:
    """Runs the queries of the bundled dashboards, and no others."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._threads = anyio.CapacityLimiter(THREADS)

    def routes(self) -> list[Route]:
        """Return the paths below the admin prefix."""
        return [
            Route("/dashboards", self.list),
            Route("/dashboards/{uid}", self.dashboard),
            Route("/dashboards/{uid}/panels", self.panels),
            Route("/dashboards/{uid}/panels/{number:int}", self.panel),
            Route("/dashboards/{uid}/variables/{name}", self.variable),
        ]

    async def list(self, _: Request) -> Response:
        """Return uid and title of each dashboard."""
        listed = [{"uid": each.uid, "title": each.title} for each in bundled().values()]
        return JSONResponse({"dashboards": listed}, headers=NOT_STORED)

    async def dashboard(self, request: Request) -> Response:
        """Return the dashboard as JSON for Grafana."""
        text = _dashboard(request).text
        return Response(text, media_type="application/json", headers=NOT_STORED)

    async def panel(self, request: Request) -> Response:
        """Return the figures of a panel in the selected range."""
        dashboard = _dashboard(request)
        sql = dashboard.panels.get(request.path_params["number"])
        if sql is None:
            raise HTTPException(404, f"{dashboard.uid} has no such panel")
        return await self._answer(request, dashboard, sql)

    async def variable(self, request: Request) -> Response:
        """Return key and label of every value of a variable in the selected range."""
        dashboard = _dashboard(request)
        sql = dashboard.variables.get(request.path_params["name"])
        if sql is None:
            raise HTTPException(404, f"{dashboard.uid} has no such variable")
        return await self._answer(request, dashboard, sql)

    async def panels(self, request: Request) -> Response:
        """Return the figures of all panels, a line of JSON for each, as the store answers."""
        dashboard = _dashboard(request)
        selection = _selection(request, dashboard)

        async def lines() -> AsyncIterator[bytes]:
            tasks = [
                asyncio.create_task(self._lines(question, selection))
                for question in questions(dashboard)
            ]
            try:
                for done in asyncio.as_completed(tasks):
                    yield await done
            finally:  # a reader who left the page needs no more figures
                for task in tasks:
                    task.cancel()

        return StreamingResponse(lines(), media_type="application/x-ndjson", headers=NOT_STORED)

    async def _lines(self, question: Question, selection: _Selection) -> bytes:
        lines: list[dict[str, Any]]
        try:
            answer = await self._ask(question.sql, selection)
        except ClickHouseError as error:
            log.warning("console.store_failed", code=code_of(error), error=str(error)[:300])
            lines = [{"panel": panel, "error": sentence_of(error)} for panel in question.panels]
        else:
            lines = [{"panel": panel, "answer": part} for panel, part in question.answers(answer)]
        return b"".join(orjson.dumps(line) + b"\n" for line in lines)

    async def _answer(self, request: Request, dashboard: Dashboard, sql: str) -> JSONResponse:
        answer = await self._ask(sql, _selection(request, dashboard))
        return JSONResponse(answer, headers=NOT_STORED)

    async def _ask(self, sql: str, selection: _Selection) -> dict[str, Any]:
        text, parameters = macros.limit(
            *macros.bind(sql, selection.start, selection.end, selection.values),
            selection.departments,
        )
        ask = functools.partial(answers.ask, self._client, text, parameters)
        return await anyio.to_thread.run_sync(ask, limiter=self._threads)


def _selection(request: Request, dashboard: Dashboard) -> _Selection:
    query = request.query_params
    values = _values(query, tuple(dashboard.variables))
    start, end = time_range.read(
        query.get("from", dashboard.since), query.get("to", dashboard.until), datetime.now(UTC)
    )
    return _Selection(start, end, values, request.state.access.departments)


def _dashboard(request: Request) -> Dashboard:
    uid = request.path_params["uid"]
    result = bundled().get(uid)
    if result is None:
        uids = ", ".join(bundled())
        raise HTTPException(404, f"there is no dashboard {uid!r}; there are {uids}")
    return result


def _values(query: QueryParams, variables: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Return variable -> keys. Raises RequestError for an unknown variable or a wrong key."""
    allowed = ("from", "to", *(f"var-{name}" for name in variables))
    values: dict[str, list[str]] = {}
    for name, value in query.multi_items():
        if name not in allowed:
            raise RequestError(f"unknown parameter {name!r}: allowed are {', '.join(allowed)}")
        if name.startswith("var-"):
            if value != macros.ALL and not _KEY.fullmatch(value):
                raise RequestError(
                    f"{name} takes keys: 'k' and the name in hexadecimal, not {value[:40]!r}"
                )
            values.setdefault(name.removeprefix("var-"), []).append(value)
    if any(len(keys) > MAX_VALUES for keys in values.values()):
        raise RequestError(f"a variable takes {MAX_VALUES} values at most")
    return values
