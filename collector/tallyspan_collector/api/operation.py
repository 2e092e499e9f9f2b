"""Operations of the API: each is declared once, and serves, refuses and documents itself."""

import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from tallyspan_clickhouse.query.access import EVERYTHING, Access
from tallyspan_collector.api.answer import FORMAT, as_file, format_of, render, wants_csv
from tallyspan_collector.api.fields import Fields
from tallyspan_collector.api.parameters import Parameter, read_query
from tallyspan_collector.summary import MAX_SECONDS, RequestError

# More queries at once would wait for each other in the store.
THREADS = 6
LATE = "the store has too much to do at the moment; try again in some seconds"
LIMITED = "this shows the whole ledger, and your key is limited to departments"


R = TypeVar("R", Route, Mount)
Answer = TypeVar("Answer")


def any_text(route: R) -> R:
    """Return the route; its path may contain a line break, as the ids of calls may."""
    route.path_regex = re.compile(route.path_regex.pattern, re.DOTALL)
    return route


@dataclass(frozen=True, slots=True)
class Query:
    """A checked request: parameter -> value, what the reader may see, the body."""

    values: Mapping[str, Any]
    access: Access = EVERYTHING
    key_name: str = ""
    body: Any = None

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


@dataclass(frozen=True, slots=True)
class Body:
    """The JSON body of an operation: its JSON Schema, and how large it may be."""

    schema: Mapping[str, Any]
    max_bytes: int = 16 << 20

    async def read(self, request: Request) -> Any:
        """Return the body. Raises HTTPException if it is too large, RequestError if no JSON.

        A page of another site cannot send this content type without asking first.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise HTTPException(415, "send the body with Content-Type: application/json")
        content = bytearray()
        async for chunk in request.stream():
            content += chunk
            if len(content) > self.max_bytes:
                raise HTTPException(413, f"the body may have {self.max_bytes >> 20} MiB at most")
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise RequestError("the body must be JSON, in UTF-8") from None


@dataclass(frozen=True, slots=True)
class Document:
    """An answer as a file: its media type, and what writes its name and bytes."""

    media_type: str
    write: Callable[[Query], tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One path: its parameters, its answer, and who may use it.

    `ask` runs in a thread, since it waits for the store; it may raise RequestError or
    HTTPException. `table` is the field of the answer that is sent as CSV; empty: no CSV.
    `documents` are files it can be had as too, by format; such an operation has a `table`.
    `is_for_all`: it shows the whole ledger, so readers who are limited to departments are refused.
    """

    path: str
    name: str
    says: str
    ask: Callable[[Query], Mapping[str, Any]]
    answers: Fields
    parameters: tuple[Parameter, ...] = ()
    table: str = ""
    is_for_all: bool = False
    body: Body | None = None
    documents: Mapping[str, Document] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """Return the HTTP method: PUT with a body, else GET."""
        return "PUT" if self.body else "GET"

    def declared(self) -> tuple[Parameter, ...]:
        """Return all parameters, with `format` if there is CSV."""
        if self.documents:
            return (*self.parameters, format_of(*self.documents))
        return (*self.parameters, FORMAT) if self.table else self.parameters

    def route(self, threads: anyio.CapacityLimiter) -> Route:
        """Return the route; its queries run in `threads`."""

        async def endpoint(request: Request) -> Response:
            return await self._serve(request, threads)

        return any_text(Route(self.path, endpoint, methods=[self.method], name=self.name))

    async def _serve(self, request: Request, threads: anyio.CapacityLimiter) -> Response:
        access: Access = request.state.access
        if self.is_for_all and access.is_limited:
            raise HTTPException(403, LIMITED)
        declared = self.declared()
        values = read_query(
            request.query_params, [each for each in declared if not each.is_in_path]
        )
        for each in declared:
            if each.is_in_path:
                values[each.name] = each.value([request.path_params[each.name]])
        content = await self.body.read(request) if self.body else None
        query = Query(values, access, request.state.key_name, content)
        if (document := self.documents.get(values.get("format", ""))) is not None:
            write = functools.partial(document.write, query)
            name, file = await in_thread(write, threads)
            request.state.rows = 1
            return as_file(request, name, file, document.media_type)
        body = await in_thread(functools.partial(self.ask, query), threads)
        rows = body.get(self.table) if self.table else None
        request.state.rows = len(rows) if rows is not None else 1
        fields = self.answers[self.table].rows if self.table else None
        is_csv = bool(self.table) and wants_csv(values["format"], request.headers.get("accept", ""))
        return render(request, body, (self.table, fields or {}) if is_csv else None)


async def in_thread(ask: Callable[[], Answer], threads: anyio.CapacityLimiter) -> Answer:
    """Return what `ask` gets of the store. Raises HTTPException if that takes too long."""
    try:
        with anyio.fail_after(MAX_SECONDS + 5):
            return await anyio.to_thread.run_sync(ask, limiter=threads, abandon_on_cancel=True)
    except TimeoutError:
        raise HTTPException(503, LATE, {"Retry-After": "5"}) from None
