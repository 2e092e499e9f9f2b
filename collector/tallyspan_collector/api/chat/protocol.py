"""The tools in the words of MCP: the only file that knows the SDK, which is an extra."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import anyio
import structlog
from clickhouse_connect.driver.exceptions import ClickHouseError
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    ToolAnnotations,
)
from mcp_types import Tool as ListedTool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from tallyspan import __version__
from tallyspan_clickhouse.engine import one_line
from tallyspan_collector.api.chat.identity import Asker
from tallyspan_collector.api.chat.tool import Answer, Tool
from tallyspan_collector.api.operation import LATE, in_thread
from tallyspan_collector.api.store_failure import code_of, sentence_of
from tallyspan_collector.files.nearest import hint
from tallyspan_collector.summary import RequestError

THREADS = 2
"""Questions at once: a chat of many users must not keep admins from the store."""
MAX_WAITING = 64
MAX_BODY_BYTES = 64 << 10
INSTRUCTIONS = (
    "What LLM calls cost, from the organisation's ledger. Amounts are exact; say what an answer"
    " does not include. Nothing can be changed here."
)
_log = structlog.get_logger()


class Protocol:
    """An MCP server without sessions: each request is answered by itself, as JSON.

    Behind the gate `request.state` says whose key it is and what that may see.
    """

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = {(each.role, each.name): each for each in tools}
        self._threads = anyio.CapacityLimiter(THREADS)
        self._server: Server[Any] = Server(
            "tallyspan",
            version=__version__,
            instructions=INSTRUCTIONS,
            on_list_tools=self._list,
            on_call_tool=self._call,
        )
        # Its spans would have the questions in them, and nobody asked for them.
        self._server.middleware.clear()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one POST."""
        # Without sessions a manager holds nothing between requests, so it lives as long as one.
        manager = StreamableHTTPSessionManager(
            self._server, json_response=True, stateless=True, max_request_body_size=MAX_BODY_BYTES
        )
        async with manager.run():
            await manager.handle_request(scope, receive, send)

    async def _list(
        self, context: ServerRequestContext[Any, Request], _: PaginatedRequestParams | None
    ) -> ListToolsResult:
        role = _asker(context).key.role
        return ListToolsResult(
            tools=[
                ListedTool(
                    name=each.name,
                    description=each.says,
                    input_schema=each.input_schema(),
                    output_schema=each.output_schema(),
                    annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
                )
                for each in self._tools.values()
                if each.role == role
            ]
        )

    async def _call(
        self, context: ServerRequestContext[Any, Request], params: CallToolRequestParams
    ) -> CallToolResult:
        asker = _asker(context)
        state = _request(context).state
        state.question = asker.question(params.name[:60])
        tool = self._tools.get((asker.key.role, params.name))
        if tool is None:
            names = [name for role, name in self._tools if role == asker.key.role]
            return _failed(f"no tool is called {params.name[:60]!r}; {hint(params.name, names)}")
        try:
            arguments = tool.read(params.arguments or {})
            answer = await self._ask(partial(tool.ask, asker, arguments))
        except RequestError as error:
            return _failed(str(error))
        except HTTPException as error:
            return _failed(error.detail)
        except ClickHouseError as error:
            _log.warning("chat.store_failed", code=code_of(error), error=one_line(error)[:300])
            return _failed(sentence_of(error))
        state.rows = answer.rows
        return CallToolResult(
            content=[TextContent(text=answer.text)], structured_content=dict(answer.values)
        )

    async def _ask(self, ask: Callable[[], Answer]) -> Answer:
        if self._threads.statistics().tasks_waiting >= MAX_WAITING:
            raise HTTPException(503, LATE)
        return await in_thread(ask, self._threads)


def _request(context: ServerRequestContext[Any, Request]) -> Request:
    request = context.request
    if request is None:  # only of another transport than HTTP
        raise RuntimeError("a question without an HTTP request")
    return request


def _asker(context: ServerRequestContext[Any, Request]) -> Asker:
    request = _request(context)
    return Asker(request.state.key, request.state.access, request.headers)


def _failed(sentence: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=sentence)], is_error=True)
