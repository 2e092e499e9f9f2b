"""`--workers N`: N processes on the same OTLP ports (SO_REUSEPORT), a spool each.

The kernel distributes new connections among them. Each sends its parent a report every second;
one that dies is started again and goes on with its own spool.
"""

import asyncio
import multiprocessing
import os
import signal
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import structlog
from prometheus_client import Metric

from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.late import late
from tallyspan_collector.access.keys import Keys
from tallyspan_collector.config import Config
from tallyspan_collector.errors import ConfigError, TallyspanError
from tallyspan_collector.metrics.families import sum_of
from tallyspan_collector.server.logs import log_to_stderr
from tallyspan_collector.server.opening import open_client
from tallyspan_collector.server.worker import DRAIN_SECONDS, Health, Listening, Worker, run_loop

REPORT_SECONDS = 1.0
START_SECONDS = 60.0
_SPAWN = multiprocessing.get_context("spawn")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Report:
    """The state of a worker; `error` is why it could not start, empty if it did."""

    health: Health
    metrics: Sequence[Metric] = ()
    error: str = ""


class Workers:
    """The child processes, with the last report of each."""

    def __init__(self, config: Config, url: str) -> None:
        self._config = config
        self._url = url
        self._reports: dict[int, Report] = {}
        self._children: dict[int, tuple[BaseProcess, Connection]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._placeholders: list[socket.socket] = []

    async def start(self) -> Listening:
        """Start every child and wait until all listen. Raises `ConfigError`."""
        listening = Listening(
            self._reserve(self._config.otlp_grpc), self._reserve(self._config.otlp_http)
        )
        self._config = replace(
            self._config, otlp_grpc=listening.otlp_grpc, otlp_http=listening.otlp_http
        )
        for index in range(self._config.workers):
            self._begin(index)
        until = asyncio.get_running_loop().time() + START_SECONDS
        while len(self._reports) < self._config.workers:
            self._receive_reports()
            errors = [report.error for report in self._reports.values() if report.error]
            if errors or asyncio.get_running_loop().time() > until:
                raise ConfigError(errors[0] if errors else "a worker did not start in time")
            await asyncio.sleep(0.05)
        for placeholder in self._placeholders:
            placeholder.close()  # the children listen on the ports now
        self._watching = asyncio.create_task(self._watch())
        return listening

    async def stop(self) -> None:
        """Let every child drain, then end."""
        if self._watching is not None:
            self._watching.cancel()
        for placeholder in self._placeholders:
            placeholder.close()
        for process, _ in self._children.values():
            process.terminate()
        for process, _ in self._children.values():
            await asyncio.to_thread(process.join, 3 * DRAIN_SECONDS)
            if process.is_alive():
                process.kill()

    def health(self) -> Health:
        """Return the health of all; each reason names its worker."""
        reasons = [
            f"worker {index}: {reason}"
            for index, report in sorted(self._reports.items())
            for reason in report.health["reasons"]
        ]
        dead = [index for index, (process, _) in self._children.items() if not process.is_alive()]
        reasons += [f"worker {index} is not running" for index in dead]
        warnings = {each for report in self._reports.values() for each in report.health["warnings"]}
        return Health(ready=not reasons, reasons=reasons, warnings=sorted(warnings))

    def collect(self) -> Iterable[Metric]:
        """Return the sums of the children's metrics."""
        return sum_of(report.metrics for report in self._reports.values())

    def _reserve(self, address: str) -> str:
        """Hold the port until the children have it, so that port 0 is the same for all."""
        host, _, port = address.rpartition(":")
        placeholder = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            placeholder.bind((host.strip("[]"), int(port)))
        except OSError as error:
            raise ConfigError(f"{address}: cannot listen there: {error.strerror}") from None
        self._placeholders.append(placeholder)
        return f"{host}:{placeholder.getsockname()[1]}"

    def _begin(self, index: int) -> None:
        ours, theirs = _SPAWN.Pipe(duplex=False)
        process = _SPAWN.Process(
            target=_main, args=(self._config, self._url, index, theirs), name=f"worker-{index}"
        )
        process.start()
        theirs.close()
        self._children[index] = (process, ours)

    def _receive_reports(self) -> None:
        for index, (_, pipe) in self._children.items():
            try:
                while pipe.poll():
                    self._reports[index] = pipe.recv()
            except (EOFError, OSError):
                continue

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS / 2)
            self._receive_reports()
            for index, (process, pipe) in list(self._children.items()):
                if not process.is_alive():
                    _log.error("worker.died", worker=index, exit_code=process.exitcode)
                    pipe.close()
                    self._begin(index)


def _main(config: Config, url: str, index: int, pipe: Connection) -> None:
    log_to_stderr()
    run_loop(_run(config, url, index, pipe))


async def _run(config: Config, url: str, index: int, pipe: Connection) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # the parent stops us with SIGTERM
    with late(lambda: open_client(config, url)) as client:
        keys = Keys.of_environment(os.environ, config.data_dir / f"keys-{index}.json")
        try:
            keys.read_or_remember(client)
            worker = Worker(config, client, keys, index)
            await worker.start()
        except (TallyspanError, StoreError) as error:
            health = Health(ready=False, reasons=[str(error)], warnings=[])
            pipe.send(Report(health, error=str(error)))
            return
        parent = os.getppid()
        while not stop.is_set():
            try:
                pipe.send(Report(worker.health(), list(worker.collect())))
            except OSError:
                stop.set()
            if os.getppid() != parent:  # it died: nobody would start us again or stop us
                stop.set()
            try:
                await asyncio.wait_for(stop.wait(), REPORT_SECONDS)
            except TimeoutError:
                continue
        await worker.stop()
