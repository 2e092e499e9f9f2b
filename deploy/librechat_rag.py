"""LibreChat's RAG service with each call attributed to the user who asks; docs/librechat.md.

Beside the service's own main.py: opentelemetry-instrument uvicorn librechat_rag:app
"""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import jwt
from main import app as service

from tallyspan import attribution

_Scope = MutableMapping[str, Any]
_Call = Callable[..., Awaitable[Any]]


def user_of(scope: _Scope) -> str | None:
    """Return the user in LibreChat's token; None where the service would not take it either."""
    secret = os.environ.get("JWT_SECRET")
    header = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
    if not secret:  # the service then takes any token
        return None
    try:
        claims = jwt.decode(header.removeprefix("Bearer "), secret, algorithms=["HS256"])
    except jwt.PyJWTError:
        return None
    return claims.get("id")


async def app(scope: _Scope, receive: _Call, send: _Call) -> None:
    """Serve a request; the embeddings it asks for are its user's."""
    with attribution(user_id=user_of(scope) if scope["type"] == "http" else None):
        await service(scope, receive, send)
