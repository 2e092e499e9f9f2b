"""A provider on this machine: answers each request with the recording its header names."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tallyspan_collector.demo.recordings import Recording

REPLAY_HEADER = "x-tallyspan-replay"
"""Names the recording to answer with."""


@contextmanager
def serving(recordings: Iterable[Recording]) -> Iterator[int]:
    """Serve the recordings on loopback; yield the port. Streams are sent event by event."""
    by_id = {recording.id: recording for recording in recordings}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            recording = by_id.get(self.headers.get(REPLAY_HEADER, ""))
            if recording is None or not self.path.startswith(recording.path):
                self._answer(404, {"content-type": "text/plain"}, [b"no such recording"])
                return
            body = recording.response_body.encode()
            pieces = body.splitlines(keepends=True) if recording.is_stream else [body]
            self._answer(recording.status, recording.response_headers, pieces)

        def _answer(self, status: int, headers: dict[str, str], pieces: list[bytes]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name not in {"content-length", "transfer-encoding", "date", "server"}:
                    self.send_header(name, value)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for piece in pieces:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Ignore the error: clients may close their connections."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
