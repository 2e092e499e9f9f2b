"""Who a request is for, taken from headers that a trusted caller set: ASGI and WSGI.

An identity header is as good as its sender: a gateway that authenticates users may set it, a
browser may not. So headers count only from the networks named as trusted.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from contextvars import copy_context
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from tallyspan.attribution import attribution

FIELDS = ("user_id", "department", "agent_id", "agent_name", "conversation_id")

_Scope = MutableMapping[str, Any]
_Send = Callable[[_Scope], Awaitable[None]]
_Receive = Callable[[], Awaitable[_Scope]]
_Asgi = Callable[[_Scope, _Receive, _Send], Awaitable[None]]
_Environ = dict[str, Any]
_Wsgi = Callable[[_Environ, Callable[..., Any]], Iterable[bytes]]


class _Identity:
    """Header names -> attribution fields, from trusted networks only."""

    def __init__(self, headers: Mapping[str, str], trusted: Iterable[str]) -> None:
        for field in headers.values():
            if field not in FIELDS:
                raise ValueError(f"{field!r} is no attribution; one of {', '.join(FIELDS)}")
        self._fields = {name.lower(): field for name, field in headers.items()}
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(each) for each in trusted]

    def of(self, caller: str, header: Callable[[str], str | None]) -> dict[str, str]:
        """Return the attribution the caller may state, and states."""
        try:
            address = ip_address(caller)
        except ValueError:
            return {}
        if not any(address in network for network in self._networks):
            return {}
        said = {field: header(name) for name, field in self._fields.items()}
        return {field: value for field, value in said.items() if value}


class AsgiAttribution:
    """ASGI middleware, for example with `headers={"x-user": "user_id"}, trusted=["10.0.0.0/8"]`.

    Raises `ValueError` for an unknown field or a network that is none.
    """

    def __init__(self, app: _Asgi, *, headers: Mapping[str, str], trusted: Iterable[str]) -> None:
        self._app = app
        self._identity = _Identity(headers, trusted)

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Serve the request with the attribution its headers state."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
        caller = (scope.get("client") or ("",))[0]

        def header(name: str) -> str | None:
            value = headers.get(name)
            return None if value is None else value.decode("utf-8", "replace")

        with attribution(**self._identity.of(caller, header)):  # type: ignore[arg-type]  # only text fields are in it
            await self._app(scope, receive, send)


class WsgiAttribution:
    """WSGI middleware, configured like `AsgiAttribution`."""

    def __init__(self, app: _Wsgi, *, headers: Mapping[str, str], trusted: Iterable[str]) -> None:
        self._app = app
        self._identity = _Identity(headers, trusted)

    def __call__(self, environ: _Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serve the request with the attribution its headers state."""

        def header(name: str) -> str | None:
            value: str | None = environ.get("HTTP_" + name.upper().replace("-", "_"))
            return value

        found = self._identity.of(environ.get("REMOTE_ADDR", ""), header)
        if not found:
            return self._app(environ, start_response)
        return self._attributed(environ, start_response, found)

    def _attributed(
        self, environ: _Environ, start_response: Callable[..., Any], found: dict[str, str]
    ) -> Iterator[bytes]:
        # The server takes the parts one by one in between other work: a context of our own keeps
        # the attribution to this request.
        context = copy_context()
        entered = attribution(**found)  # type: ignore[arg-type]  # only text fields are in it
        context.run(entered.__enter__)
        parts = context.run(self._app, environ, start_response)
        try:
            iterator = context.run(iter, parts)
            while (part := context.run(next, iterator, None)) is not None:
                yield part
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                context.run(close)
            context.run(entered.__exit__, None, None, None)
