"""`--workers N`: N processes on the same OTLP ports (SO_REUSEPORT), a spool each.

The kernel deals new connections out among them. Each tells its parent every second what its
metrics and its health are; one that dies is started again and goes on with its own spool.
"""

import asyncio
import multiprocessing
import os
import signal
import socket
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import structlog
from prometheus_client.parser import text_string_to_metric_families

from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.late import late
from tallyspan_collector.access.keys import Keys
from tallyspan_collector.config import Config
from tallyspan_collector.errors import ConfigError, TallyspanError
from tallyspan_collector.server.opening import open_client
from tallyspan_collector.server.worker import DRAIN_SECONDS, Listening, Worker, run_loop

TELL_SECONDS = 1.0
START_SECONDS = 60.0
_SPAWN = multiprocessing.get_context("spawn")
_log = structlog.get_logger()


class Workers:
    """The children, their metrics and health."""

    def __init__(self, config: Config, url: str) -> None:
        self._config = config
        self._url = url
        self._said: dict[int, dict[str, Any]] = {}
        self._children: dict[int, tuple[BaseProcess, Connection]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._held: list[socket.socket] = []

    async def start(self) -> Listening:
        """Start every child and wait until all listen. Raises `ConfigError`."""
        listening = Listening(
            self._settled(self._config.otlp_grpc), self._settled(self._config.otlp_http)
        )
        self._config = replace(
            self._config, otlp_grpc=listening.otlp_grpc, otlp_http=listening.otlp_http
        )
        for index in range(self._config.workers):
            self._begin(index)
        until = asyncio.get_running_loop().time() + START_SECONDS
        while len(self._said) < self._config.workers:
            self._hear()
            refused = [said["error"] for said in self._said.values() if "error" in said]
            if refused or asyncio.get_running_loop().time() > until:
                raise ConfigError(refused[0] if refused else "a worker did not start in time")
            await asyncio.sleep(0.05)
        for held in self._held:
            held.close()  # the children have the ports
        self._watching = asyncio.create_task(self._watch())
        return listening

    async def stop(self) -> None:
        """Let every child drain, then end."""
        if self._watching is not None:
            self._watching.cancel()
        for held in self._held:
            held.close()
        for process, _ in self._children.values():
            process.terminate()
        for process, _ in self._children.values():
            await asyncio.to_thread(process.join, 3 * DRAIN_SECONDS)
            if process.is_alive():
                process.kill()

    def health(self) -> dict[str, object]:
        """Return `ready` and the reasons why not, each with its worker."""
        reasons = [
            f"worker {index}: {reason}"
            for index, said in sorted(self._said.items())
            for reason in said["health"]["reasons"]
        ]
        warnings = sorted(
            {each for said in self._said.values() for each in said["health"].get("warnings", [])}
        )
        dead = [index for index, (process, _) in self._children.items() if not process.is_alive()]
        reasons += [f"worker {index} is not running" for index in dead]
        return {"ready": not reasons, "reasons": reasons, "warnings": warnings}

    def metrics_text(self) -> str:
        """Return the sums of the children's metrics in Prometheus' text format."""
        sums: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        heads: dict[str, str] = {}
        family_of: dict[str, str] = {}
        for said in self._said.values():
            for family in text_string_to_metric_families(said["metrics"]):
                heads[family.name] = (
                    f"# HELP {family.name} {family.documentation}\n"
                    f"# TYPE {family.name} {family.type}"
                )
                for sample in family.samples:
                    if sample.name.endswith("_created"):
                        continue
                    key = (sample.name, tuple(sorted(sample.labels.items())))
                    sums[key] = sums.get(key, 0) + sample.value
                    family_of[sample.name] = family.name
        lines: list[str] = []
        for name, head in heads.items():
            lines.append(head)
            for (sample_name, labels), value in sums.items():
                if family_of[sample_name] == name:
                    shown = ",".join(f'{key}="{label}"' for key, label in labels)
                    lines.append(
                        f"{sample_name}{{{shown}}} {value}" if shown else f"{sample_name} {value}"
                    )
        return "\n".join(lines) + "\n"

    def _settled(self, address: str) -> str:
        """Hold the port until the children have it, so that port 0 is the same for all."""
        host, _, port = address.rpartition(":")
        held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            held.bind((host.strip("[]"), int(port)))
        except OSError as error:
            raise ConfigError(f"{address}: cannot listen there: {error.strerror}") from None
        self._held.append(held)
        return f"{host}:{held.getsockname()[1]}"

    def _begin(self, index: int) -> None:
        ours, theirs = _SPAWN.Pipe(duplex=False)
        process = _SPAWN.Process(
            target=_main, args=(self._config, self._url, index, theirs), name=f"worker-{index}"
        )
        process.start()
        theirs.close()
        self._children[index] = (process, ours)

    def _hear(self) -> None:
        for index, (_, pipe) in self._children.items():
            try:
                while pipe.poll():
                    self._said[index] = pipe.recv()
            except (EOFError, OSError):
                continue

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS / 2)
            self._hear()
            for index, (process, pipe) in list(self._children.items()):
                if not process.is_alive():
                    _log.error("worker.died", worker=index, exit_code=process.exitcode)
                    pipe.close()
                    self._begin(index)


def _main(config: Config, url: str, index: int, pipe: Connection) -> None:
    run_loop(_run(config, url, index, pipe))


async def _run(config: Config, url: str, index: int, pipe: Connection) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # the parent says when
    with late(lambda: open_client(config, url)) as client:
        keys = Keys.of_environment(os.environ, config.data_dir / f"keys-{index}.json")
        try:
            keys.read_or_remember(client)
            worker = Worker(config, client, keys, index)
            await worker.start()
        except (TallyspanError, StoreError) as error:
            pipe.send({"error": str(error)})
            return
        parent = os.getppid()
        while not stop.is_set():
            try:
                pipe.send({"metrics": worker.metrics_text(), "health": worker.health()})
            except OSError:
                stop.set()
            if os.getppid() != parent:  # it died: nobody would start us again or stop us
                stop.set()
            try:
                await asyncio.wait_for(stop.wait(), TELL_SECONDS)
            except TimeoutError:
                continue
        await worker.stop()
