"""Keeps the engine of a local store running: starts it, starts it again when it dies, ends it."""

import http.client
import logging
import math
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tallyspan_clickhouse.confinement import environment
from tallyspan_clickhouse.data_directory import DataDirectory
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.local_config import PONG

HOST = "127.0.0.1"
ENGINE = (sys.executable, "-m", "tallyspan_clickhouse.local_engine")
START_SECONDS = 30.0
CLOSE_SECONDS = 1.0
TERMINATE_SECONDS = 3.0
MAX_BACKOFF_SECONDS = 30.0
HEALTHY_AFTER_SECONDS = 60.0
POLL_SECONDS = 0.1
TEND_SECONDS = 15.0
# What the engine says when another process has the port, or the one before has not ended yet.
PORT_TAKEN = "Address already in use"
STILL_LOCKED = "Cannot lock file"
STACK_FRAME = re.compile(r"\d+\. |Logging (trace|errors) to ")

log = logging.getLogger("tallyspan.store")


class Supervisor:
    """The engine process and the thread that watches it, running inside a `with`.

    `configure` is called before each start with the port, and returns the path of the engine's
    pings; `tend` every TEND_SECONDS while an engine runs, and returns why it is to be started
    again; empty: it is not.

    Every engine is started by that thread: the kernel ends a child when the *thread* that made it
    ends, and the caller's thread may be gone long before the store is.
    """

    def __init__(
        self,
        directory: DataDirectory,
        http_port: int,
        configure: Callable[[int], str],
        tend: Callable[[], str],
    ) -> None:
        self.port = http_port
        self.restarts = 0
        self._any_port = http_port == 0
        self._directory = directory
        self._configure = configure
        self._tend = tend
        self._engine: subprocess.Popen[bytes] | None = None
        self._started = threading.Event()
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="tallyspan-store", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._started.wait()
        except BaseException:
            self.__exit__()
            raise
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    @property
    def engine_pid(self) -> int:
        """Return the process id of the engine that runs now, or ran last."""
        return self._engine.pid if self._engine else 0

    def _run(self) -> None:
        try:
            try:
                self._start()
            except BaseException as error:  # noqa: BLE001  raised again in the caller's thread
                self._failure = error
                return
            finally:
                self._started.set()
            self._watch()
        finally:
            self._end()

    def _watch(self) -> None:
        backoff, since, tended = 0.0, time.monotonic(), -math.inf
        while not self._stopping.wait(POLL_SECONDS):
            if self._engine is not None and self._engine.poll() is None:
                if time.monotonic() - tended > TEND_SECONDS:
                    tended = time.monotonic()
                    if reason := self._tend():
                        log.warning("the local store is to be started again: %s", reason)
                        self._end()
                continue
            if time.monotonic() - since > HEALTHY_AFTER_SECONDS:
                backoff = 0.0
            status = self._engine.returncode if self._engine is not None else None
            log.warning("the local store ended (status %s): starting it again", status)
            self._end()
            if self._stopping.wait(backoff):
                return
            backoff = min(max(0.5, 2 * backoff), MAX_BACKOFF_SECONDS)
            try:
                self._start()
            except (StoreError, OSError) as error:
                log.error("the local store does not start: %s", error)  # noqa: TRY400  one line
            else:
                self.restarts += 1
                since = time.monotonic()

    def _start(self) -> None:
        """Start the engine and wait until it answers. Raises StoreError if it does not."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            port = self._choose_port()
            ping = self._configure(port)
            self._engine = self._spawn(port)
            reason = self._until_ready(self._engine, port, ping, deadline)
            if reason is None:
                self.port, self._any_port = port, False
                return
            self._end()
            is_passing = STILL_LOCKED in reason or (self._any_port and PORT_TAKEN in reason)
            if self._stopping.is_set() or not is_passing or time.monotonic() > deadline:
                raise StoreError(f"the local store did not start: {reason}", retryable=True)
            self._stopping.wait(POLL_SECONDS)

    def _choose_port(self) -> int:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, 0 if self._any_port else self.port))
            except OSError as error:
                raise StoreError(
                    f"port {self.port} on {HOST} cannot be used for the local store: "
                    f"{error.strerror}; stop what uses it or choose another port",
                    retryable=True,
                ) from error
            return int(probe.getsockname()[1])

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        directory = self._directory
        command = [*ENGINE, "--config", str(directory.config), "--data", str(directory.data)]
        command += ["--log", str(directory.log), "--port", str(port)]
        command += ["--parent", str(os.getpid()), "--read", *map(str, directory.readable())]
        with self._output.open("wb") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=environment(os.environ),
                start_new_session=True,  # Ctrl-C is for the parent, which then stops the engine
            )

    def _until_ready(
        self, engine: subprocess.Popen[bytes], port: int, ping: str, deadline: float
    ) -> str | None:
        """Return None once the engine answers, else why it does not."""
        while time.monotonic() < deadline:
            if engine.poll() is not None:
                return self._last_words() or f"it ended with status {engine.returncode}"
            if answers(port, ping):
                return None
            if self._stopping.wait(0.02):
                return "it was stopped"
        return f"no answer on port {port} within {START_SECONDS:.0f} s. {self._last_words()}"

    def _last_words(self) -> str:
        words = _tail(self._output) or _tail(self._directory.log / "server.err.log")
        return " | ".join(words)

    @property
    def _output(self) -> Path:
        return self._directory.log / "engine.log"

    def _end(self) -> None:
        """End the engine: ask it to, then tell it to, then kill it."""
        engine = self._engine
        if engine is None:
            return
        if engine.stdin is not None:
            engine.stdin.close()
        for wait_seconds, then in (
            (CLOSE_SECONDS, engine.terminate),
            (TERMINATE_SECONDS, engine.kill),
        ):
            try:
                engine.wait(wait_seconds)
                return
            except subprocess.TimeoutExpired:
                then()
        engine.wait()


def answers(port: int, path: str) -> bool:
    """Return whether a ClickHouse answers pings on this port of loopback, on this path."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().strip() == PONG.encode()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _tail(path: Path, lines: int = 5) -> list[str]:
    """Return the last lines that say something; stack frames do not."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return []
    spoken = (line.strip() for line in text.splitlines())
    return [line[:300] for line in spoken if line and not STACK_FRAME.match(line)][-lines:]
