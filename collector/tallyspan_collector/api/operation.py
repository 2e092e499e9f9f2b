"""What the API can be asked: an operation is declared once and serves, refuses and documents."""

import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from tallyspan_clickhouse.query.access import EVERYTHING, Access
from tallyspan_collector.api.answer import FORMAT, render, wants_csv
from tallyspan_collector.api.fields import Fields
from tallyspan_collector.api.parameters import Parameter, read_query
from tallyspan_collector.summary import MAX_SECONDS, RequestError

# More at once would only wait for each other in the store.
THREADS = 6
LATE = "the store has too much to do at the moment; try again in some seconds"
LIMITED = "this shows the whole ledger, and your key is limited to departments"


R = TypeVar("R", Route, Mount)


def any_text(route: R) -> R:
    """Return the route; an id in its path may have a line break, as ids of calls may."""
    route.path_regex = re.compile(route.path_regex.pattern, re.DOTALL)
    return route


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that was checked: parameter -> value, and what the reader may see."""

    said: Mapping[str, Any]
    access: Access = EVERYTHING
    key_name: str = ""
    body: Any = None

    def __getitem__(self, name: str) -> Any:
        return self.said[name]


@dataclass(frozen=True, slots=True)
class Body:
    """What an operation takes as JSON."""

    schema: Mapping[str, Any]
    most_bytes: int = 16 << 20

    async def read(self, request: Request) -> Any:
        """Return the body. Raises HTTPException if it is too large, RequestError if no JSON."""
        taken = bytearray()
        async for chunk in request.stream():
            taken += chunk
            if len(taken) > self.most_bytes:
                raise HTTPException(413, f"the body may have {self.most_bytes >> 20} MiB at most")
        try:
            return json.loads(taken)
        except (ValueError, RecursionError):
            raise RequestError("the body must be JSON, in UTF-8") from None


@dataclass(frozen=True, slots=True)
class Operation:
    """One path: what it takes, what it answers, who may ask.

    `ask` runs in a thread, since it waits for the store; may raise RequestError or HTTPException.
    `table` is the field of the answer that goes out as CSV; empty: there is no CSV. `is_for_all`:
    it shows the whole ledger, and refuses readers who are limited to departments.
    """

    path: str
    name: str
    says: str
    ask: Callable[[Asked], Mapping[str, Any]]
    answers: Fields
    parameters: tuple[Parameter, ...] = ()
    table: str = ""
    is_for_all: bool = False
    body: Body | None = None

    @property
    def method(self) -> str:
        """Return the HTTP method: what takes a body changes something."""
        return "PUT" if self.body else "GET"

    def declared(self) -> tuple[Parameter, ...]:
        """Return every parameter, that of the format too."""
        return (*self.parameters, FORMAT) if self.table else self.parameters

    def route(self, limiter: anyio.CapacityLimiter) -> Route:
        """Return what serves it."""

        async def endpoint(request: Request) -> Response:
            return await self._serve(request, limiter)

        return any_text(Route(self.path, endpoint, methods=[self.method], name=self.name))

    async def _serve(self, request: Request, limiter: anyio.CapacityLimiter) -> Response:
        access: Access = request.state.access
        if self.is_for_all and access.is_limited:
            raise HTTPException(403, LIMITED)
        declared = self.declared()
        said = read_query(request.query_params, [each for each in declared if not each.is_in_path])
        for each in declared:
            if each.is_in_path:
                said[each.name] = each.value([request.path_params[each.name]])
        given = await self.body.read(request) if self.body else None
        asked = Asked(said, access, request.state.key_name, given)
        body = await self._in_thread(asked, limiter)
        rows = body.get(self.table) if self.table else None
        request.state.rows = len(rows) if rows is not None else 1
        fields = self.answers[self.table].rows if self.table else None
        is_csv = bool(self.table) and wants_csv(said["format"], request.headers.get("accept", ""))
        return render(request, body, (self.table, fields or {}) if is_csv else None)

    async def _in_thread(self, asked: Asked, limiter: anyio.CapacityLimiter) -> Mapping[str, Any]:
        ask = functools.partial(self.ask, asked)
        try:
            with anyio.fail_after(MAX_SECONDS + 5):
                return await anyio.to_thread.run_sync(ask, limiter=limiter, abandon_on_cancel=True)
        except TimeoutError:
            raise HTTPException(503, LATE, {"Retry-After": "5"}) from None
