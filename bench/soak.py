"""Load with kills and outages; at the end every acknowledged call is in the ledger exactly once.

    python bench/soak.py [--minutes 10] [--seed 1] [--collectors 2]

Senders give requests until they are acknowledged and send some of them twice. At random moments the
collector is killed with SIGKILL and started again, the store's engine is killed (the collector
starts it again), and the store is taken away for a while (its engine is stopped). At the end the
tokens and the pico-dollars of what was acknowledged are compared with `llm_calls` and with each
rollup, and the counts are printed. Exit code 1 if anything differs.

With several collectors, which share a store, each try goes to any of them: a request whose answer
was missed, or that is sent twice, comes to another one.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tallyspan.usage import Usage
from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.local import LocalStore, running_url
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import Priced

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
MODEL, PROVIDER = "gpt-4o-2024-08-06", "openai"
SPANS = 20
SENDERS = 4
DRAIN_SECONDS = 600
"""How long what waits at the end may take to get into the store on a busy machine."""
FIGURES = {
    "llm_calls": "sum(sign), sum(input_tokens), sum(output_tokens), sum(cost_usd)",
    "rollup_users": "sum(calls), sum(input_tokens), sum(output_tokens), sum(cost_usd)",
    "rollup_hourly": "sum(calls), sum(input_tokens), sum(output_tokens), sum(cost_usd)",
}


class Collector:
    """A collector that is killed and started again on the same ports and folder."""

    def __init__(self, data_dir: Path, store: str = "local") -> None:
        self._data_dir = data_dir
        self._store = store
        self._ports = ["127.0.0.1:0"] * 3
        self.kills: Counter[str] = Counter()
        self.start()

    def start(self) -> None:
        """Start it and wait until it listens."""
        grpc_port, http_port, admin = self._ports
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tallyspan", "up", "--data-dir", str(self._data_dir),
             "--store", self._store, "--otlp-grpc", grpc_port, "--otlp-http", http_port,
             "--admin", admin],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        ready = json.loads(self._process.stdout.readline())
        self._ports = [
            ready["otlp_grpc"],
            ready["otlp_http"],
            ready["admin"].removeprefix("http://"),
        ]

    @property
    def address(self) -> str:
        """Where it takes OTLP over gRPC."""
        return self._ports[0]

    def kill(self) -> None:
        """Kill it, leave it dead for a moment, start it again."""
        self.kills["collector"] += 1
        self._process.kill()
        self._process.wait()
        time.sleep(0.5)
        self.start()

    def stop(self) -> int:
        """End it in good order; return its exit code."""
        self._process.terminate()
        return self._process.wait(120)


class Store:
    """The engine that runs in a folder; who started it starts it again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.kills: Counter[str] = Counter()

    def kill(self) -> None:
        """Kill the engine."""
        for pid in self._engines():
            self.kills["store"] += 1
            os.kill(pid, signal.SIGKILL)

    def away(self, seconds: float) -> None:
        """Let the engine stand still for so long."""
        engines = self._engines()
        self.kills["outage"] += 1
        for pid in engines:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        for pid in engines:
            os.kill(pid, signal.SIGCONT)

    def client(self) -> Client:
        """Return a client."""
        url = running_url(self._folder)
        assert url is not None
        return connect(url)

    def _engines(self) -> list[int]:
        pids = []
        for entry in Path("/proc").iterdir():
            try:
                command = (entry / "cmdline").read_bytes().decode()
            except (OSError, ValueError):
                continue
            if "local_engine" in command and str(self._folder) in command:
                pids.append(int(entry.name))
        return pids


class Load:
    """Senders that remember what was acknowledged."""

    def __init__(self, collectors: Sequence[Collector], seed: int) -> None:
        self._collectors = collectors
        self._seed = seed
        self._stopping = threading.Event()
        self._adding = threading.Lock()
        self.requests = self.again = 0
        self.tokens: list[tuple[int, int]] = []
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(SENDERS)]

    def start(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every sender get its last request acknowledged."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _send(self, number: int) -> None:
        chance = random.Random(self._seed * 100 + number)
        while not self._stopping.is_set():
            body, tokens = _request(chance)
            times = 2 if chance.random() < 0.1 else 1
            for _ in range(times):
                self._until_acknowledged(body, chance)
            with self._adding:
                self.requests += 1
                self.again += times - 1
                self.tokens += tokens
            time.sleep(0.01)

    def _until_acknowledged(self, body: bytes, chance: random.Random) -> None:
        while True:
            options = [("grpc.use_local_subchannel_pool", 1)]
            address = chance.choice(self._collectors).address
            with grpc.insecure_channel(address, options=options) as channel:
                try:
                    channel.unary_unary(EXPORT)(body, timeout=10)
                except grpc.RpcError:
                    time.sleep(0.2)
                else:
                    return


def _request(chance: random.Random) -> tuple[bytes, list[tuple[int, int]]]:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    scope.scope.name = "tallyspan"
    tokens = []
    for _ in range(SPANS):
        span = scope.spans.add()
        span.trace_id, span.span_id = chance.randbytes(16), chance.randbytes(8)
        span.start_time_unix_nano = time.time_ns() - chance.randrange(3 * 86_400) * 10**9
        span.end_time_unix_nano = span.start_time_unix_nano + 10**9
        input_tokens, output_tokens = chance.randrange(1, 5000), chance.randrange(1, 900)
        tokens.append((input_tokens, output_tokens))
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": PROVIDER,
            "gen_ai.request.model": MODEL, "gen_ai.response.model": MODEL,
            "gen_ai.usage.input_tokens": input_tokens, "gen_ai.usage.output_tokens": output_tokens,
            "tallyspan.usage.source": "provider", "user.id": f"u{chance.randrange(200)}",
        }  # fmt: skip
        for key, value in attributes.items():
            pair = span.attributes.add()
            pair.key = key
            if isinstance(value, int):
                pair.value.int_value = value
            else:
                pair.value.string_value = value
    return request.SerializeToString(), tokens


def expected(tokens: list[tuple[int, int]]) -> tuple[int, int, int, Decimal]:
    """Return calls, tokens and USD of what was acknowledged, one call after another."""
    book, picousd = PriceBook.load(), 0
    for input_tokens, output_tokens in tokens:
        priced = book.price(
            provider=PROVIDER,
            endpoint_id="",
            model=MODEL,
            at_ns=time.time_ns(),
            usage=Usage(input_tokens=input_tokens, output_tokens=output_tokens),
        )
        assert isinstance(priced, Priced)
        picousd += priced.cost_picousd
    return (
        len(tokens),
        sum(input_tokens for input_tokens, _ in tokens),
        sum(output_tokens for _, output_tokens in tokens),
        Decimal(picousd).scaleb(-12),
    )


def main() -> int:
    """Run, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--collectors", type=int, default=1)
    parser.add_argument("--drain", type=float, default=DRAIN_SECONDS, help="seconds")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folders = [Path(name) / f"collector-{number}" for number in range(options.collectors)]
        store_folder, url = folders[0], "local"
        if options.collectors > 1:
            store_folder = Path(name) / "store"
            url = stack.enter_context(LocalStore(store_folder)).url
        store = Store(store_folder)
        collectors = [Collector(each, url) for each in folders]
        load = Load(collectors, options.seed)
        load.start()
        until = time.monotonic() + options.minutes * 60
        while time.monotonic() < until:
            time.sleep(chance.uniform(2, 8))
            match chance.choice(("collector", "store", "store", "outage")):
                case "collector":
                    chance.choice(collectors).kill()
                case "store":
                    store.kill()
                case _:
                    store.away(chance.uniform(1, 6))
        load.stop()
        wanted = expected(load.tokens)
        last: dict[str, tuple[Any, ...]] = {}
        until = time.monotonic() + options.drain
        while time.monotonic() < until:
            with suppress(StoreError, ClickHouseError), store.client() as client:
                last = {
                    table: tuple(client.query(f"SELECT {sums} FROM {table}").result_rows[0])
                    for table, sums in FIGURES.items()
                }
            if last and all(figures == wanted for figures in last.values()):
                break
            time.sleep(1)
        code = max(collector.stop() for collector in collectors)
    for what, times in sorted(sum((each.kills for each in collectors), store.kills).items()):
        print(f"soak.{what} {times} times")
    print(f"soak.requests {load.requests} requests")
    print(f"soak.sent_again {load.again} requests")
    print(f"soak.acknowledged {wanted[0]} calls")
    wrong = {table: figures for table, figures in last.items() if figures != wanted}
    for table in FIGURES:
        print(f"soak.{table}.difference {last[table][0] - wanted[0]} calls")
    for table, figures in wrong.items():
        print(f"{table}: {figures}, expected {wanted}", file=sys.stderr)
    print(f"soak.exit_code {code} code")
    return 1 if wrong or code else 0


if __name__ == "__main__":
    sys.exit(main())
