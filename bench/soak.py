"""Load with every kind of fault; at the end every acknowledged call is in the ledger exactly once.

    python bench/soak.py [--minutes 10] [--seed N] [--collectors 2] [--workers 2] [--faults NAME]

Senders give requests until they are acknowledged and send some of them twice, while one fault after
another happens, in an order that the seed decides: kills, stops, a loss of power (what spool and
journal did not sync is gone, `soak_disk.py`), full disks (of collectors by a limit of file sizes,
of the store by filling a small disk that it is on, if one may be mounted), steps of the
collectors' clock (libfaketime, if it is installed: `pip install 'tallyspan[soak]'`), and a store
behind a port that cuts, delays, swallows, or answers nonsense. At the end the tokens and the
pico-dollars of what was acknowledged are compared with the ledger and with each rollup. Printed are
how often each fault happened, the slowest answer to a sender meanwhile, and the longest it took
until a request was acknowledged, tries that failed included. Exit code 1 if anything differs.

With several collectors, which share a store, each try goes to any of them: a request whose answer
was missed, or that is sent twice, comes to another one. `--workers` is of all but the first. With
one collector, the store is its own, and nothing stands in front of it.
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
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "fixtures"))

import grpc
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from soak_disk import lose_power
from soak_faults import FAULTS, Clock, Scene, small_disk
from soak_load import MODEL, PROVIDER, requests

from disk import can_record
from front import fronted
from tallyspan.usage import Usage
from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.local import LocalStore, running_url
from tallyspan_clickhouse.schema import ROLLUPS
from tallyspan_collector.ingest import journal, spool
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import Priced

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
SENDERS = 4
DRAIN_SECONDS = 600
"""How long what waits at the end may take to get into the store on a busy machine."""
NOTHING = (0, 0, 0, Decimal(0))
SUMS = "sum(calls), sum(input_tokens), sum(output_tokens), sum(cost_usd)"
WITH_USER = "llm_calls WHERE user_id != ''"
FIGURES = {
    "llm_calls": SUMS.replace("calls", "sign", 1),
    WITH_USER: SUMS.replace("calls", "sign", 1),
    **{each.view: SUMS for each in ROLLUPS},
}
NOTED = Path(__file__).resolve().with_name("soak_disk.py")
STARTS = 5
"""How often a start is tried: workers of a collector that was killed may have its folder still."""


class Collector:
    """A collector that is ended in many ways and started again on the same ports and folder."""

    def __init__(self, data_dir: Path, store: str, workers: int, clock: Clock | None) -> None:
        self._data_dir = data_dir
        self._store = store
        self._workers = workers
        self._notes = data_dir.with_suffix(".notes")
        self._notes.mkdir()
        self._log = data_dir.with_suffix(".log")
        self._environment = {
            **os.environ,
            "SOAK_UNDO": str(self._notes),
            "SOAK_SPOOL": str(data_dir / "spool"),
        }
        if clock is not None:
            self._environment |= {
                "LD_PRELOAD": str(libfaketime()),
                "FAKETIME_TIMESTAMP_FILE": str(clock.path),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        self._ports = ["127.0.0.1:0"] * 3
        self.start()

    def start(self) -> None:
        """Start it and wait until it listens."""
        grpc_port, http_port, admin = self._ports
        line = ""
        for _ in range(STARTS):
            with self._log.open("a") as log:
                self._process = subprocess.Popen(
                    [sys.executable, str(NOTED), "up", "--data-dir", str(self._data_dir),
                     "--store", self._store, "--workers", str(self._workers),
                     "--otlp-grpc", grpc_port, "--otlp-http", http_port, "--admin", admin],
                    stdout=subprocess.PIPE, stderr=log, text=True, env=self._environment,
                )  # fmt: skip
            assert self._process.stdout is not None
            if line := self._process.stdout.readline():
                break
            self._process.wait()
        if not line:
            sys.exit(f"a collector does not start: {self._log.read_text()[-2000:]}")
        ready = json.loads(line)
        self._ports = [
            ready["otlp_grpc"],
            ready["otlp_http"],
            ready["admin"].removeprefix("http://"),
        ]

    @property
    def address(self) -> str:
        """Where it takes OTLP over gRPC."""
        return self._ports[0]

    def processes(self) -> list[int]:
        """Return its process id, and those of its workers."""
        pid = self._process.pid
        return [pid, *(child for child in children(pid) if "spawn_main" in command(child))]

    def kill(self) -> None:
        """Kill it, leave it dead for a moment, start it again; its workers notice."""
        self._process.kill()
        self._process.wait()
        time.sleep(0.5)
        self.start()

    def end(self) -> None:
        """End it in good order and start it again."""
        self.stop()
        self.start()

    def lose_power(self, chance: random.Random) -> None:
        """Kill all of it at once, take away what was not synced, start it again."""
        processes = [*self.processes(), *children(self._process.pid)]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in processes:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        self._process.wait()
        while any("soak_disk" in command(pid) or "spawn_main" in command(pid) for pid in processes):
            time.sleep(0.01)
        lose_power(self._notes, self._data_dir / "spool", processes, chance)
        self.start()

    def stop(self) -> int:
        """End it in good order; return its exit code."""
        self._process.terminate()
        code = self._process.wait(120)
        if code:
            sys.stderr.write(self._log.read_text()[-2000:])
        return code


def command(pid: int) -> str:
    """Return the command of a process; empty: it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
    except (OSError, ValueError):
        return ""


def children(pid: int) -> list[int]:
    """Return the processes that a process started."""
    try:
        tasks = [*Path(f"/proc/{pid}/task").iterdir()]
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


class Store:
    """The engine that runs in a folder; who started it starts it again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def processes(self) -> list[int]:
        """Return the engine's process id."""
        pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]
        folder = str(self._folder)
        return [p for p in pids if "local_engine" in (line := command(p)) and folder in line]

    def client(self) -> Client:
        """Return a client."""
        url = running_url(self._folder)
        assert url is not None
        return connect(url)


class Load:
    """Senders that remember what was acknowledged."""

    def __init__(self, collectors: Sequence[Collector], seed: int) -> None:
        self._collectors = collectors
        self._seed = seed
        self._stopping = threading.Event()
        self._adding = threading.Lock()
        self.requests = self.again = 0
        self.tokens: list[tuple[int, int]] = []
        self.acks: list[tuple[float, float, float]] = []
        """Of each request: when it was sent first, when acknowledged, when the last try began."""
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
            bodies, tokens = requests(chance)
            times = 2 if chance.random() < 0.1 else 1
            for body in chance.sample(bodies * times, len(bodies) * times):
                self._until_acknowledged(body, chance)
            with self._adding:
                self.requests += 1
                self.again += times - 1
                self.tokens += tokens
            time.sleep(0.03)

    def _until_acknowledged(self, body: bytes, chance: random.Random) -> None:
        first = time.monotonic()
        while True:
            last = time.monotonic()
            options = [("grpc.use_local_subchannel_pool", 1)]
            address = chance.choice(self._collectors).address
            with grpc.insecure_channel(address, options=options) as channel:
                try:
                    channel.unary_unary(EXPORT)(body, timeout=10)
                except grpc.RpcError:
                    time.sleep(0.2)
                else:
                    self.acks.append((first, time.monotonic(), last))
                    return


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


def libfaketime() -> Path | None:
    """Return the library that lets a process have another clock; None: it is not installed."""
    package = find_spec("libfaketime")
    for folder in (package and package.submodule_search_locations) or ():
        for path in Path(folder).glob("vendor/libfaketime/src/libfaketime.so.*"):
            return path
    return None


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--collectors", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=[*FAULTS])
    parser.add_argument("--drain", type=float, default=DRAIN_SECONDS, help="seconds")
    parser.add_argument(
        "--keep",
        type=Path,
        help="a folder that is left behind, with the logs, and what is wrong at the end",
    )
    return parser.parse_args(arguments)


def usable(names: Sequence[str], scene: Scene) -> list[str]:
    """Return the faults that can happen here; of the others it is said why they cannot."""
    why: dict[str, str] = {}
    if scene.clock is None:
        why["clock_step"] = "libfaketime is not installed: pip install 'tallyspan[soak]'"
    if scene.store_disk is None:
        why["store_disk_full"] = "no small disk can be mounted for the store"
    if not can_record():
        why["lose_power"] = "this Python's SQLite takes no VFS"
    if not any(len(each.processes()) > 1 for each in scene.collectors):
        why["kill_worker"] = "no collector has workers"
    if not scene.fronts:
        why |= dict.fromkeys(
            (
                name
                for name in FAULTS
                if name.startswith(("store_re", "store_an", "store_de", "store_sw"))
            ),
            "nothing stands in front of the store of one collector",
        )
    for name in names:
        if name in why:
            print(f"# {name} is left out: {why[name]}")
    return [name for name in names if name not in why]


def disturb(scene: Scene, names: Sequence[str], until: float) -> list[tuple[str, float, float]]:
    """Let one fault after another happen; return their names, begins and ends."""
    happened: list[tuple[str, float, float]] = []
    deck: list[str] = []
    while time.monotonic() < until:
        scene.pause(1, 4)
        deck = deck or scene.chance.sample(names, len(names))
        name, began = deck.pop(), time.monotonic()
        print(f"# {name}", file=sys.stderr, flush=True)
        FAULTS[name](scene)
        happened.append((name, began, time.monotonic()))
    return happened


def print_faults(
    happened: Sequence[tuple[str, float, float]], acks: Sequence[tuple[float, float, float]]
) -> None:
    """Print of each fault: how often, the slowest answer, the longest until acknowledged, in ms."""
    print(f"# {'fault':26} times   answer ms   until acknowledged ms")
    for name in dict.fromkeys(sorted(each for each, _, _ in happened)):
        times = [(began, ended + 1) for each, began, ended in happened if each == name]
        during = [
            (first, last, done)
            for first, done, last in acks
            if any(first < ended and done > began for began, ended in times)
        ]
        answer = max((done - last for _, last, done in during), default=0.0)
        until = max((done - first for first, _, done in during), default=0.0)
        print(f"soak.{name:26} {len(times):5} {answer * 1e3:11.0f} {until * 1e3:23.0f}")


def drained(store: Store, wanted: tuple[Any, ...], until: float) -> dict[str, tuple[Any, ...]]:
    """Return the figures of ledger and rollups once they are those wanted, or the time is over."""
    last: dict[str, tuple[Any, ...]] = {}
    while time.monotonic() < until:
        with suppress(StoreError, ClickHouseError), store.client() as client:
            last = {
                table: tuple(client.query(f"SELECT {sums} FROM {table}").result_rows[0])
                for table, sums in FIGURES.items()
            }
        if last and all(figures == wanted for figures in last.values()):
            break
        time.sleep(1)
    return last


def keep_wrong(store: Store, folder: Path) -> None:
    """Leave the entries and parts of the traces that are not charged once: each has one call."""
    wrong = "trace_id IN (SELECT trace_id FROM llm_calls GROUP BY trace_id HAVING sum(sign) != 1)"
    for table, order in (("llm_calls", "trace_id, ingested_at"), ("split_traces", "trace_id, at")):
        query = f"SELECT * FROM {table} WHERE {wrong} ORDER BY {order} FORMAT JSONEachRow"
        with suppress(StoreError, ClickHouseError), store.client() as client:
            (folder / f"wrong_{table}.jsonl").write_bytes(client.raw_query(query))


def print_waiting(folders: Sequence[Path]) -> None:
    """Print what is on disk and not known to be in the ledger."""
    waiting = batches = 0
    for folder in (each / "spool" for each in folders):
        for path in folder.glob("[0-9]*.sqlite"):
            state = spool.status(path)
            waiting += state["requests"]
            batches += journal.status(folder / journal.FILE_NAME, state["id"])["batches"]
    print(f"soak.waiting.requests {waiting} requests")
    print(f"soak.waiting.batches {batches} batches")


def main() -> int:
    """Run, compare, print."""
    options = options_of()
    print(f"# seed {options.seed}", flush=True)
    with ExitStack() as stack:
        if options.keep is not None:
            options.keep.mkdir(parents=True)
        name = options.keep or stack.enter_context(tempfile.TemporaryDirectory())
        folder = Path(name)
        clock = Clock(folder / "clock") if libfaketime() else None
        folders = [folder / f"collector-{number}" for number in range(options.collectors)]
        store_folder, urls, fronts, has_disk = folders[0], ["local"], [], False
        if options.collectors > 1:
            store_folder, urls = folder / "store", []
            has_disk = stack.enter_context(small_disk(store_folder))
            behind = stack.enter_context(LocalStore(store_folder)).url
            for _ in folders:
                front, url = stack.enter_context(fronted(behind))
                fronts.append(front)
                urls.append(url)
        store = Store(store_folder)
        workers = [1, *[options.workers] * (options.collectors - 1)]
        collectors = [Collector(*each, clock) for each in zip(folders, urls, workers, strict=True)]
        disk = store_folder if has_disk else None
        scene = Scene(collectors, store, fronts, clock, disk, random.Random(options.seed))
        names = usable(options.faults, scene)
        load = Load(collectors, options.seed)
        load.start()
        try:
            happened = disturb(scene, names, time.monotonic() + options.minutes * 60)
        finally:
            load.stop()
        wanted, stopped_at = expected(load.tokens), time.monotonic()
        last = drained(store, wanted, stopped_at + options.drain)
        drained_seconds = time.monotonic() - stopped_at
        print_waiting(folders)
        if options.keep is not None:
            keep_wrong(store, options.keep)
        code = max(collector.stop() for collector in collectors)
    print_faults(happened, load.acks)
    print(f"soak.requests {load.requests} requests")
    print(f"soak.sent_again {load.again} requests")
    print(f"soak.acknowledged {wanted[0]} calls")
    print(f"soak.drained_after {drained_seconds:.0f} s")
    wrong = {table: last.get(table, NOTHING) for table in FIGURES if last.get(table) != wanted}
    for table in FIGURES:
        calls, tokens, answers, cost = (
            one - other for one, other in zip(last.get(table, NOTHING), wanted, strict=True)
        )
        picousd = int(cost.scaleb(12))
        name = table.replace(" WHERE user_id != ''", ".with_user")
        print(f"soak.{name}.difference {calls} calls {tokens + answers} tokens {picousd} picousd")
    for table, figures in wrong.items():
        print(f"{table}: {figures}, expected {wanted}", file=sys.stderr)
    print(f"soak.exit_code {code} code")
    return 1 if wrong or code else 0


if __name__ == "__main__":
    sys.exit(main())
