"""A provider and an OTLP receiver on loopback, for captures: answers with one recording at a time.

A recording that was no stream is streamed where a client asks for one: its own answer and usage,
in the events of its wire format.
"""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tallyspan_collector.demo.recordings import Recording

EXPORTS = ("/v1/traces", "/v1/logs", "/v1/metrics")
SSE = {"content-type": "text/event-stream"}


class Replay:
    """`port`; `recording` answers what is asked next; `answered` counts; `exports` are what came."""

    def __init__(self) -> None:
        self.port = 0
        self.recording: Recording | None = None
        self.answered = 0
        self.asked: list[str] = []
        self.exports: list[tuple[str, str, bytes]] = []
        self.hangs = False

    def answer(self, path: str, wants_stream: bool) -> tuple[int, dict[str, str], list[bytes]]:
        recording = self.recording
        if recording is None or recording.path.rpartition("/")[2].partition(":")[0] not in path:
            # SDKs put other things before the last part of the path
            if recording is None or not _is_like(path, recording):
                return 404, {"content-type": "application/json"}, [b"{}"]
        self.answered += 1
        if wants_stream and not recording.is_stream:
            return 200, SSE, list(streamed(recording))
        body = recording.response_body.encode()
        headers = {
            name: value
            for name, value in recording.response_headers.items()
            if name.lower()
            not in {"content-length", "transfer-encoding", "date", "server", "content-encoding"}
        }
        return (
            recording.status,
            headers,
            (body.splitlines(keepends=True) if recording.is_stream else [body]),
        )


def _is_like(path: str, recording: Recording) -> bool:
    ends = {"openai.chat": "/chat/completions", "openai.responses": "/responses",
            "anthropic.messages": "/messages", "gemini.generate": "enerateContent",
            "openai.embeddings": "/embeddings"}  # fmt: skip
    return path.endswith(ends[recording.expected["api"]])


def streamed(recording: Recording) -> Iterator[bytes]:
    """Yield the events of a recorded answer as its provider streams them."""
    said = json.loads(recording.response_body)
    match recording.expected["api"]:
        case "openai.chat":
            head = {key: said[key] for key in ("id", "created", "model") if key in said}
            head["object"] = "chat.completion.chunk"
            choice = said["choices"][0]
            text = choice["message"].get("content") or "."
            for delta, finish in (({"role": "assistant", "content": text}, None), ({}, "stop")):
                yield _event({**head, "choices": [
                    {"index": 0, "delta": delta, "finish_reason": finish}]})  # fmt: skip
            yield _event({**head, "choices": [], "usage": said["usage"]})
            yield b"data: [DONE]\n\n"
        case "anthropic.messages":
            usage = said["usage"]
            yield _event({"type": "message_start", "message": {
                **said, "content": [], "stop_reason": None,
                "usage": {**usage, "output_tokens": 1}}})  # fmt: skip
            yield _event({"type": "content_block_start", "index": 0,
                          "content_block": {"type": "text", "text": ""}})  # fmt: skip
            yield _event({"type": "content_block_delta", "index": 0,
                          "delta": {"type": "text_delta", "text": "."}})  # fmt: skip
            yield _event({"type": "content_block_stop", "index": 0})
            yield _event({"type": "message_delta", "usage": usage,
                          "delta": {"stop_reason": "end_turn", "stop_sequence": None}})  # fmt: skip
            yield _event({"type": "message_stop"})
        case other:
            raise ValueError(f"{other} cannot be streamed here")


def _event(said: dict[str, Any]) -> bytes:
    named = f"event: {said['type']}\n" if "type" in said else ""
    return f"{named}data: {json.dumps(said)}\n\n".encode()


@contextmanager
def replaying() -> Iterator[Replay]:
    """Serve until the block ends."""
    replay = Replay()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(200, {"content-type": "application/json"}, [b'{"data":[],"models":[]}'])

        def do_POST(self) -> None:
            body = self._body()
            path = self.path.partition("?")[0]
            kind = self.headers.get("content-type", "")
            if path.endswith(EXPORTS):
                replay.exports.append((path, kind, body))
                self._send(200, {"content-type": kind}, [b"{}"] if "json" in kind else [])
                return
            replay.asked.append(path)
            try:
                wants = bool(json.loads(body).get("stream"))
            except (ValueError, AttributeError):
                wants = False
            status, headers, pieces = replay.answer(path, wants or "streamGenerate" in path)
            if replay.hangs:  # the first part of the answer, and then nothing
                pieces = pieces[:1] + [b""]
            self._send(status, headers, pieces)

        def _body(self) -> bytes:
            if "chunked" in self.headers.get("transfer-encoding", "").lower():
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                body = b"".join(parts)
            else:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
            coding = self.headers.get("content-encoding", "")
            return gzip.decompress(body) if coding == "gzip" else body

        def _send(self, status: int, headers: dict[str, str], pieces: list[bytes]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for piece in pieces:
                if not piece:
                    threading.Event().wait(30)
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that closes its connection is no error here."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    replay.port = server.server_address[1]
    try:
        yield replay
    finally:
        server.shutdown()
        server.server_close()
