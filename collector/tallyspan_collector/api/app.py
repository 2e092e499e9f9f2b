"""The application of the admin port: API, console, tools for a chat, liveness, metrics."""

from collections.abc import Callable, Mapping

import anyio
import structlog
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from prometheus_client import CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route

from tallyspan_clickhouse.engine import one_line
from tallyspan_collector.access.audit import AuditLog
from tallyspan_collector.access.gate import AdminGate, Doors
from tallyspan_collector.access.keys import Keys
from tallyspan_collector.access.oidc import Oidc
from tallyspan_collector.access.sessions import Sessions
from tallyspan_collector.api import reference
from tallyspan_collector.api.audit import audits
from tallyspan_collector.api.budgets import budget_operations
from tallyspan_collector.api.calls import calls
from tallyspan_collector.api.chat.endpoint import chat_route
from tallyspan_collector.api.comparison import comparison
from tallyspan_collector.api.conversations import conversations
from tallyspan_collector.api.dashboards import Dashboards
from tallyspan_collector.api.data_health import data_health
from tallyspan_collector.api.directory import directory
from tallyspan_collector.api.doubts import doubts
from tallyspan_collector.api.months import month_operations
from tallyspan_collector.api.names import name_operations
from tallyspan_collector.api.openapi import document
from tallyspan_collector.api.operation import THREADS, any_text
from tallyspan_collector.api.prices import prices as price_operations
from tallyspan_collector.api.statements import statement_operations
from tallyspan_collector.api.store_failure import code_of, sentence_of
from tallyspan_collector.api.token_usage import token_usage
from tallyspan_collector.api.what_if import what_if_operations
from tallyspan_collector.console.site import Site
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.statements.rate_card import RateCard
from tallyspan_collector.summary import RequestError

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

log = structlog.get_logger()


def create_app(
    client: Client,
    admin_keys: Keys,
    health: Callable[[], Mapping[str, object]],
    metrics: CollectorRegistry,
    prices: Callable[[], PriceBook] = PriceBook,
    audit_log: AuditLog | None = None,
    oidc: Oidc | None = None,
    rate_card: RateCard | None = None,
) -> Starlette:
    """Return the ASGI application of the admin port.

    `client` needs `autogenerate_session_id=False`: requests share it, and one session answers one
    query at a time. `health` returns `ready` (bool) and what explains it, such as `reasons`.
    `/metrics` shows `metrics`. `prices` returns the prices and exchange rates of the moment.
    `rate_card`: what departments are charged inside, beside the cost, on statements.
    Without an `audit_log` requests are logged and not kept.
    """

    async def readyz(_: Request) -> Response:
        state = dict(health())
        return JSONResponse(state, status_code=200 if state.get("ready") is True else 503)

    async def exposition(_: Request) -> Response:
        return Response(generate_latest(metrics), media_type=METRICS_TYPE)

    sessions = Sessions()
    doors = Doors(admin_keys, sessions, oidc, audit_log.note if audit_log else lambda _: None)
    threads = anyio.CapacityLimiter(THREADS)
    admin = [
        *token_usage(client, prices),
        *comparison(client),
        *name_operations(client),
        *calls(client, prices),
        *price_operations(client, prices),
        *what_if_operations(client, prices),
        *data_health(client, health),
        *doubts(client),
        *budget_operations(client),
        *month_operations(client),
        *statement_operations(client, prices, rate_card),
        *audits(client),
        *directory(client),
    ]
    apps = conversations(client)
    description = document({"/api/admin": admin, "/api/usage": apps})

    reference_page = reference.page(description)

    async def docs(_: Request) -> Response:
        return HTMLResponse(reference_page, headers=reference.HEADERS)

    async def openapi(_: Request) -> Response:
        return JSONResponse(description)

    return Starlette(
        routes=[
            *Site(sessions, admin_keys.name_of).routes(),
            Route("/healthz", _alive),
            Route("/readyz", readyz),
            Route("/metrics", exposition),
            Route("/api/openapi.json", openapi),
            Route("/api/docs", docs),
            any_text(
                Mount(
                    "/api/admin",
                    routes=[*(each.route(threads) for each in admin), *Dashboards(client).routes()],
                    middleware=[Middleware(AdminGate, doors=doors)],
                )
            ),
            chat_route(client, doors, admin),
            any_text(
                Mount(
                    "/api/usage",
                    routes=[each.route(threads) for each in apps],
                    middleware=[Middleware(AdminGate, doors=doors, other_role="app")],
                )
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
    log.warning(
        "admin.store_failed",
        path=request.url.path,
        code=code_of(error),
        error=one_line(error)[:300],
    )
    return JSONResponse(
        {"error": sentence_of(error)}, status_code=503, headers={"Retry-After": "5"}
    )


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
