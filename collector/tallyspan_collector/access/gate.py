"""The check before every admin path: key, session or token; each request is logged."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import anyio
import anyio.to_thread
import structlog
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tallyspan_clickhouse.query.access import Access
from tallyspan_collector.access import audit
from tallyspan_collector.access.keys import Key, Keys
from tallyspan_collector.access.oidc import Oidc, OidcUnavailableError, looks_like_token
from tallyspan_collector.access.sessions import COOKIE, Sessions

NO_KEYS = (
    "no {role} key is set up, so nobody may read costs: start the collector with"
    " TALLYSPAN_ADMIN_KEY=<a long random key>, or run: tallyspan keys add --role {role}"
)
TOO_MANY = "this key has made too many requests; try again in a second"
WRONG_KEY = "a key of the role {role} is needed; send it as header 'Authorization: Bearer <key>'"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Doors:
    """The ways to authenticate; `note` gets each request for the audit."""

    keys: Keys
    sessions: Sessions
    oidc: Oidc | None = None
    note: Callable[[audit.Request], None] = lambda _: None


class AdminGate:
    """Lets requests with an admin key, a session or a token through; logs and audits each request.

    A key of the role `other_role` passes too. Behind the gate `request.state.access` says what the
    reader may see, and `request.state.key` whose key it is. Who puts a text into
    `request.state.question` has it in the audit instead of the query of the URL.
    """

    def __init__(self, app: ASGIApp, doors: Doors, *, other_role: str = "") -> None:
        self._other_role = other_role
        self._app = app
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 without any key set up, 401 for a wrong one, 429 above its rate."""
        status = 500
        key: Key | None = None
        began = time.monotonic()
        state = scope.setdefault("state", {})

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        try:
            key = await self._who(scope)
            if key is None:
                await self._refusal()(scope, receive, send_and_note)
            elif not self._doors.keys.is_within_rate(key):
                refusal = JSONResponse({"error": TOO_MANY}, 429, {"Retry-After": "1"})
                await refusal(scope, receive, send_and_note)
            else:
                state["access"] = Access(key.departments, (key.tenant,) if key.tenant else ())
                state["key"], state["key_name"] = key, key.name
                await self._app(scope, receive, send_and_note)
        except OidcUnavailableError as error:
            refusal = JSONResponse({"error": f"{error}; try again"}, 503, {"Retry-After": "10"})
            await refusal(scope, receive, send_and_note)
        except HTTPException as error:
            status = error.status_code
            raise
        finally:
            duration_ms = round((time.monotonic() - began) * 1000)
            self._note(scope, key, status, duration_ms)

    def _note(self, scope: Scope, key: Key | None, status: int, duration_ms: int) -> None:
        request = audit.Request(
            key_id="" if key is None else key.id,
            key_name="" if key is None else key.name,
            role="" if key is None else key.role,
            client=str((scope.get("client") or ("",))[0]),
            method=scope.get("method", "WEBSOCKET"),
            path=scope["path"],
            query=scope["state"].get("question")
            or scope.get("query_string", b"").decode("latin-1"),
            status=status,
            rows=scope["state"].get("rows", 0),
            duration_ms=duration_ms,
        )
        log.info(
            "admin.request",
            method=request.method,
            path=request.path,  # what looks like a key in it is masked
            status=status,
            key_name=None if key is None else key.name,
            duration_ms=duration_ms,
        )
        self._doors.note(request)

    async def _who(self, scope: Scope) -> Key | None:
        headers = Headers(scope=scope)
        doors = self._doors
        if "authorization" in headers:
            token = _bearer(headers["authorization"])
            if doors.oidc is not None and looks_like_token(token):
                return await anyio.to_thread.run_sync(doors.oidc.find, token)
            other = doors.keys.find(token, self._other_role) if self._other_role else None
            return other or doors.keys.find(token, "admin")
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE)
        session = doors.sessions.of(cookie) if cookie else None
        # With a revoked key its sessions end too.
        return None if session is None else doors.keys.find_digest(session.key_digest)

    def _refusal(self) -> ASGIApp:
        role = self._other_role or "admin"
        is_set_up = any(self._doors.keys.has(each) for each in ("admin", role))
        if not is_set_up and self._doors.oidc is None:
            return JSONResponse({"error": NO_KEYS.format(role=role)}, status_code=403)
        roles = "admin" if role == "admin" else f"{role} or admin"
        return JSONResponse(
            {"error": WRONG_KEY.format(role=roles)},
            status_code=401,
            headers={"WWW-Authenticate": 'Bearer realm="tallyspan admin"'},
        )


def _bearer(header: str) -> bytes:
    scheme, _, key = header.partition(" ")
    # Header values arrive decoded as Latin-1; back to the bytes that were sent.
    return key.strip().encode("latin-1") if scheme.lower() == "bearer" else b""
