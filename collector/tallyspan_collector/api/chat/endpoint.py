"""The path /mcp of the admin port; the SDK is loaded by the first request that has a valid key."""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

import anyio
from clickhouse_connect.driver.client import Client
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tallyspan_collector.access.gate import AdminGate, Doors
from tallyspan_collector.api.chat import user_tools
from tallyspan_collector.api.chat.admin_tools import admin_tools
from tallyspan_collector.api.chat.tool import Tool
from tallyspan_collector.api.operation import Operation
from tallyspan_collector.units.threads import in_thread

PATH = "/mcp"
NO_SDK = (
    "this collector has no MCP server: install it with the extra, pip install 'tallyspan[mcp]', and"
    " start it again"
)


class ChatEndpoint:
    """Answers MCP's POSTs; without the SDK with the one line that says what to install."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = tools
        self._handle: ASGIApp | None = None
        self._loading = anyio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request that the gate let through."""
        if find_spec("mcp") is None:
            await JSONResponse({"error": NO_SDK}, 501)(scope, receive, send)
            return
        async with self._loading:
            if self._handle is None:
                # Half a second of imports and 16 MB, which a collector without a chat never needs.
                module = await in_thread(import_module, f"{__package__}.protocol")
                self._handle = module.Protocol(self._tools).handle
        await self._handle(scope, receive, send)


def chat_route(client: Client, doors: Doors, admin: Sequence[Operation]) -> Route:
    """Return the route; `admin` are the operations of the admin API that its tools ask."""
    tools = [*user_tools.user_tools(client), *admin_tools(admin)]
    return Route(
        PATH,
        ChatEndpoint(tools),
        # An answer is the answer to its POST: there are no sessions to end, no stream to open.
        methods=["POST"],
        middleware=[Middleware(AdminGate, doors=doors, other_role=user_tools.ROLE)],
    )
