"""Middleware (ASGI, WSGI) that attributes LLM calls to the user in a trusted caller's headers.

An identity header is as good as its sender: a gateway that authenticates users may set it, a
browser may not. So headers count only if the caller is in one of the trusted networks.
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
    """Reads attribution from headers, for callers in trusted networks only."""

    def __init__(self, headers: Mapping[str, str], trusted: Iterable[str]) -> None:
        for field in headers.values():
            if field not in FIELDS:
                raise ValueError(f"{field!r} is no attribution; one of {', '.join(FIELDS)}")
        self._fields = {name.lower(): field for name, field in headers.items()}
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(each) for each in trusted]

    def of(self, caller: str, header: Callable[[str], str | None]) -> dict[str, str]:
        """Return the attribution in the caller's headers; none if its network is not trusted."""
        try:
            address = ip_address(caller)
        except ValueError:
            return {}
        if not any(address in network for network in self._networks):
            return {}
        values = {field: header(name) for name, field in self._fields.items()}
        return {field: value for field, value in values.items() if value}


class AsgiAttribution:
    """ASGI middleware, for example with `headers={"x-user": "user_id"}, trusted=["10.0.0.0/8"]`.

    Raises `ValueError` for an unknown field or a text that is no network.
    """

    def __init__(self, app: _Asgi, *, headers: Mapping[str, str], trusted: Iterable[str]) -> None:
        self._app = app
        self._identity = _Identity(headers, trusted)

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Serve the request with the attribution in its headers."""
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
        """Serve the request with the attribution in its headers."""

        def header(name: str) -> str | None:
            value: str | None = environ.get("HTTP_" + name.upper().replace("-", "_"))
            return value

        identity = self._identity.of(environ.get("REMOTE_ADDR", ""), header)
        if not identity:
            return self._app(environ, start_response)
        return self._attributed(environ, start_response, identity)

    def _attributed(
        self, environ: _Environ, start_response: Callable[..., Any], identity: dict[str, str]
    ) -> Iterator[bytes]:
        # The server takes the parts one by one and does other work in between: in a context of its
        # own the attribution holds for this request only.
        context = copy_context()
        scope = attribution(**identity)  # type: ignore[arg-type]  # only text fields are in it
        context.run(scope.__enter__)
        parts = context.run(self._app, environ, start_response)
        try:
            iterator = context.run(iter, parts)
            while (part := context.run(next, iterator, None)) is not None:
                yield part
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                context.run(close)
            context.run(scope.__exit__, None, None, None)
