import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from opentelemetry import context

from tallyspan.attribution import attributes_in_force
from tallyspan.middleware import AsgiAttribution, WsgiAttribution

HEADERS = {"X-User": "user_id", "X-Department": "department"}
TRUSTED = ["10.0.0.0/8", "::1/128"]
STATED = {"user.id": "ada", "tallyspan.department": "research"}


def over_asgi(caller: str) -> dict[str, str]:
    seen: list[dict[str, str]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        seen.append(attributes_in_force(context.get_current()))

    scope = {
        "type": "http",
        "client": (caller, 5000),
        "headers": [(b"x-user", b"ada"), (b"x-department", b"research")],
    }
    served: Any = AsgiAttribution(app, headers=HEADERS, trusted=TRUSTED)
    asyncio.run(served(scope, None, None))
    return seen[0]


def over_wsgi(caller: str) -> dict[str, str]:
    seen: list[dict[str, str]] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        yield b"one"
        seen.append(attributes_in_force(context.get_current()))
        yield b"two"

    environ = {"REMOTE_ADDR": caller, "HTTP_X_USER": "ada", "HTTP_X_DEPARTMENT": "research"}
    parts = []
    for part in WsgiAttribution(app, headers=HEADERS, trusted=TRUSTED)(environ, lambda *_: None):
        parts.append(part)
        assert attributes_in_force(context.get_current()) == {}
    assert parts == [b"one", b"two"]
    return seen[0]


@pytest.mark.parametrize("serve", [over_asgi, over_wsgi])
def test_a_trusted_caller_says_who_it_is_for(serve: Callable[[str], dict[str, str]]) -> None:
    assert serve("10.1.2.3") == STATED
    assert serve("::1") == STATED


@pytest.mark.parametrize("serve", [over_asgi, over_wsgi])
@pytest.mark.parametrize("caller", ["203.0.113.9", "", "unix"])
def test_anybody_else_is_not_believed(serve: Callable[[str], dict[str, str]], caller: str) -> None:
    assert serve(caller) == {}


def test_an_unknown_field_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="salary"):
        AsgiAttribution(lambda *_: None, headers={"x-pay": "salary"}, trusted=[])  # type: ignore[arg-type]
