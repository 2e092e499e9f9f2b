"""What one conversation cost, for the application it was held in."""

import functools
from typing import Any

import anyio
import anyio.to_thread
from clickhouse_connect.driver.client import Client
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tallyspan_collector.summary import MAX_SECONDS, plain

THREADS = 4
_SQL = """
    SELECT conversation_id, first_call, last_call, calls, errors, input_tokens, output_tokens,
        total_tokens, cost_usd, unpriced_calls, departments
    FROM conversations WHERE conversation_id = {conversation_id:String}
"""


class Conversations:
    """Answers by the id of a conversation; nobody can list them here."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._limiter = anyio.CapacityLimiter(THREADS)

    def routes(self) -> list[Route]:
        """Return the paths below the prefix of applications."""
        return [Route("/conversations/{conversation_id:path}", self.conversation)]

    async def conversation(self, request: Request) -> JSONResponse:
        """Return calls, tokens and cost of the conversation; 404 if the ledger knows none."""
        ask = functools.partial(self._find, request.path_params["conversation_id"])
        row = await anyio.to_thread.run_sync(ask, limiter=self._limiter)
        allowed = request.state.departments
        if row is None or (allowed and not set(row["departments"]) <= set(allowed)):
            raise HTTPException(404, "no call of this conversation is in the ledger")
        del row["departments"]
        return JSONResponse(plain(row), headers={"Cache-Control": "no-store"})

    def _find(self, conversation_id: str) -> dict[str, Any] | None:
        result = self._client.query(
            _SQL,
            parameters={"conversation_id": conversation_id},
            settings={"max_execution_time": MAX_SECONDS},
        )
        return next(iter(result.named_results()), None)
