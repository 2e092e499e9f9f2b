"""What stands before every admin path: key or session is checked, the request is logged."""

import time

import structlog
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tallyspan_collector.console.sessions import COOKIE, Sessions
from tallyspan_collector.keys import Keys

NO_KEYS = (
    "no admin key is set up, so nobody may read costs: start the collector with"
    " TALLYSPAN_ADMIN_KEY=<a long random key>, or run: tallyspan keys add --role admin"
)
WRONG_KEY = "an admin key is needed; send it as header 'Authorization: Bearer <key>'"

log = structlog.get_logger()


class AdminGate:
    """Lets requests with an admin key or a session through, and logs a line for each request."""

    def __init__(self, app: ASGIApp, keys: Keys, sessions: Sessions) -> None:
        self._app = app
        self._keys = keys
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 without any key set up, 401 for a wrong one, else pass the request on."""
        key_name = self._who(scope)
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

    def _who(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        if "authorization" in headers:
            return self._keys.name_of(_bearer(headers["authorization"]))
        token = cookie_parser(headers.get("cookie", "")).get(COOKIE)
        session = self._sessions.of(token) if token else None
        # A key that was revoked takes its sessions along.
        is_open = session is not None and self._keys.holds(session.key_digest)
        return session.key_name if session is not None and is_open else None

    def _refusal(self) -> ASGIApp:
        if not self._keys.has("admin"):
            return JSONResponse({"error": NO_KEYS}, status_code=403)
        return JSONResponse(
            {"error": WRONG_KEY},
            status_code=401,
            headers={"WWW-Authenticate": 'Bearer realm="tallyspan admin"'},
        )


def _bearer(header: str) -> bytes:
    scheme, _, key = header.partition(" ")
    # Header values arrive decoded as Latin-1; back to the bytes that were sent.
    return key.strip().encode("latin-1") if scheme.lower() == "bearer" else b""
