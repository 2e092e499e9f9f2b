"""A fault in any step of ours leaves what passes on a socket as it was."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from socket_clients import (
    with_aiohttp,
    with_httpx2,
    with_httpx_ws,
    with_websocket_client,
    with_websockets,
    with_websockets_async,
)
from socket_server import Script, playing
from tallyspan import ending, opening, response_turns, session, socket_format, span
from tallyspan.formats import openai_realtime
from tallyspan.guard import failures
from tallyspan.transport import aiohttp_sockets, httpx_sockets, websocket_client, websockets

Client = Callable[[str, Script], list[bytes]]
EVENTS: list[dict[str, Any]] = [
    {"type": "session.created", "session": {"model": "gpt-realtime"}},
    {"type": "response.created", "response": {"id": "resp_1"}},
    {"type": "response.output_text.delta", "response_id": "resp_1", "delta": "Hi"},
    {"type": "response.done", "response": {"id": "resp_1", "usage": {"input_tokens": 9}}},
    {"type": "response.created", "response": {"id": "resp_2"}},
]
SCRIPT: Script = [("sent", {"type": "response.create"}), *(("received", each) for each in EVENTS)]
STEPS: list[tuple[Any, str]] = [
    *((session.Session, name) for name in ("_note", "_must_read_now", "_read", "_take", "_book")),
    (session.Frames, "_forget"),
    (socket_format.Needles, "are_in"),
    *(
        (response_turns.ResponseTurns, name)
        for name in ("sent", "received", "output", "cut", "_begin", "_end", "_configured", "_read")
    ),
    (openai_realtime, "read_usage"),
    (session, "_event"),
    (session, "Facts"),
    (opening, "attributes_in_force"),
    (ending, "decide"),
    (span, "start"),
    (span, "close"),
]


def boom(*_: object, **__: object) -> None:
    raise RuntimeError("a fault of ours")


def optional(client: Client, module: str) -> Any:
    lacks = pytest.mark.skipif(find_spec(module) is None, reason="install the extra dev")
    return pytest.param(client, marks=lacks)


def assert_unchanged(client: Client) -> None:
    with playing(SCRIPT) as address:
        got = client(f"ws://{address}/v1/realtime", SCRIPT)

    assert got == [json.dumps(event).encode() for event in EVENTS]


@pytest.mark.parametrize(("owner", "name"), STEPS, ids=lambda each: getattr(each, "__name__", each))
def test_a_fault_in_a_step_stays_ours_and_is_counted(
    owner: Any,
    name: str,
    spans: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(owner, name, boom)
    assert_unchanged(with_websockets)

    assert failures
    failures.clear()
    monkeypatch.undo()


@pytest.mark.parametrize("step", ["open_session", "Frames"])
@pytest.mark.parametrize(
    "client",
    [
        with_websockets,
        with_websockets_async,
        with_aiohttp,
        optional(with_httpx2, "wsproto"),
        optional(with_httpx_ws, "httpx_ws"),
        optional(with_websocket_client, "websocket"),
    ],
)
def test_a_fault_where_a_socket_is_opened_stays_ours_and_is_counted(
    client: Client, step: str, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (aiohttp_sockets, httpx_sockets, websocket_client, websockets):
        if hasattr(module, step):
            monkeypatch.setattr(module, step, boom)
    assert_unchanged(client)

    assert failures or (client is with_aiohttp and step == "Frames")  # it has none
    failures.clear()
