"""Calls over WebSockets: what recorded conversations become, through the clients SDKs use."""

import gc
import json
import tracemalloc
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from socket import socketpair
from typing import Any
from urllib.parse import urlsplit

import pytest
import websockets.asyncio.client
import websockets.client
import websockets.sync.client
import websockets.uri
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode

import recording_files
import tallyspan
from socket_clients import (
    talk,
    talk_asynchronously,
    talk_to_azure,
    talk_to_gemini,
    with_aiohttp,
    with_httpx2,
    with_httpx_ws,
    with_websocket_client,
    with_websockets,
    with_websockets_async,
)
from socket_server import Script, both_sides_of_tls, playing
from span_facts import wrong
from tallyspan import __version__, semconv
from tallyspan.background import Background
from tallyspan.exchange import begin, settle
from tallyspan.guard import failures
from tallyspan.not_understood import sightings
from tallyspan.response_turns import MAX_ENDED, MAX_OPEN, ResponseTurns
from tallyspan.sampling import CallTracer
from tallyspan.session import Session, open_session
from tallyspan.transport import websockets as transport

pytestmark = pytest.mark.filterwarnings(  # of what openai does
    r"ignore:connect\(\) must be used as a context manager:DeprecationWarning"
)
CONVERSATIONS = recording_files.conversations()
EACH = pytest.mark.parametrize(
    "recording", CONVERSATIONS, ids=lambda each: f"{each.format}/{each.name}"
)
OF_OPENAI = [
    each
    for each in CONVERSATIONS
    if (each.format, each.name)
    in {
        ("openai_realtime", "conversation"),
        ("openai_responses", "turns"),
        ("openai_live", "session"),
    }
]
"""Those that are played through the SDK of their provider."""
REALTIME = next(each for each in OF_OPENAI if each.format == "openai_realtime")


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallyspan.session.background", Background())


def attributes(spans: InMemorySpanExporter) -> list[dict[str, Any]]:
    return [dict(span.attributes or {}) for span in spans.get_finished_spans()]


def session_at(url: str, provider: TracerProvider) -> Session:
    parts = urlsplit(url)
    tracer = CallTracer(provider, "test", __version__, is_always_on=True)
    address = parts.scheme, parts.hostname or "", parts.port, parts.path, parts.query
    session = open_session(tracer, address)
    assert session is not None
    return session


@pytest.mark.parametrize("as_text", [True, False])
@EACH
def test_a_recorded_conversation_becomes_the_calls_that_it_is(
    recording: recording_files.Conversation,
    as_text: bool,
    tracing: tuple[TracerProvider, InMemorySpanExporter],
) -> None:
    session = session_at(recording.url, tracing[0])
    assert session._endpoint.is_certain
    assert session._endpoint.format.name == recording.format
    for who, message in recording.messages:
        written = json.dumps(message)
        if who == "sent":
            session.sent(written if as_text else written.encode())
        else:
            session.received(written if as_text else written.encode())
    session.end("ConnectionClosedOK")
    calls = attributes(tracing[1])

    assert [call[semconv.PROVIDER] for call in calls] == [
        each["provider"] for each in recording.calls
    ]
    assert [wrong(each, call) for each, call in zip(recording.calls, calls, strict=True)] == [
        [] for _ in recording.calls
    ]
    assert "secret" not in str(calls)


# Through the SDKs, against a server that plays the recording.

BOTH = pytest.mark.parametrize("talking", [talk, talk_asynchronously])
Talking = Callable[..., list[bytes]]
Tracing = tuple[TracerProvider, InMemorySpanExporter]


@BOTH
@pytest.mark.parametrize("recording", OF_OPENAI, ids=lambda each: each.format)
def test_a_real_sdk_gets_every_byte_and_each_response_is_one_span(
    recording: recording_files.Conversation, talking: Talking, spans: InMemorySpanExporter
) -> None:
    with playing(recording.messages) as address:
        got = talking(address, recording.messages, recording.format)
    calls = attributes(spans)
    host, _, port = address.partition(":")

    assert got == [json.dumps(m).encode() for who, m in recording.messages if who == "received"]
    assert [wrong(each, call) for each, call in zip(recording.calls, calls, strict=True)] == [
        [] for _ in recording.calls
    ]
    assert {(call[semconv.SERVER_ADDRESS], call[semconv.SERVER_PORT]) for call in calls} == {
        (host, int(port))
    }
    assert "sk-secret" not in str(calls)
    assert "Be brief" not in str(calls)


def test_a_deployment_of_azure_is_the_model_that_its_sdk_asks_for(
    spans: InMemorySpanExporter,
) -> None:
    recording = next(each for each in CONVERSATIONS if each.name == "azure-deployment")
    with playing(recording.messages) as address:
        got = talk_to_azure(address, recording.messages)
    calls = attributes(spans)

    assert got == [json.dumps(m).encode() for who, m in recording.messages if who == "received"]
    assert [wrong(each, call) for each, call in zip(recording.calls, calls, strict=True)] == [
        [] for _ in recording.calls
    ]
    assert "secret" not in str(calls)


def needs(*modules: str) -> pytest.MarkDecorator:
    is_lacking = any(find_spec(each) is None for each in modules)
    return pytest.mark.skipif(is_lacking, reason="install the extra dev")


@pytest.mark.parametrize(
    "client",
    [
        with_websockets,
        with_websockets_async,
        with_aiohttp,
        pytest.param(with_httpx2, marks=needs("wsproto")),
        pytest.param(with_httpx_ws, marks=needs("httpx_ws")),
        pytest.param(with_websocket_client, marks=needs("websocket")),
    ],
)
@EACH
def test_each_client_gives_the_calls_of_each_conversation(
    recording: recording_files.Conversation,
    client: Callable[[str, Script], list[bytes]],
    spans: InMemorySpanExporter,
) -> None:
    own = urlsplit(recording.url)
    with playing(recording.messages) as address, tallyspan.attribution(user_id="ada"):
        got = client(own._replace(scheme="ws", netloc=address).geturl(), recording.messages)
    sightings.tell()
    calls = attributes(spans)

    assert got == [json.dumps(m).encode() for who, m in recording.messages if who == "received"]
    assert [wrong(each, call) for each, call in zip(recording.calls, calls, strict=True)] == [
        [] for _ in recording.calls
    ]
    assert {call[semconv.USER_ID] for call in calls} == {"ada"}
    has_output = "delta" in str(recording.messages) or "modelTurn" in str(recording.messages)
    assert any(semconv.TIME_TO_FIRST_CHUNK in call for call in calls) == has_output


def test_the_request_that_opens_a_socket_is_not_counted_and_a_socket_nobody_knows_is(
    tracing: Tracing,
) -> None:
    tracer = CallTracer(tracing[0], "test", __version__, is_always_on=True)
    sightings.reset()
    for path in ("/v1/realtime", "/v1/responses", "/v1/realtime/songs"):
        assert begin(tracer, "GET", ("https", "api.openai.com", None, path), b"") is None
    unknown = websockets.uri.parse_uri("wss://api.openai.com/v1/realtime/dances?model=x")
    protocol = websockets.client.ClientProtocol(unknown)
    ours, theirs = socketpair()
    connection = websockets.sync.client.ClientConnection(ours, protocol)
    transport._begin(tracer, connection)
    theirs.close()
    connection.close_socket()
    sightings.tell()

    assert [line for call in attributes(tracing[1]) for line in call[semconv.NOT_UNDERSTOOD]] == [
        "1 GET api.openai.com/v1/realtime/songs", "1 GET api.openai.com/v1/realtime/dances",
    ]  # fmt: skip
    sightings.reset()


def test_each_turn_of_gemini_live_is_one_span_through_its_sdk(
    spans: InMemorySpanExporter, tmp_path: Path
) -> None:
    server, trusting = both_sides_of_tls(tmp_path)
    recording = next(each for each in CONVERSATIONS if each.format == "gemini_live")
    with playing(recording.messages, tls=server) as address:
        received = talk_to_gemini(address, recording.messages, "gemini-3.8-live", trusting)
    calls = attributes(spans)

    assert received == sum(who == "received" for who, _ in recording.messages)
    assert [wrong(each, call) for each, call in zip(recording.calls, calls, strict=True)] == [
        [] for _ in recording.calls
    ]
    # Only what was asked for, and not what follows when somebody is heard, has a first moment.
    assert [semconv.TIME_TO_FIRST_CHUNK in call for call in calls] == [
        True, False, True, False, False,
    ]  # fmt: skip
    assert "secret" not in str(calls)
    assert "Be brief" not in str(calls)


def created(response_id: str) -> dict[str, Any]:
    return {"type": "response.created", "response": {"id": response_id, "status": "in_progress"}}


def done(response_id: str, input_tokens: int = 9, output_tokens: int = 4) -> dict[str, Any]:
    usage = {"input_tokens": input_tokens, "output_tokens": output_tokens}
    return {
        "type": "response.done",
        "response": {"id": response_id, "status": "completed", "usage": usage},
    }


def delta(response_id: str) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "response_id": response_id, "delta": "x"}


ASK = {"type": "response.create"}
CONFIGURED = {"type": "session.created", "session": {"model": "gpt-realtime"}}
URL = "wss://api.openai.com/v1/realtime?model=gpt-realtime"


def play(session: Session, *messages: dict[str, Any]) -> None:
    """Play messages; those that an application sends are told by their type."""
    for message in messages:
        if message["type"] in {"response.create", "session.update"}:
            session.sent(json.dumps(message))
        else:
            session.received(json.dumps(message).encode())


@BOTH
@pytest.mark.parametrize("end", [[("closed", None)], []])
def test_a_response_on_a_socket_that_ends_is_a_failed_call_of_unknown_usage(
    talking: Talking, end: Script, spans: InMemorySpanExporter
) -> None:
    messages = [CONFIGURED, created("resp_1"), done("resp_1"), created("resp_2"), delta("resp_2")]
    script = [("received", message) for message in messages]
    with playing([*script, *end]) as address:
        talking(address, script)
    whole, cut = spans.get_finished_spans()
    assert whole.attributes is not None
    assert cut.attributes is not None

    assert whole.status.status_code is StatusCode.UNSET
    assert cut.status.status_code is StatusCode.ERROR
    assert str(cut.attributes[semconv.ERROR_TYPE]).startswith("ConnectionClosed")
    assert cut.attributes[semconv.USAGE_SOURCE] == "unknown"
    assert cut.attributes[semconv.RESPONSE_ID] == "resp_2"


def test_an_event_that_comes_twice_is_one_call(tracing: Tracing) -> None:
    session = session_at(URL, tracing[0])
    play(session, CONFIGURED, ASK, created("resp_1"), done("resp_1"), done("resp_1"))
    play(session, created("resp_1"))
    session.end("")
    session.end("")

    assert [call[semconv.RESPONSE_ID] for call in attributes(tracing[1])] == ["resp_1"]


@pytest.mark.parametrize("padding", [0, 10_000])
@pytest.mark.parametrize("order", [["type", "event_id", "response"], ["event_id", "type", "response"],
                                   ["response", "event_id", "type"], ["event_id", "response", "type"]])  # fmt: skip
def test_an_event_is_read_wherever_its_type_stands(
    order: list[str], padding: int, tracing: Tracing
) -> None:
    session = session_at(URL, tracing[0])
    event = done("a") | {"event_id": "e"}
    event["response"] |= {"note": [{"type": "message", "text": "x" * padding}]}
    play(session, ASK)
    session.received(json.dumps({key: event[key] for key in order}, indent=1))

    assert [call[semconv.RESPONSE_ID] for call in attributes(tracing[1])] == ["a"]


def test_responses_at_the_same_time_are_told_apart(tracing: Tracing) -> None:
    session = session_at(URL, tracing[0])
    play(session, ASK, ASK, created("a"), created("b"), delta("b"), done("b", 1), done("a", 2))
    calls = attributes(tracing[1])

    assert [(call[semconv.RESPONSE_ID], call["gen_ai.usage.input_tokens"]) for call in calls] == [
        ("b", 1), ("a", 2),
    ]  # fmt: skip
    assert [semconv.TIME_TO_FIRST_CHUNK in call for call in calls] == [True, False]


def test_a_call_begins_with_what_asked_for_it_and_its_first_chunk_is_measured_from_there(
    tracing: Tracing, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1, 20))
    monkeypatch.setattr("tallyspan.session.time.time_ns", lambda: next(clock) * 10**9)
    monkeypatch.setattr("tallyspan.session.time.perf_counter", lambda: 100.5 + next(clock))
    session = session_at(URL, tracing[0])
    play(session, ASK)  # at 1 s; 102.5 on the other clock
    play(session, created("a"))  # 3 s, 104.5
    play(session, delta("a"))  # 5 s, 106.5
    play(session, delta("a"), done("a"))  # the second is not looked at: 7 s, 108.5
    (span,) = tracing[1].get_finished_spans()
    assert span.attributes is not None

    assert (span.start_time, span.end_time) == (1 * 10**9, 7 * 10**9)
    assert span.attributes[semconv.TIME_TO_FIRST_CHUNK] == 4.0


def test_a_call_is_that_of_whoever_sent_what_caused_it_or_of_whoever_connected(
    tracing: Tracing,
) -> None:
    parent = tracing[0].get_tracer("app")
    with tallyspan.attribution(user_id="connected", conversation_id="c1", tags={"desk": "7"}):
        session = session_at(URL, tracing[0])
    play(session, created("by voice"), done("by voice"))
    with tallyspan.attribution(user_id="ada"), parent.start_as_current_span("turn") as turn:
        play(session, ASK)
    with tallyspan.attribution(user_id="bob", agent_id="agent-b"):
        play(session, ASK)
    play(session, created("a"), created("b"), done("b"), done("a"))
    calls = {
        str((span.attributes or {})[semconv.RESPONSE_ID]): span
        for span in tracing[1].get_finished_spans()
        if span.name != "turn"
    }
    people = {
        name: [
            (span.attributes or {}).get(key)
            for key in (semconv.USER_ID, semconv.AGENT_ID, semconv.CONVERSATION_ID)
        ]
        for name, span in calls.items()
    }

    assert people == {
        "by voice": ["connected", None, "c1"],
        "a": ["ada", None, "c1"],
        "b": ["bob", "agent-b", "c1"],
    }
    assert calls["a"].parent == turn.get_span_context()
    assert (calls["a"].attributes or {})[semconv.TAG_PREFIX + "desk"] == "7"


def test_a_request_that_was_refused_is_no_call_and_does_not_take_the_next_ones_place(
    tracing: Tracing,
) -> None:
    session = session_at(URL, tracing[0])
    with tallyspan.attribution(user_id="refused"):
        play(session, ASK | {"event_id": "e1"}, ASK)
    play(session, {"type": "error", "error": {"type": "invalid", "event_id": "e1"}})
    busy = {"code": "conversation_already_has_active_response", "event_id": None}
    play(session, {"type": "error", "error": busy})
    with tallyspan.attribution(user_id="ada"):
        play(session, ASK)
    play(session, created("a"), done("a"))
    session.end("")

    assert [call[semconv.USER_ID] for call in attributes(tracing[1])] == ["ada"]


@pytest.mark.parametrize(
    "message", ["", "{", "[1]", "null", '{"type": 7}', '{"type": "response.done"}',
                '{"type": "response.done", "response": []}', "\ud800", '"response.done"',
                '{"type": "response.created", "response": {"id": 4}}'],
)  # fmt: skip
def test_what_is_no_event_is_counted_at_most_and_the_next_one_is_read(
    message: str, tracing: Tracing
) -> None:
    session = session_at(URL, tracing[0])
    session.sent(message)
    session.received(message)
    session.received(message.encode("utf-8", "replace"))
    play(session, created("a"), done("a"))
    calls = attributes(tracing[1])

    assert calls[-1][semconv.RESPONSE_ID] == "a"
    assert all(call[semconv.USAGE_SOURCE] == "unknown" for call in calls[:-1])
    failures.clear()


@pytest.mark.parametrize("as_text", [True, False])
def test_a_message_of_100_mb_costs_no_parsing_and_no_memory_and_its_call_is_flagged(
    as_text: bool, tracing: Tracing
) -> None:
    event = json.dumps(done("a"))[:-1].encode()
    huge = event + b', "padding": [' + b"[]," * (33 << 20) + b"0]}"
    message = huge.decode() if as_text else huge
    session = session_at(URL, tracing[0])
    play(session, ASK, created("a"))
    tracemalloc.start()
    session.received(message)
    session.received(message)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    session.end("")
    (call,) = attributes(tracing[1])

    assert used < 1 << 20
    assert call[semconv.USAGE_UNREAD] == ("[more]",)
    assert call["gen_ai.usage.input_tokens"] == 9  # what stands at one of its ends is read
    failures.clear()


def test_where_nobody_looks_messages_are_read_later_in_their_order_and_all_before_a_flush() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = CallTracer(provider, "test", __version__, is_always_on=True, settle=settle)
    address = "wss", "api.openai.com", None, "/v1/realtime", "model=gpt-realtime"
    session = open_session(tracer, address)
    assert session is not None
    ids = [f"resp_{number}" for number in range(400)]  # more than are noted before they are read
    for number, each in enumerate(ids):
        play(session, ASK, created(each), delta(each), done(each, number))
    session.end("")
    provider.force_flush()
    calls = attributes(exporter)
    provider.shutdown()

    assert [(c[semconv.RESPONSE_ID], c["gen_ai.usage.input_tokens"]) for c in calls] == [
        (each, number) for number, each in enumerate(ids)
    ]
    assert all(semconv.TIME_TO_FIRST_CHUNK in call for call in calls)


def test_a_socket_that_nobody_closes_ends_with_its_connection_but_not_after_a_fork(
    tracing: Tracing, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(session_at(URL, tracing[0]), ASK, created("a"))
    gc.collect()
    in_child = session_at(URL, tracing[0])
    play(in_child, ASK, created("b"))
    monkeypatch.setattr("tallyspan.session.os.getpid", lambda: -1)
    del in_child
    gc.collect()
    (call,) = attributes(tracing[1])

    assert (call[semconv.RESPONSE_ID], call[semconv.ERROR_TYPE]) == ("a", "abandoned")


def test_a_live_session_that_is_cut_has_the_seconds_it_stated_and_two_sockets_of_it_are_one_call(
    tracing: Tracing,
) -> None:
    begun = {"type": "session.started", "session": {"id": "sess_1", "model": "gpt-live-1"}}
    used = {"type": "session.usage.updated", "usage": {"seconds": 30, "paused_seconds": 9}}
    at = "wss://api.openai.com/v1/live/sessions"
    sockets = [session_at(at, tracing[0]), session_at(f"{at}/sess_1/attach", tracing[0])]
    play(sockets[0], begun, used)
    play(sockets[1], used)
    for socket in sockets:
        socket.end("lost")
    (call,) = attributes(tracing[1])

    assert call[semconv.RESPONSE_ID] == "sess_1"
    assert call[semconv.ERROR_TYPE] == "lost"
    assert call["tallyspan.meter.seconds"] == 30
    assert call[semconv.USAGE_UNREAD] == ("usage.paused_seconds",)  # which cost less


def test_what_is_open_and_what_is_remembered_is_bounded(tracing: Tracing) -> None:
    session = session_at(URL, tracing[0])
    for number in range(1000):
        play(session, ASK, created(f"resp_{number}"))
    play(session, done("resp_0"), done("resp_999"))
    turns = session._turns
    assert isinstance(turns, ResponseTurns)

    assert len(turns._open) <= MAX_OPEN
    assert len(turns._requests) <= MAX_OPEN
    assert len(turns._ended) <= MAX_ENDED
    assert [call[semconv.RESPONSE_ID] for call in attributes(tracing[1])] == ["resp_0", "resp_999"]
    assert failures["follow a response of a socket"] == 1000 - MAX_OPEN
    failures.clear()


def test_the_calls_of_a_trace_that_is_not_sampled_are_there(exporter_of_nothing: Tracing) -> None:
    session = session_at(URL, exporter_of_nothing[0])
    play(session, ASK, created("a"), done("a"))

    assert [call[semconv.RESPONSE_ID] for call in attributes(exporter_of_nothing[1])] == ["a"]


@pytest.fixture
def exporter_of_nothing() -> Tracing:
    exporter, provider = InMemorySpanExporter(), TracerProvider(sampler=ALWAYS_OFF)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


@pytest.mark.parametrize(
    "url",
    ["wss://api.openai.com/v1/models", "wss://chat.example/socket", "wss://api.openai.com/"],
)
def test_other_sockets_are_left_alone(url: str, tracing: Tracing) -> None:
    parts = urlsplit(url)
    tracer = CallTracer(tracing[0], "test", __version__, is_always_on=True)

    assert open_session(tracer, ("wss", parts.hostname or "", None, parts.path, "")) is None


def test_a_failure_of_ours_changes_nothing_for_the_application(
    spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ValueError("broken")

    script = [("received", message) for message in (CONFIGURED, created("a"), done("a"))]
    for place in ("socket_format.Needles.are_in", "session.Frames.feed", "session.ending.decide"):
        monkeypatch.setattr(f"tallyspan.{place}", fail)
        with playing(script) as address:
            got = talk(address, script)

        assert got == [json.dumps(message).encode() for _, message in script]
        monkeypatch.undo()
    assert failures
    failures.clear()


def test_what_is_switched_off_is_the_librarys_own_again(
    tracing: Tracing,
) -> None:
    methods = [
        (owner, name, owner.__dict__[name])
        for module in (websockets.sync.client, websockets.asyncio.client)
        for owner in (module.ClientConnection, module.ClientConnection.__mro__[1])
        for name in ("handshake", "process_event", "send", "recv_events", "connection_lost")
        if name in owner.__dict__
    ]
    tallyspan.instrument(tracer_provider=tracing[0])
    wrapped = sum(owner.__dict__[name] is not method for owner, name, method in methods)
    tallyspan.uninstrument()

    assert wrapped == 8
    assert all(owner.__dict__[name] is method for owner, name, method in methods)
