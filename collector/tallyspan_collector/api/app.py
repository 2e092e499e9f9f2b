"""The admin port: the ledger over HTTP, the console, liveness, readiness, metrics."""

from collections.abc import Callable, Mapping

import anyio
import structlog
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, Error
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from tallyspan_collector.api.budgets import budget_operations
from tallyspan_collector.api.conversations import conversations
from tallyspan_collector.api.dashboards import Dashboards
from tallyspan_collector.api.directory import directory
from tallyspan_collector.api.gate import AdminGate
from tallyspan_collector.api.openapi import document
from tallyspan_collector.api.operation import THREADS
from tallyspan_collector.api.token_usage import token_usage
from tallyspan_collector.console.sessions import Sessions
from tallyspan_collector.console.site import Site
from tallyspan_collector.keys import Keys
from tallyspan_collector.summary import MAX_SECONDS, RequestError

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
TIMEOUT_EXCEEDED, TOO_SLOW_CODE, MEMORY_LIMIT_EXCEEDED = 159, 160, 241
TOO_SLOW = (
    f"the store did not finish within {MAX_SECONDS} seconds; ask for a shorter time range"
    " (start_date, end_date) or fewer groups"
)
TOO_MUCH = dict.fromkeys((TIMEOUT_EXCEEDED, TOO_SLOW_CODE), TOO_SLOW) | {
    MEMORY_LIMIT_EXCEEDED: "the answer takes more memory than the store has for it; ask for a"
    " shorter time range (start_date, end_date) or fewer groups"
}
UNAVAILABLE = "the store cannot be read at the moment; try again, and see /readyz for the reason"

log = structlog.get_logger()


def create_app(
    client: Client,
    admin_keys: Keys,
    health: Callable[[], Mapping[str, object]],
    metrics: Callable[[], str],
) -> Starlette:
    """Return the ASGI application of the admin port.

    `client` needs `autogenerate_session_id=False`: requests share it, and one session answers one
    query at a time. `health` says `ready` (bool) and whatever explains it, such as `reasons`.
    """

    async def readyz(_: Request) -> Response:
        state = dict(health())
        return JSONResponse(state, status_code=200 if state.get("ready") is True else 503)

    async def metrics_text(_: Request) -> Response:
        return PlainTextResponse(metrics(), headers={"Content-Type": METRICS_TYPE})

    sessions = Sessions()
    limiter = anyio.CapacityLimiter(THREADS)
    admin = [*token_usage(client), *budget_operations(client), *directory(client)]
    apps = conversations(client)
    described = document({"/api/admin": admin, "/api/usage": apps})

    async def openapi(_: Request) -> Response:
        return JSONResponse(described)

    return Starlette(
        routes=[
            *Site(sessions, admin_keys.name_of).routes(),
            Route("/healthz", _alive),
            Route("/readyz", readyz),
            Route("/metrics", metrics_text),
            Route("/api/openapi.json", openapi),
            Mount(
                "/api/admin",
                routes=[*(each.route(limiter) for each in admin), *Dashboards(client).routes()],
                middleware=[Middleware(AdminGate, keys=admin_keys, sessions=sessions)],
            ),
            Mount(
                "/api/usage",
                routes=[each.route(limiter) for each in apps],
                middleware=[
                    Middleware(AdminGate, keys=admin_keys, sessions=sessions, allow_apps=True)
                ],
            ),
        ],
        exception_handlers={
            RequestError: _refused,
            ClickHouseError: _store_failed,
            HTTPException: _not_served,
        },
    )


async def _alive(_: Request) -> Response:
    return JSONResponse({"status": "alive"})


async def _refused(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=400)


async def _store_failed(request: Request, error: Exception) -> Response:
    code = error.code if isinstance(error, Error) else None
    log.warning("admin.store_failed", path=request.url.path, code=code, error=str(error)[:300])
    sentence = TOO_MUCH.get(code or 0, UNAVAILABLE)
    return JSONResponse({"error": sentence}, status_code=503, headers={"Retry-After": "5"})


async def _not_served(request: Request, error: Exception) -> Response:
    match error:
        case HTTPException(status_code=404, detail="Not Found"):
            sentence = f"there is nothing at {request.url.path}; see / for the paths there are"
        case HTTPException(status_code=405):
            sentence = f"{request.url.path} does not take {request.method}"
        case HTTPException():
            sentence = error.detail
        case _:
            raise error
    return JSONResponse({"error": sentence}, status_code=error.status_code, headers=error.headers)
