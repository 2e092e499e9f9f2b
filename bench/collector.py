"""What the collector costs: CPU a span, acknowledgements, delay, memory; beside Rotel in one run.

    python bench/collector.py [--seconds 10] [--rounds 3] [--without-rotel]

Ours does its whole work: spool with fsync, decode, price, insert into a local ClickHouse (whose CPU
is printed apart). Rotel 0.0.1a15 (a Rust collector from PyPI) gets the same requests in the same
minutes and sends them with its ClickHouse exporter to a server that takes everything and keeps
nothing; it acknowledges from memory. Rounds alternate; the median of the rounds is printed.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

sys.path.insert(0, str(Path(__file__).resolve().parent))
import otlp_load

from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.local import running_url

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / "build" / "rotel"
ROTEL = "0.0.1a15"
SPANS = 512
IN_FLIGHT = 16
SENDERS = 32
SPANS_OF_64_KB = 64


def figure(name: str, value: float, unit: str) -> None:
    """Print one figure."""
    print(f"{name} {value:.2f} {unit}", flush=True)


@contextmanager
def ours(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Run a collector with its local store."""
    free = "127.0.0.1:0"
    process = subprocess.Popen(
        [sys.executable, "-m", "tallyspan", "up", "--data-dir", str(data_dir), "--otlp-grpc", free,
         "--otlp-http", free, "--admin", free],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(60)


class Sink(BaseHTTPRequestHandler):
    """A ClickHouse that takes every insert and keeps nothing."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Read the body, whatever it is, and say that it is well."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline() or b"0", 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        else:
            self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def rotel(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run Rotel with a sink behind its ClickHouse exporter."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        print(f"installing rotel {ROTEL} into {ENVIRONMENT}", file=sys.stderr)
        venv.create(ENVIRONMENT, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", f"rotel=={ROTEL}"], check=True)
    binary = next(ENVIRONMENT.glob("lib/python*/site-packages/rotel/rotel-agent"))
    sink = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    Thread(target=sink.serve_forever, daemon=True).start()
    port = 34_000 + os.getpid() % 1000
    process = subprocess.Popen(
        [binary, "start", "--otlp-grpc-endpoint", f"127.0.0.1:{port}", "--otlp-http-endpoint",
         f"127.0.0.1:{port + 1000}", "--otlp-grpc-max-recv-msg-size-mib", "64", "--pid-file",
         str(folder / "rotel.pid"), "--log-file", str(folder / "rotel.log"), "--exporter",
         "clickhouse", "--clickhouse-exporter-endpoint",
         f"http://127.0.0.1:{sink.server_address[1]}", "--clickhouse-exporter-compression", "lz4"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process, f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)
        sink.shutdown()


def load(address: str, share: float, seconds: float) -> otlp_load.Sent:
    """Send so long; return what was acknowledged."""
    now = time.time_ns()
    requests = [otlp_load.prepare(SPANS, share, seed, now) for seed in range(16)]
    return asyncio.run(otlp_load.send(address, requests, SPANS, IN_FLIGHT, seconds))


def settle(admin: str) -> None:
    """Wait until nothing waits in the spool."""
    import urllib.request

    while True:
        with urllib.request.urlopen(f"{admin}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        waiting = [
            float(line.split()[1])
            for line in lines
            if line.startswith(("tallyspan_spool_requests ", "tallyspan_spool_batches "))
        ]
        if not any(waiting):
            return
        time.sleep(0.05)


def cost(pid: int, address: str, share: float, seconds: float, admin: str = "") -> float:
    """Return CPU us a span, from the first byte to the last insert."""
    before, _ = otlp_load.cpu_and_memory(pid)
    sent = load(address, share, seconds)
    if admin:
        settle(admin)
    else:
        time.sleep(2)
    after, _ = otlp_load.cpu_and_memory(pid)
    return (after - before) / sent.spans * 1e6


def visible(ready: dict[str, str], data_dir: Path) -> float:
    """Return seconds from sending one request of one call to seeing it in a query."""
    body = otlp_load.prepare(1, 1.0, 1, time.time_ns())
    url = running_url(data_dir)
    assert url is not None
    with connect(url) as client:
        count = "SELECT count() FROM llm_calls"
        before = client.query(count).result_rows
        started = time.perf_counter()
        asyncio.run(otlp_load.send(ready["otlp_grpc"], [body], 1, 1, 0.001))
        while client.query(count).result_rows == before:
            time.sleep(0.005)
        return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-rotel", action="store_true")
    options = parser.parse_args()
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)
        print(f"  {name} {value:.2f}", file=sys.stderr)

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        with ours(folder / "ours") as (process, ready):
            time.sleep(1)
            figure("collector.memory.idle", otlp_load.cpu_and_memory(process.pid)[1], "MB")
            load(ready["otlp_grpc"], 0.5, 2)  # warm
            settle(ready["admin"])
            for _ in range(options.rounds):
                for name, share in (("genai", 1.0), ("mixed", 0.5)):
                    note(name, cost(process.pid, ready["otlp_grpc"], share, options.seconds,
                                    ready["admin"]))  # fmt: skip
                if not options.without_rotel:
                    with rotel(folder) as (other, address):
                        time.sleep(1)
                        load(address, 0.5, 1)
                        for name, share in (("genai", 1.0), ("mixed", 0.5)):
                            note(f"rotel.{name}", cost(other.pid, address, share, options.seconds))
            for name in ("genai", "mixed"):
                figure(f"collector.cpu.{name}", statistics.median(found[name]), "us/span")
                if f"rotel.{name}" in found:
                    peer = statistics.median(found[f"rotel.{name}"])
                    figure(f"rotel.cpu.{name}", peer, "us/span")
                    figure(
                        f"collector.cpu.{name}.of_rotel", statistics.median(found[name]) / peer, "x"
                    )
            small = [
                otlp_load.prepare(SPANS_OF_64_KB, 1.0, seed, time.time_ns()) for seed in range(32)
            ]
            sent = asyncio.run(
                otlp_load.send(ready["otlp_grpc"], small, SPANS_OF_64_KB, SENDERS, options.seconds)
            )
            figure("collector.ack.p50", sent.percentile(0.5), "ms")
            figure("collector.ack.p99", sent.percentile(0.99), "ms")
            figure("collector.rate", sent.spans / options.seconds, "spans/s")
            figure("collector.memory.saturated", otlp_load.cpu_and_memory(process.pid)[1], "MB")
            settle(ready["admin"])
            delays = [visible(ready, folder / "ours") for _ in range(10)]
            figure("collector.visible.p50", statistics.median(delays), "s")
            figure("collector.visible.max", max(delays), "s")


if __name__ == "__main__":
    main()
