"""What stands before every admin path: the key is checked, the request is logged."""

import time

import structlog
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tallyspan_collector.keys import Keys

NO_KEYS = (
    "no admin key is set up, so nobody may read costs: start the collector with"
    " TALLYSPAN_ADMIN_KEY=<a long random key>, or run: tallyspan keys add --role admin"
)
WRONG_KEY = "an admin key is needed; send it as header 'Authorization: Bearer <key>'"

log = structlog.get_logger()


class AdminGate:
    """Lets requests with an admin key through, and writes one log line for each request."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 without any key set up, 401 for a wrong one, else pass the request on."""
        key = self._keys.find(_presented(scope), "admin")
        key_name = key.name if key else None
        status = 500
        began = time.monotonic()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        app = self._app if key_name is not None else self._refusal()
        try:
            await app(scope, receive, send_and_note)
        except HTTPException as error:
            status = error.status_code
            raise
        finally:
            log.info(
                "admin.request",
                method=scope.get("method", "WEBSOCKET"),
                path=scope["path"],
                status=status,
                key_name=key_name,
                duration_ms=round((time.monotonic() - began) * 1000),
            )

    def _refusal(self) -> ASGIApp:
        if not self._keys.has("admin"):
            return JSONResponse({"error": NO_KEYS}, status_code=403)
        return JSONResponse(
            {"error": WRONG_KEY},
            status_code=401,
            headers={"WWW-Authenticate": 'Bearer realm="tallyspan admin"'},
        )


def _presented(scope: Scope) -> bytes:
    header = Headers(scope=scope).get("authorization", "")
    scheme, _, key = header.partition(" ")
    # Header values arrive decoded as Latin-1; back to the bytes that were sent.
    return key.strip().encode("latin-1") if scheme.lower() == "bearer" else b""
