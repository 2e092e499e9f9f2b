"""What the console asks: which pages there are, and the figures of one panel."""

import asyncio
import functools
import re
from collections.abc import AsyncIterator, Sequence
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

from tallyspan_clickhouse.engine import one_line
from tallyspan_clickhouse.query.access import Access
from tallyspan_clickhouse.query.binding import MAX_ROWS
from tallyspan_collector.api.store_failure import code_of, sentence_of
from tallyspan_collector.console import answers, time_range
from tallyspan_collector.console.dashboards import Dashboard, Question, bundled
from tallyspan_collector.summary import RequestError

ALL = "$__all"
NOT_STORED = {"Cache-Control": "no-store"}
MAX_VALUES = 1_000
# More at once would only wait for each other in the store.
THREADS = 6
log = structlog.get_logger()
_KEY = re.compile(r"k((?:[0-9A-F]{2})*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Query:
    """What the reader wants of a page, and what they may see."""

    parameters: answers.Parameters
    is_limited: bool


class Dashboards:
    """Runs the queries of the pages this package brings, and no others."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._limiter = anyio.CapacityLimiter(THREADS)

    def routes(self) -> list[Route]:
        """Return the paths below the admin prefix."""
        return [
            Route("/dashboards", self.list),
            Route("/dashboards/{uid}", self.dashboard),
            Route("/dashboards/{uid}/panels", self.panels),
            Route("/dashboards/{uid}/panels/{number:int}", self.panel),
            Route("/dashboards/{uid}/variables/{name}", self.variable),
        ]

    async def list(self, request: Request) -> Response:
        """Return uid and title of each page, and whose key it is and what it is limited to."""
        pages = [{"uid": each.uid, "title": each.title} for each in bundled().values()]
        access: Access = request.state.access
        reader = {
            "name": request.state.key_name,
            "departments": access.departments,
            "tenants": access.tenants,
        }
        return JSONResponse({"dashboards": pages, "reader": reader}, headers=NOT_STORED)

    async def dashboard(self, request: Request) -> Response:
        """Return what there is to draw: title, variables, panels."""
        text = _dashboard(request).text
        return Response(text, media_type="application/json", headers=NOT_STORED)

    async def panel(self, request: Request) -> Response:
        """Return the figures of a panel in a range; with `rows=all` as many as a file takes."""
        dashboard, number = _dashboard(request), request.path_params["number"]
        query = _query(request, dashboard, "rows")
        max_rows = MAX_ROWS
        if "rows" in request.query_params:
            if request.query_params["rows"] != "all":
                raise RequestError("rows must be all, or left out")
            max_rows = answers.MAX_FILE_ROWS
        for question in dashboard.questions:
            if number in question.panels:
                answer = await self._ask(question, query, max_rows)
                return JSONResponse(dict(question.answers(answer))[number], headers=NOT_STORED)
        raise HTTPException(404, f"{dashboard.uid} has no such panel")

    async def variable(self, request: Request) -> Response:
        """Return key and label of what there is to choose in a range, and has `contains` in it."""
        dashboard = _dashboard(request)
        question = dashboard.variables.get(request.path_params["name"])
        if question is None:
            raise HTTPException(404, f"{dashboard.uid} has no such variable")
        query = _query(request, dashboard, "contains")
        answer = await self._ask(question, query)
        return JSONResponse(answer, headers=NOT_STORED)

    async def panels(self, request: Request) -> Response:
        """Return the figures of all panels: a line of JSON each, as they come from the store."""
        dashboard = _dashboard(request)
        query = _query(request, dashboard)

        async def lines() -> AsyncIterator[bytes]:
            tasks = [
                asyncio.create_task(self._lines(question, query))
                for question in dashboard.questions
            ]
            try:
                for done in asyncio.as_completed(tasks):
                    yield await done
            finally:  # who has left the page waits for nothing more
                for task in tasks:
                    task.cancel()

        return StreamingResponse(lines(), media_type="application/x-ndjson", headers=NOT_STORED)

    async def _lines(self, question: Question, query: _Query) -> bytes:
        try:
            answer = await self._ask(question, query)
        except ClickHouseError as error:
            log.warning("console.store_failed", code=code_of(error), error=one_line(error)[:300])
            lines: list[dict[str, Any]] = [
                {"panel": panel, "error": sentence_of(error)} for panel in question.panels
            ]
        else:
            lines = [{"panel": panel, "answer": part} for panel, part in question.answers(answer)]
        return b"".join(orjson.dumps(line) + b"\n" for line in lines)

    async def _ask(
        self, question: Question, query: _Query, max_rows: int = MAX_ROWS
    ) -> dict[str, Any]:
        sql = question.text(query.parameters, is_limited=query.is_limited)
        ask = functools.partial(answers.ask, self._client, sql, query.parameters, max_rows)
        return await anyio.to_thread.run_sync(ask, limiter=self._limiter)


def _query(request: Request, dashboard: Dashboard, *more: str) -> _Query:
    """Return what to bind; `more` are parameters allowed beside range and choices.

    Raises RequestError for a range or a choice that is none.
    """
    params = request.query_params
    chosen = _chosen(params, tuple(dashboard.variables), more)
    start, end = time_range.read(
        params.get("from", dashboard.since), params.get("to", dashboard.until), datetime.now(UTC)
    )
    access: Access = request.state.access
    # Whole seconds, as Grafana's plugin cuts them.
    seconds = {"from_s": int(start.timestamp()), "to_s": int(end.timestamp())}
    text = {"contains": params.get("contains", "")}
    return _Query({**seconds, **chosen, **text, **access.parameters()}, access.is_limited)


def _dashboard(request: Request) -> Dashboard:
    uid = request.path_params["uid"]
    dashboard = bundled().get(uid)
    if dashboard is None:
        raise HTTPException(404, f"there is no dashboard {uid!r}; there are {', '.join(bundled())}")
    return dashboard


def _chosen(
    params: QueryParams, variables: Sequence[str], more: Sequence[str]
) -> dict[str, list[str]]:
    """Return the names chosen for each variable; none is All, or nothing where one is to be chosen.

    Raises RequestError for what is neither a variable nor a key.
    """
    allowed = ("from", "to", *more, *(f"var-{name}" for name in variables))
    keys: dict[str, list[str]] = {name: [] for name in variables}
    for name, value in params.multi_items():
        if name not in allowed:
            raise RequestError(f"unknown parameter {name!r}: allowed are {', '.join(allowed)}")
        if name.startswith("var-"):
            keys[name.removeprefix("var-")].append(value)
    if any(len(values) > MAX_VALUES for values in keys.values()):
        raise RequestError(f"a variable takes {MAX_VALUES} values at most")
    names = {
        name: [_name(name, value) for value in values if value != ALL]
        for name, values in keys.items()
    }
    return {name: [] if ALL in keys[name] else values for name, values in names.items()}


def _name(variable: str, key: str) -> str:
    """Return the name a key stands for."""
    try:
        if match := _KEY.fullmatch(key):
            return bytes.fromhex(match[1]).decode()
    except UnicodeDecodeError:
        pass
    raise RequestError(
        f"var-{variable} takes keys: 'k' and the name (UTF-8) in hexadecimal, not {key[:40]!r}"
    )
