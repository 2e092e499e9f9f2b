"""The console's page and its login; the files have no figures in them."""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from tallyspan_collector.access.sessions import COOKIE, LASTS_SECONDS, Sessions

STATIC = Path(__file__).parent / "static"
MAX_BODY_BYTES = 4_096
# Only our own files, nothing inline, in no frame.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
# A file whose path has the hash of its content never changes.
FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}

log = structlog.get_logger()


class Site:
    """The console's files, login and logout.

    `name_of` returns the name of an admin key, None for a wrong one.
    """

    def __init__(self, sessions: Sessions, name_of: Callable[[bytes], str | None]) -> None:
        self._sessions = sessions
        self._name_of = name_of

    def routes(self) -> list[BaseRoute]:
        """Return the paths of the console."""
        return [
            Route("/", self.page),
            Route("/d/{uid}", self.page),
            Route("/session", self.session),
            Route("/login", self.login, methods=["POST"]),
            Route("/logout", self.logout, methods=["POST"]),
            Mount(f"/static/{version()}", _Files(FOR_EVER)),
            Mount("/static", _Files({})),
        ]

    async def page(self, request: Request) -> Response:
        """Return the page; it fetches its figures from the admin API, after a login."""
        text = _index()
        if self._sessions.of(request.cookies.get(COOKIE, "")) is not None:
            # Saves the browser a request at the start.
            text = text.replace("<html ", '<html data-session="open" ', 1)
        return HTMLResponse(text, headers=HEADERS)

    async def session(self, request: Request) -> Response:
        """Return whether the browser has a session, so that the page can ask for a key at once."""
        is_open = self._sessions.of(request.cookies.get(COOKIE, "")) is not None
        return JSONResponse({"open": is_open}, headers=HEADERS)

    async def login(self, request: Request) -> Response:
        """Take `{"key": "..."}` and set the session's cookie; 401 if it is wrong, then 429."""
        key = await _posted_key(request)
        if key is None:
            return _refusal(400, 'send {"key": "<admin key>"} as application/json')
        name = self._name_of(key)
        # After the look at the key: whoever guesses must not keep those with a key out.
        if name is None and self._sessions.must_wait():
            return _refusal(429, "too many wrong keys; try again in a minute")
        log.info("admin.login", key_name=name)
        if name is None:
            self._sessions.note_wrong_key()
            return _refusal(401, "this is not an admin key")
        answer = Response(status_code=204, headers=HEADERS)
        answer.set_cookie(
            COOKIE,
            self._sessions.open(key),
            max_age=LASTS_SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    async def logout(self, request: Request) -> Response:
        """End the session, if there is one."""
        self._sessions.close(request.cookies.get(COOKIE, ""))
        answer = Response(status_code=204, headers=HEADERS)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer


class _Files(StaticFiles):
    def __init__(self, more: Mapping[str, str]) -> None:
        super().__init__(directory=STATIC)
        self._headers = {**HEADERS, **more}

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file with the headers of the console."""
        response = await super().get_response(path, scope)
        response.headers.update(self._headers)
        return response


@functools.cache
def version() -> str:
    """Return a hash of all files of the console."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(STATIC).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def _index() -> str:
    """Return the page, with the hash in its paths, and with all modules preloaded."""
    text = (STATIC / "index.html").read_text(encoding="utf-8")
    modules = "".join(
        f'<link rel="modulepreload" href="/static/{path.name}">\n'
        for path in sorted(STATIC.glob("*.js"))
        if path.name != "theme.js"
    )
    return text.replace("</head>", f"{modules}</head>").replace("/static/", f"/static/{version()}/")


async def _posted_key(request: Request) -> bytes | None:
    # A form of another site cannot send this content type without asking first.
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return None
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    try:
        match json.loads(body):
            case {"key": str(key)}:
                return key.strip().encode()
    except (ValueError, RecursionError):
        pass
    return None


def _refusal(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status_code=status, headers=HEADERS)
