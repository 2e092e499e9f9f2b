"""The directory over HTTP: who is in it, who is not, and an import."""

import functools
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from clickhouse_connect.driver.client import Client
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tallyspan_collector.api.parameters import check_names, read_limit
from tallyspan_collector.directory import file, stored
from tallyspan_collector.directory.lookup import today
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.summary import RequestError, parse_time, plain

MOST_BYTES = 16 << 20
MOST_ROWS = 10_000
NOT_STORED = {"Cache-Control": "no-store"}
THREADS = 2

T = TypeVar("T")


class DirectoryRoutes:
    """Answers from the directory; only a key that is limited to no department may change it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._limiter = anyio.CapacityLimiter(THREADS)

    def routes(self) -> list[Route]:
        """Return the paths below the admin prefix."""
        return [
            Route("/directory", self.people, methods=["GET"]),
            Route("/directory", self.put, methods=["PUT"]),
            Route("/directory/unknown", self.unknown),
        ]

    async def people(self, request: Request) -> JSONResponse:
        """Return everyone, or with `user_id` one; a limited key sees its departments."""
        query = request.query_params
        check_names(query, ("user_id", "limit"))
        limit = read_limit(query, MOST_ROWS, MOST_ROWS)
        ask = functools.partial(stored.stored, self._client, query.get("user_id"))
        periods = await self._in_thread(ask)
        allowed = request.state.departments
        shown = [each for each in periods if not allowed or each.department in allowed]
        answer = {
            "people": list(stored.details(shown[:limit])),
            "truncated": len(shown) > limit,
        }
        return JSONResponse(answer, headers=NOT_STORED)

    async def unknown(self, request: Request) -> JSONResponse:
        """Return users with calls since `start_date` whom the directory does not have."""
        query = request.query_params
        check_names(query, ("start_date", "limit"))
        limit = read_limit(query, 1_000, MOST_ROWS)
        text = query.get("start_date", f"{today().replace(day=1)}")
        first = parse_time(text, "start_date").date()
        rows = await self._in_thread(
            functools.partial(stored.unknown, self._client, first, limit, request.state.departments)
        )
        people = [
            plain(row) | {name: row[name].isoformat() for name in ("first_day", "last_day")}
            for row in rows
        ]
        return JSONResponse({"people": people}, headers=NOT_STORED)

    async def put(self, request: Request) -> JSONResponse:
        """Take people from `{"people": [{"user": ..., "department": ...}]}`; `dry_run=true` shows.

        Each person named has these periods afterwards and no others; the rest stay as they are.
        """
        if request.state.departments:
            raise HTTPException(403, "a key that is limited to departments cannot change people")
        query = request.query_params
        check_names(query, ("dry_run",))
        if query.get("dry_run", "false") not in {"true", "false"}:
            raise RequestError(f"dry_run must be true or false, not {query['dry_run']!r}")
        body = await _body(request)
        is_dry = query.get("dry_run") == "true"
        take = functools.partial(self._take, body, request.state.key_name, is_dry=is_dry)
        found = await self._in_thread(take)
        rows = stored.details([each.period for each in found])
        changes = [{"change": each.kind, **row} for each, row in zip(found, rows, strict=True)]
        return JSONResponse({"changes": changes, "dry_run": is_dry}, headers=NOT_STORED)

    def _take(self, body: Any, imported_by: str, *, is_dry: bool) -> list[stored.Change]:
        try:
            periods = file.periods(_rows(body))
        except ConfigError as error:
            raise RequestError(str(error)) from None
        found = stored.changes(periods, stored.stored(self._client))
        if not is_dry:
            stored.write(self._client, found, imported_by, "api")
        return found

    async def _in_thread(self, ask: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(ask, limiter=self._limiter)


async def _body(request: Request) -> Any:
    taken = io.BytesIO()
    async for chunk in request.stream():
        taken.write(chunk)
        if taken.tell() > MOST_BYTES:
            raise HTTPException(413, f"a directory may have {MOST_BYTES >> 20} MiB at most")
    try:
        return json.loads(taken.getvalue())
    except (ValueError, RecursionError):
        raise RequestError('the body must be JSON: {"people": [...]}') from None


def _rows(body: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    people = body.get("people") if isinstance(body, dict) and len(body) == 1 else None
    if not isinstance(people, list):
        raise RequestError('the body must be {"people": [{"user": ..., "department": ...}]}')
    for number, row in enumerate(people):
        place = f"people[{number}]"
        if not isinstance(row, dict):
            raise RequestError(f"{place}: must be an object with user, department, ...")
        for name, value in row.items():
            if name not in file.COLUMNS:
                raise RequestError(
                    f"{place}: unknown key {name!r}; known: {', '.join(file.COLUMNS)}"
                )
            if value is not None and not isinstance(value, str):
                raise RequestError(f"{place}: {name}: must be text, not {value!r}")
        yield place, row
