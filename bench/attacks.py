"""What a hostile sender costs the others: the worst acknowledgement of a good one, and memory.

    python bench/attacks.py [NAME ...]

Each attack is run alone against one collector with its local store, while a good sender sends one
call every 20 ms over HTTP. Printed for each: what the attacker was answered, the highest resident
memory of the collector (before it), and the worst acknowledgement of the good sender.
"""

import gzip
import socket
import struct
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).resolve().parent))
import otlp_load
from collector import ours, usage

PROTOBUF, JSON = "application/x-protobuf", "application/json"
MIB = 1 << 20
SECONDS = 20
"""How long an attack is waited for."""


def length(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + length(rest) if rest else bytes([low])


def message(tag: int, content: bytes) -> bytes:
    return bytes([tag]) + length(len(content)) + content


def spans(span: bytes, size: int, scope: bytes = b"gen_ai.") -> bytes:
    """Return a request of the same span again and again, of about so many bytes."""
    content = message(0x0A, message(0x0A, scope)) + span * (size // len(span))
    return message(0x0A, message(0x12, content))


@dataclass
class Target:
    """The collector under attack, and how the good sender fared."""

    http: str
    grpc: str
    admin: str
    pid: int
    body: bytes = field(default_factory=lambda: otlp_load.prepare(1, 1.0, 1, time.time_ns()))

    def post(self, body: bytes, kind: str = PROTOBUF, coding: str = "identity") -> str:
        request = urllib.request.Request(
            f"http://{self.http}/v1/traces",
            body,
            {"content-type": kind, "content-encoding": coding},
        )
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                return str(answer.status)
        except urllib.error.HTTPError as error:
            return str(error.code)
        except OSError as error:
            return type(error).__name__

    def connect(self, begin: bytes, address: str = "") -> socket.socket:
        host, _, port = (address or self.http).rpartition(":")
        link = socket.create_connection((host, int(port)), timeout=SECONDS)
        with suppress(OSError):
            link.sendall(begin)
        return link


@contextmanager
def good_sender(target: Target) -> Iterator[list[float]]:
    """Send calls one after another until the block ends; yield the seconds each took."""
    took: list[float] = []
    is_over = threading.Event()

    def send() -> None:
        while not is_over.wait(0.02):
            started = time.monotonic()
            answer = target.post(target.body)
            took.append(time.monotonic() - started if answer == "200" else float("inf"))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield took
    finally:
        is_over.set()
        thread.join()


@contextmanager
def peak(pid: int) -> Iterator[list[float]]:
    """Yield a list with the highest resident megabytes, filled while the block runs."""
    highest = [usage(pid)[2]]
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(0.02):
            highest[0] = max(highest[0], usage(pid)[2])

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield highest
    finally:
        is_over.set()
        thread.join()


HEAD = b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
TIMED = message(0x12, struct.pack("<BQ", 0x39, 1 << 60))
EMPTY_SPAN, EMPTY_ATTRIBUTES = b"\x12\x00", b"\x4a\x00"


def nothing(_: Target) -> str:
    time.sleep(3)
    return "-"


def long_header(target: Target, begin: bytes) -> str:
    link = target.connect(begin)
    try:
        for _ in range(128):
            link.sendall(b"a" * MIB)
        return link.recv(20).decode() or "closed"
    except OSError as error:
        return type(error).__name__
    finally:
        link.close()


def unfinished(target: Target, senders: int, size: int) -> str:
    head = HEAD + b"content-length: %d\r\n\r\n" % (size + 1)
    links = [target.connect(head) for _ in range(senders)]
    for link in links:
        with suppress(OSError):
            for _ in range(size // MIB):
                link.sendall(bytes(MIB))
    time.sleep(1)
    for link in links:
        link.close()
    return "-"


def unfinished_grpc(target: Target, senders: int, size: int) -> str:
    """Send the beginnings of messages as HTTP/2 frames; flow control decides how much goes."""

    def preface() -> bytes:
        settings = struct.pack(">I", 0)[1:] + b"\x04\x00" + struct.pack(">I", 0)
        headers = b"".join(
            b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
            for name, value in (
                (b":method", b"POST"), (b":scheme", b"http"), (b":path", otlp_load.EXPORT.encode()),
                (b":authority", b"x"), (b"content-type", b"application/grpc"), (b"te", b"trailers"),
            )
        )  # fmt: skip
        frame = struct.pack(">I", len(headers))[1:] + b"\x01\x04" + struct.pack(">I", 1) + headers
        return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + frame

    data = struct.pack(">I", 16_384)[1:] + b"\x00\x00" + struct.pack(">I", 1)
    first = data + b"\x00" + struct.pack(">I", size) + bytes(16_379)
    links = [target.connect(preface() + first, target.grpc) for _ in range(senders)]
    until = time.monotonic() + 5
    for link in links:
        link.setblocking(False)
    while time.monotonic() < until:
        for link in links:
            with suppress(OSError):
                link.send(data + bytes(16_384))
        time.sleep(0.001)
    for link in links:
        link.close()
    return "-"


def held(target: Target, connections: int, begin: bytes, address: str = "") -> str:
    links = []
    for _ in range(connections):
        with suppress(OSError):
            links.append(target.connect(begin, address))
    time.sleep(12)
    is_open = sum(map(stays_open, links))
    for link in links:
        link.close()
    return f"{is_open} open"


def stays_open(link: socket.socket) -> bool:
    link.setblocking(False)
    try:
        while link.recv(MIB):
            continue
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def many(target: Target, senders: int, body: bytes, **kind: str) -> str:
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.append(target.post(body, **kind)))
        for _ in range(senders)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return "/".join(sorted(set(answers)))


def bomb_over_grpc(target: Target) -> str:
    body = bytes(256 * MIB)
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(target.grpc, options, compression=grpc.Compression.Gzip) as channel:
        try:
            channel.unary_unary(otlp_load.EXPORT)(body, timeout=SECONDS)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


Attack = Callable[[Target], str]
ATTACKS: dict[str, Attack] = {
    "nothing": nothing,
    "empty_resources_64_mib": lambda t: t.post(b"\x0a\x00" * (32 * MIB)),
    "empty_scopes_64_mib": lambda t: t.post(message(0x0A, b"\x12\x00" * (32 * MIB - 8))),
    "empty_spans_63_mib": lambda t: t.post(spans(EMPTY_SPAN, 63 * MIB)),
    "empty_spans_8_mib_gzip": lambda t: t.post(
        gzip.compress(spans(EMPTY_SPAN, 8 * MIB)), coding="gzip"
    ),
    "timed_spans_12_mib_gzip": lambda t: t.post(
        gzip.compress(spans(TIMED, 12 * MIB)), coding="gzip"
    ),
    "timed_spans_below_the_bound": lambda t: t.post(
        spans(message(0x12, b"\x39" + bytes([1] * 8) + b"\x2a\x13" + bytes(19)), 3 * MIB - 200)
    ),
    "empty_attributes_8_mib": lambda t: t.post(
        spans(message(0x12, TIMED[2:] + EMPTY_ATTRIBUTES * (4 * MIB)), 8 * MIB + 20)
    ),
    "empty_attributes_in_small_spans_63_mib": lambda t: t.post(
        spans(message(0x12, TIMED[2:] + EMPTY_ATTRIBUTES * 32_000), 63 * MIB)
    ),
    "no_needle_63_mib": lambda t: t.post(
        spans(message(0x12, b"\x2a\x30" + b"gen_ai" * 8), 63 * MIB, b"")
    ),
    "header_128_mib": lambda t: long_header(t, b"POST /v1/traces HTTP/1.1\r\nhost: x\r\nx: "),
    "trailer_128_mib": lambda t: long_header(
        t, HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: "
    ),
    "gzip_bomb_256_mib": lambda t: t.post(gzip.compress(bytes(256 * MIB)), coding="gzip"),
    "gzip_members_400_000": lambda t: t.post(gzip.compress(b"") * 400_000, coding="gzip"),
    "json_650_000_resources": lambda t: t.post(
        b'{"resourceSpans":[' + b"{}," * 650_000 + b"{}]}", kind=JSON
    ),
    "json_60_million_brackets": lambda t: t.post(b"[" * 60_000_000, kind=JSON),
    "large_bodies_20_senders": lambda t: many(t, 20, spans(TIMED, 60 * MIB)),
    "json_8_senders": lambda t: many(
        t, 8, b'{"resourceSpans":[' + b"{}," * 650_000 + b"{}]}", kind=JSON
    ),
    "slow_headers_800": lambda t: held(t, 800, HEAD),
    "idle_admin_800": lambda t: held(t, 800, b"", t.admin),
    "idle_grpc_800": lambda t: held(t, 800, b"", t.grpc),
    "unfinished_12_of_60_mib": lambda t: unfinished(t, 12, 60 * MIB),
    "unfinished_grpc_12_of_60_mib": lambda t: unfinished_grpc(t, 12, 60 * MIB),
    "grpc_gzip_bomb_256_mib": bomb_over_grpc,
}  # fmt: skip


def main(names: list[str]) -> None:
    """Run the attacks and print a line for each."""
    if unknown := [name for name in names if name not in ATTACKS]:
        sys.exit(f"no attack {unknown[0]!r}; there are: {', '.join(ATTACKS)}")
    with tempfile.TemporaryDirectory() as folder, ours(Path(folder)) as (process, ready):
        admin = ready["admin"].partition("//")[2]
        target = Target(ready["otlp_http"], ready["otlp_grpc"], admin, process.pid)
        for name in names or ATTACKS:
            before = usage(process.pid)[2]
            with peak(process.pid) as highest, good_sender(target) as took:
                started = time.monotonic()
                answer = ATTACKS[name](target)
                seconds = time.monotonic() - started
                time.sleep(1)
            print(f"# {name}: {answer} after {seconds:.1f} s", flush=True)
            print(f"attack.{name}.memory {highest[0]:.0f} MB ({before:.0f})")
            print(f"attack.{name}.ack.max {max(took) * 1e3:.0f} ms", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
