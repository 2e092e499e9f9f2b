"""A collector that starts while its server is away: it takes calls, and books them later."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import pytest

from otlp_spans import CHAT, request, span
from running import ADMIN_KEY, Running, running_collector
from shared_store import SharedStore
from waiting import wait_for

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Way(socketserver.ThreadingTCPServer):
    """A port in front of a store, which can be closed and opened again."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, port: int, behind: int) -> None:
        self.behind = behind
        self.open: list[socket.socket] = []
        super().__init__(("127.0.0.1", port), _Passing)


class _Passing(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Way)
        with socket.create_connection(("127.0.0.1", self.server.behind)) as store:
            self.server.open += [self.request, store]
            back = threading.Thread(target=_pass, args=(store, self.request), daemon=True)
            back.start()
            _pass(self.request, store)
            back.join()


def _pass(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def opened(port: int, behind: int) -> Iterator[int]:
    way = Way(port, behind)
    threading.Thread(target=way.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield way.server_address[1]
    finally:
        way.shutdown()
        way.server_close()
        for each in way.open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def send(collector: Running, *spans: bytes) -> None:
    with grpc.insecure_channel(collector.ready.otlp_grpc) as channel:
        for each in spans:
            channel.unary_unary(TRACES)(each, timeout=20, wait_for_ready=True)


def spans(collector: Running) -> int:
    return int(collector.client.query("SELECT count() FROM calls").result_rows[0][0])


def health(collector: Running) -> tuple[int, str]:
    answer = httpx.get(f"{collector.ready.admin}/readyz")
    return answer.status_code, " ".join(answer.json()["reasons"])


@pytest.mark.parametrize("workers", [1, 2])
def test_what_arrives_before_the_store_is_there_is_booked_when_it_is(
    workers: int, empty_store: SharedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALLYSPAN_ADMIN_KEY", ADMIN_KEY)
    address = urlsplit(empty_store.url)
    assert address.port is not None
    with opened(0, address.port) as port:
        url = empty_store.url.replace(f":{address.port}", f":{port}")
        settings: dict[str, Any] = {"store": url, "workers": workers}
        with running_collector(tmp_path / "data", **settings) as collector:
            send(collector, request(span(1, CHAT)))
            collector.settle()

    with running_collector(tmp_path / "data", **settings) as collector:
        send(collector, request(span(2, CHAT)), request(span(1, CHAT)), request(span(3, CHAT)))
        answer = httpx.get(
            f"{collector.ready.admin}/api/admin/token_usage",
            headers={"Authorization": f"Bearer {ADMIN_KEY}"},
        )
        # a worker tells its health every second
        wait_for(lambda: health(collector)[1], "a reason not to be ready")
        away, why = health(collector)

        with opened(port, address.port):
            wait_for(
                lambda: (spans(collector), health(collector)[0]) == (3, 200), "all three calls"
            )
            collector.settle()
            rows = spans(collector)

    assert answer.status_code == 503
    assert (away, "no store answers at 127.0.0.1" in why) == (503, True)
    assert rows == 3


def test_a_store_that_was_never_there_is_refused_at_start(tmp_path: Path) -> None:
    with (
        pytest.raises(Exception, match=r"no store answers at 127\.0\.0\.1"),
        running_collector(tmp_path, store="http://127.0.0.1:1/tallyspan"),
    ):
        pass
