"""What the collector costs: CPU a span, acknowledgements, delay, memory; beside Rotel in one run.

    python bench/collector.py [--seconds 10] [--rounds 3] [--workers 2] [--without-rotel]

Ours does its whole work: spool with fsync, decode, price, insert into a local ClickHouse (whose CPU
is printed apart, as `store`). `ledger` is the rate from the first span sent to the last inserted.
Rotel 0.0.1a15 (a Rust collector from PyPI) gets the same requests in the same minutes and sends
them with its ClickHouse exporter to a server that takes everything and keeps nothing; it
acknowledges from memory. Rounds alternate; the median of the rounds is printed.
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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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
Bodies = tuple[list[bytes], int]
"""Requests, and the spans of each."""


def figure(name: str, value: float, unit: str) -> None:
    """Print one figure."""
    print(f"{name} {value:.2f} {unit}", flush=True)


@contextmanager
def ours(
    data_dir: Path, workers: int = 1
) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Run a collector with its local store."""
    free = "127.0.0.1:0"
    process = subprocess.Popen(
        [sys.executable, "-m", "tallyspan", "up", "--data-dir", str(data_dir), "--otlp-grpc", free,
         "--otlp-http", free, "--admin", free, "--workers", str(workers)],
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


def bodies(load: str, spans: int = SPANS, requests: int = 16) -> Bodies:
    """Return requests of a load (`otlp_load.LOADS`) of so many spans each; and that number."""
    now = time.time_ns()
    return [otlp_load.LOADS[load](spans, seed, now) for seed in range(requests)], spans


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


@dataclass(frozen=True)
class Cost:
    """CPU us a span of the collector's processes and of its store, memory, and spans a second."""

    collector: float
    store: float
    megabytes: float
    ledger: float
    sent: otlp_load.Sent


def cost(ready: dict[str, str], pid: int, bodies: Bodies, in_flight: int, seconds: float) -> Cost:
    """Send so long, and wait until the last call is inserted."""
    before, started = usage(pid), time.monotonic()
    requests, spans = bodies
    sent = asyncio.run(otlp_load.send(ready["otlp_grpc"], requests, spans, in_flight, seconds))
    megabytes = usage(pid)[2]
    settle(ready["admin"])
    took, after = time.monotonic() - started, usage(pid)
    cpu = [(now - then) / sent.spans * 1e6 for then, now in zip(before, after, strict=True)]
    return Cost(cpu[0], cpu[1], megabytes, sent.spans / took, sent)


def usage(pid: int) -> tuple[float, float, float]:
    """Return CPU seconds of the collector and of its store so far, and the collector's MB."""
    collector = store = megabytes = 0.0
    for process in (pid, *children(pid)):
        try:
            cpu, resident = otlp_load.cpu_and_memory(process)
            command = Path(f"/proc/{process}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
        if b"local_engine" in command:
            store += cpu
        else:
            collector += cpu
            megabytes += resident
    return collector, store, megabytes


def children(pid: int) -> Iterator[int]:
    """Return the processes below a process."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            for child in map(int, (task / "children").read_text().split()):
                yield child
                yield from children(child)


def cost_of_rotel(pid: int, address: str, bodies: Bodies, seconds: float) -> float:
    """Return CPU us a span, until the last is exported."""
    before, _ = otlp_load.cpu_and_memory(pid)
    sent = asyncio.run(otlp_load.send(address, *bodies, IN_FLIGHT, seconds))
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


figures: dict[str, list[float]] = {}


def note(name: str, value: float) -> None:
    """Keep a round's figure, and show it."""
    figures.setdefault(name, []).append(value)
    print(f"  {name} {value:.2f}", file=sys.stderr, flush=True)


def rounds(folder: Path, ready: dict[str, str], pid: int, options: argparse.Namespace) -> None:
    """Measure CPU, Rotel's in turns with ours."""
    for _ in range(options.rounds):
        for name in otlp_load.LOADS:
            spent = cost(ready, pid, bodies(name), IN_FLIGHT, options.seconds)
            note(name, spent.collector)
            note(f"{name}.store", spent.store)
            note(f"{name}.ledger", spent.ledger)
        if not options.without_rotel:
            with rotel(folder) as (other, address):
                time.sleep(1)
                cost_of_rotel(other.pid, address, bodies("mixed"), 1)  # warm
                for name in otlp_load.LOADS:
                    took = cost_of_rotel(other.pid, address, bodies(name), options.seconds)
                    note(f"rotel.{name}", took)
    for name in otlp_load.LOADS:
        ours_now = statistics.median(figures[name])
        figure(f"collector.cpu.{name}", ours_now, "us/span")
        figure(
            f"collector.cpu.{name}.store", statistics.median(figures[f"{name}.store"]), "us/span"
        )
        figure(f"collector.ledger.{name}", statistics.median(figures[f"{name}.ledger"]), "spans/s")
        if f"rotel.{name}" in figures:
            peer = statistics.median(figures[f"rotel.{name}"])
            figure(f"rotel.cpu.{name}", peer, "us/span")
            figure(f"collector.cpu.{name}.of_rotel", ours_now / peer, "x")


def acknowledged(name: str, ready: dict[str, str], pid: int, seconds: float) -> None:
    """Measure what senders see, flat out."""
    spent = cost(ready, pid, bodies("genai", SPANS_OF_64_KB, SENDERS), SENDERS, seconds)
    figure(f"{name}.ack.p50", spent.sent.percentile(0.5), "ms")
    figure(f"{name}.ack.p99", spent.sent.percentile(0.99), "ms")
    figure(f"{name}.rate", spent.sent.spans / seconds, "spans/s")
    figure(f"{name}.ledger", spent.ledger, "spans/s")
    figure(f"{name}.cpu.of_64_kb", spent.collector, "us/span")
    figure(f"{name}.memory.saturated", spent.megabytes, "MB")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="measure so many as well; 1: do not")
    parser.add_argument("--without-rotel", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with ours(folder / "ours") as (process, ready):
            time.sleep(1)
            figure("collector.memory.idle", usage(process.pid)[2], "MB")
            cost(ready, process.pid, bodies("mixed"), IN_FLIGHT, 2)  # warm
            delays = [visible(ready, folder / "ours") for _ in range(10)]
            figure("collector.visible.p50", statistics.median(delays), "s")
            figure("collector.visible.max", max(delays), "s")
            rounds(folder, ready, process.pid, options)
            acknowledged("collector", ready, process.pid, options.seconds)
        if options.workers > 1:
            with ours(folder / "workers", options.workers) as (process, ready):
                cost(ready, process.pid, bodies("mixed"), IN_FLIGHT, 2)  # warm
                acknowledged(f"workers_{options.workers}", ready, process.pid, options.seconds)


if __name__ == "__main__":
    main()
