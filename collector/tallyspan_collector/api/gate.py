"""What stands before every admin path: key or session is checked, the request is logged."""

import time

import structlog
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tallyspan_collector.console.sessions import COOKIE, Sessions
from tallyspan_collector.keys import Key, Keys

NO_KEYS = (
    "no admin key is set up, so nobody may read costs: start the collector with"
    " TALLYSPAN_ADMIN_KEY=<a long random key>, or run: tallyspan keys add --role admin"
)
TOO_MANY = "this key has made too many requests; try again in a second"
WRONG_KEY = "an admin key is needed; send it as header 'Authorization: Bearer <key>'"

log = structlog.get_logger()


class AdminGate:
    """Lets requests with an admin key or a session through, and logs a line for each request.

    With `allow_apps` a key of the role app passes too. Behind the gate `request.state.departments`
    says what the key is limited to; empty: nothing.
    """

    def __init__(
        self, app: ASGIApp, keys: Keys, sessions: Sessions, *, allow_apps: bool = False
    ) -> None:
        self._allow_apps = allow_apps
        self._app = app
        self._keys = keys
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 without any key set up, 401 for a wrong one, 429 above its rate."""
        key = self._who(scope)
        status = 500
        began = time.monotonic()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if key is None:
                await self._refusal()(scope, receive, send_and_note)
            elif not self._keys.is_within_rate(key):
                refusal = JSONResponse({"error": TOO_MANY}, 429, {"Retry-After": "1"})
                await refusal(scope, receive, send_and_note)
            else:
                state = scope.setdefault("state", {})
                state["departments"], state["key_name"] = key.departments, key.name
                await self._app(scope, receive, send_and_note)
        except HTTPException as error:
            status = error.status_code
            raise
        finally:
            log.info(
                "admin.request",
                method=scope.get("method", "WEBSOCKET"),
                path=scope["path"],
                status=status,
                key_name=None if key is None else key.name,
                duration_ms=round((time.monotonic() - began) * 1000),
            )

    def _who(self, scope: Scope) -> Key | None:
        headers = Headers(scope=scope)
        if "authorization" in headers:
            token = _bearer(headers["authorization"])
            as_app = self._keys.find(token, "app") if self._allow_apps else None
            return as_app or self._keys.find(token, "admin")
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE)
        session = self._sessions.of(cookie) if cookie else None
        # A key that was revoked takes its sessions along.
        return None if session is None else self._keys.find_digest(session.key_digest)

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
