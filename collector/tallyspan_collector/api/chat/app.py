"""The tools alone, for a process and an address of their own."""

from collections.abc import Callable

from clickhouse_connect.driver.client import Client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tallyspan_collector.access.gate import Doors
from tallyspan_collector.api.budgets import budget_operations
from tallyspan_collector.api.chat.endpoint import chat_route
from tallyspan_collector.api.names import name_operations
from tallyspan_collector.api.prices import prices as price_operations
from tallyspan_collector.api.token_usage import token_usage
from tallyspan_collector.pricing.book import PriceBook


def create_chat_app(client: Client, doors: Doors, prices: Callable[[], PriceBook]) -> Starlette:
    """Return the ASGI application: `/mcp` as on the admin port, and `/healthz`; nothing else.

    `client` as of `create_app`.
    """

    async def alive(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    operations = [
        *token_usage(client, prices),
        *name_operations(client),
        *price_operations(client, prices),
        *budget_operations(client),
    ]
    return Starlette(routes=[Route("/healthz", alive), chat_route(client, doors, operations)])
