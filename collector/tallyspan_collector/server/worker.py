"""A process that receives, spools and loads. `tallyspan up` is one, or starts several."""

import asyncio
import gc
import ipaddress
import sqlite3
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypedDict

import structlog
from clickhouse_connect.driver.client import Client
from prometheus_client import Metric

from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_clickhouse.confinement import missing
from tallyspan_clickhouse.engine import one_line, without_data_frames
from tallyspan_clickhouse.errors import StoreError
from tallyspan_collector.access.keys import READ_SECONDS, Keys
from tallyspan_collector.booked import remainders
from tallyspan_collector.booked.backfill import backfill
from tallyspan_collector.booked.finished_days import book_finished
from tallyspan_collector.columns.reader import choose
from tallyspan_collector.config import Config
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.errors import ConfigError, SpoolError
from tallyspan_collector.files.lock import held
from tallyspan_collector.imports.schedule import Schedule
from tallyspan_collector.imports.settings import of_section as imports_of
from tallyspan_collector.ingest.damaged_log import kept
from tallyspan_collector.ingest.journal import FILE_NAME, Journal
from tallyspan_collector.ingest.left_spools import left_spools, take_over
from tallyspan_collector.ingest.lives import Lives
from tallyspan_collector.ingest.loader import Loader
from tallyspan_collector.ingest.spool import Spool
from tallyspan_collector.metrics.counters import Metrics
from tallyspan_collector.metrics.others import name_of
from tallyspan_collector.months.schedule import Closing, take
from tallyspan_collector.pricing.second import differences
from tallyspan_collector.pricing.watch import PriceWatch, age_days, too_old
from tallyspan_collector.receiver import http
from tallyspan_collector.receiver.grpc import GrpcReceiver
from tallyspan_collector.receiver.intake import Intake
from tallyspan_collector.receiver.tls import Tls
from tallyspan_collector.reconcile.schedule import Schedule as BillSchedule
from tallyspan_collector.reconcile.settings import of_section as bills_of
from tallyspan_collector.server import descriptors
from tallyspan_collector.server.listener import HttpServer
from tallyspan_collector.server.several import LOOK_AGAIN_SECONDS, LOOK_SECONDS, Resolving, Several
from tallyspan_collector.several.price import entries_of
from tallyspan_collector.statements.rate_card import of_section as rate_card_of
from tallyspan_collector.statements.schedule import Schedule as StatementSchedule
from tallyspan_collector.statements.settings import of_section as statements_of
from tallyspan_collector.units.counts import counted
from tallyspan_collector.units.threads import in_thread

DRAIN_SECONDS = 10
PATIENCE_SECONDS = 20.0
"""For a worker of an earlier collector that was killed: it notices, drains its spool and ends."""
PRICES_SECONDS = 2.0
AGAIN_SECONDS = 1.0  # between tries to read a store that is away
REMAINDERS_SECONDS = 300.0
COMMITMENTS_SECONDS = 3600.0
IMPORTS_SECONDS = 300.0
MONTHS_SECONDS = 60.0
"""So long a closed month can have something in it that came late."""
_log = structlog.get_logger()


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run the coroutine to its end, on uvloop if it is installed.

    Threads are switched every 0.1 ms: at Python's 5 ms an acknowledgement waits for several turns
    of the loader's thread (`ingest/pace.py` is the other half). Under full load p99 was
    156 ms at 2 ms and 70 ms at 0.1 ms, at the same CPU.
    """
    without_data_frames()
    descriptors.raise_limit()
    sys.setswitchinterval(0.0001)
    # A batch is thousands of objects that are all freed together: a search for cycles while they
    # live frees nothing and stops every thread. The loader collects after each batch instead.
    gc.set_threshold(1_000_000, 10, 10)
    if find_spec("uvloop") is None:
        asyncio.run(main)
    else:
        import_module("uvloop").run(main)


@dataclass(frozen=True, slots=True)
class Listening:
    """The addresses of a worker, HOST:PORT."""

    otlp_grpc: str
    otlp_http: str


class Health(TypedDict):
    """Whether a collector can do its work, the reasons if it cannot, and what else is wrong."""

    ready: bool
    reasons: list[str]
    warnings: list[str]


def tls(config: Config) -> Tls | None:
    """Return the TLS settings of the listeners, None without TLS. Raises `ConfigError`."""
    if config.tls_cert is None and config.tls_key is None and config.tls_client_ca is None:
        return None
    if config.tls_cert is None or config.tls_key is None:
        raise ConfigError("--tls-cert and --tls-key: give both, or neither")
    result = Tls(config.tls_cert, config.tls_key, config.tls_client_ca)
    result.check()
    return result


def is_loopback(address: str) -> bool:
    """Return whether HOST:PORT can be reached from this machine only."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_exposure(config: Config, keys: Keys) -> None:
    """Raise `ConfigError` if other machines could send calls without a key."""
    for flag, address in (("--otlp-grpc", config.otlp_grpc), ("--otlp-http", config.otlp_http)):
        if not is_loopback(address) and not keys.has("ingest"):
            raise ConfigError(
                f"{flag} {address}: others could send calls without a key. Set "
                "TALLYSPAN_INGEST_KEY=<a long random key>, or add one with 'tallyspan keys add "
                "--role ingest NAME', or listen on 127.0.0.1"
            )


def _take_over(folder: Path, workers: int) -> None:
    """Let the first worker have what waits in spools that no worker reads."""
    for path in left_spools(folder, workers):
        try:
            requests = take_over(path, folder / "0.sqlite", folder / FILE_NAME)
        except (SpoolError, sqlite3.Error) as error:
            _log.error("spool.left", file=str(path), error=str(error))
        else:
            _log.info("spool.taken_over", file=str(path), requests=requests)


class Worker:
    """Receivers, spool and loader of one process."""

    def __init__(self, config: Config, client: Client, keys: Keys, index: int = 0) -> None:
        self._config = config
        self._client = client
        self._keys = keys
        self.metrics = Metrics()
        self._prices = PriceWatch(config.prices, config.data_dir)
        self._is_first = index == 0
        self._commitments = ""
        self._not_confined = ""
        self._directory = Directory(config.data_dir / f"directory-{index}.json")
        self._store_error = self._first_read()
        self._tls = tls(config)
        folder = config.data_dir / "spool"
        self._several: Several | None = None
        self._refusal = ""
        self._spool: Spool | None = None
        self._journal: Journal | None = None
        self._loader: Loader | None = None
        self._damaged: list[str] = []
        self._lock = ExitStack()
        self._reader = choose(config.reader)
        self._imports = Schedule(
            imports_of(config.imports), lambda: self._prices.book, self._directory, self.metrics
        )
        self._bills = BillSchedule(bills_of(config.reconcile, config.prices), self.metrics, take)
        self._closing = Closing()
        self._statements = StatementSchedule(
            statements_of(config.statements, lambda: self._prices.book),
            rate_card_of(config.rate_card),
            lambda: self._prices.book,
        )
        try:
            lock = held(folder / f"{index}.lock", "a worker", PATIENCE_SECONDS)
            self._lock.enter_context(lock)
            if self._is_first:
                _take_over(folder, config.workers)
            self._spool = Spool(folder / f"{index}.sqlite", config.spool_limit)
            self._journal = Journal(
                folder / FILE_NAME,
                seen_seconds=config.seen_window,
                trusted_keys=config.trusted_keys,
            )
            self._loader = Loader(
                client,
                self._spool,
                self._journal,
                self._prices.book,
                keys,
                self.metrics,
                self._directory,
                self._reader,
                Lives(client, name_of(config.data_dir), folder / FILE_NAME, config.seen_window),
                name_of(config.data_dir),
            )
            self._several = self._looking(self._journal, self._loader)
        except SpoolError as error:  # readers are served; requests are refused with the reason
            self._refusal = str(error)
            _log.error("spool.unusable", error=str(error))
        else:
            self._damaged = list(kept(folder)) if self._is_first else []
            self._watch(self._spool, self._loader)
            self._log_damage(self._loader)
        self._tasks: list[asyncio.Task[None]] = []
        if self._is_first:  # all workers read the same prices, and what they report is added up
            self._watch_what_is_shared()
        self._intake: Intake | None = None
        self._grpc: GrpcReceiver | None = None
        self._http: HttpServer | None = None

    def _first_read(self) -> str:
        """Read the store's time and the directory; return why that is to be tried again."""
        try:
            STORE_CLOCK.set_by(self._client)
            self._directory.read(self._client)
        except StoreError as error:
            if not error.retryable:
                raise
            return str(error)
        return ""

    def _log_damage(self, loader: Loader) -> None:
        if loader.warning:
            _log.warning("spool.older", warning=loader.warning)
        for warning in self._damaged:
            _log.warning("spool.damaged", warning=warning)

    def _looking(self, journal: Journal, loader: Loader) -> Several:
        """Return what looks at the calls of other collectors."""
        config, name = self._config, name_of(self._config.data_dir)
        book, directory = self._prices.book, self._directory
        price = partial(entries_of, book=book, directory=directory, collector=name)
        return Several(
            self._client,
            name,
            config.data_dir / "spool" / FILE_NAME,
            timedelta(seconds=config.seen_window),
            self.metrics,
            Resolving(journal.identities, loader.traces, price, config.trusted_keys),
        )

    def _watch_what_is_shared(self) -> None:
        self._watch_price_data()
        self._watch_confinement()

    def _watch_confinement(self) -> None:
        if self._config.store == "local":
            reason = missing()
            self._not_confined = f"the local store is not confined: {reason}" if reason else ""
            self.metrics.watch(
                "tallyspan_store_confined",
                "0: the engine of the local store can read all files of its user",
                lambda: not self._not_confined,
            )

    def _watch_price_data(self) -> None:
        self.metrics.watch(
            "tallyspan_price_file_broken",
            "1: the price file cannot be used, and the prices before it are",
            lambda: bool(self._prices.last_error),
        )
        self.metrics.watch(
            "tallyspan_price_data_age_days",
            "Days since the newest dated price of the bundled data",
            lambda: age_days(self._prices.book.data, datetime.now(UTC)) or 0,
        )

    def _watch(self, spool: Spool, loader: Loader) -> None:
        watch = self.metrics.watch
        watch("tallyspan_spool_bytes", "Bytes that wait for the store", lambda: spool.waiting_bytes)
        watch("tallyspan_spool_requests", "Requests to be decoded", lambda: spool.waiting)
        watch("tallyspan_dead_requests", "Requests that were put aside", lambda: spool.dead)
        watch("tallyspan_spool_batches", "Batches to be inserted", lambda: loader.waiting)
        if self._is_first:  # the journal is that of all workers
            about = "Batches that the store will never take"
            watch("tallyspan_refused_batches", about, lambda: loader.refused)

    async def start(self) -> Listening:
        """Listen and load. Raises `ConfigError`."""
        is_local = is_loopback(self._config.otlp_grpc) and is_loopback(self._config.otlp_http)
        intake = Intake(
            self._spool,
            self._refusal,
            self._keys,
            self.metrics,
            is_local=is_local,
            search=self._reader.has_any,
        )
        self._intake = intake
        self.metrics.watch(
            "tallyspan_bodies_bytes",
            "Bytes of requests that are being received or not yet on disk",
            lambda: intake.budget.used_bytes,
        )
        is_shared = self._config.workers > 1
        if self._loader is not None:
            self._loader.start()
        self._grpc = GrpcReceiver(intake, self.metrics, self._tls, is_shared=is_shared)
        self._http = HttpServer(http.create_app(intake, self.metrics), self._tls)
        listening = Listening(
            await self._grpc.start(self._config.otlp_grpc),
            await self._http.start("--otlp-http", self._config.otlp_http, is_shared=is_shared),
        )
        running = [self._read_keys(), self._watch_prices()]
        if self._is_first:  # all workers have one journal
            running += [self._look_at_others(), self._import_usage(), self._keep_months()]
        self._tasks = [asyncio.create_task(each) for each in running]
        gc.collect()
        gc.freeze()  # prices, tables and modules are never freed
        return listening

    async def stop(self) -> None:
        """Accept no more requests; load the spool for at most `DRAIN_SECONDS`; the rest is kept."""
        for task in self._tasks:
            task.cancel()
        until = time.monotonic() + DRAIN_SECONDS
        if self._several is not None:
            await in_thread(self._several.stop, DRAIN_SECONDS)
        stopping = [part.stop(DRAIN_SECONDS) for part in (self._grpc, self._http) if part]
        await asyncio.gather(*stopping)
        if self._intake is not None:
            await in_thread(self._intake.close)
        has_ended = True
        if self._loader is not None:
            left = max(0.0, until - time.monotonic())
            has_ended = await in_thread(self._loader.stop, left)
        if self._spool is not None:
            self._spool.close()
        if self._journal is not None and has_ended:  # else its thread ends with the process
            self._journal.close()
        self._lock.close()

    def collect(self) -> Iterable[Metric]:
        """Return the metric families of the moment."""
        return self.metrics.registry.collect()

    def health(self) -> Health:
        """Return whether the worker can do its work, and what is wrong."""
        reasons = [reason for reason in (self._refusal, self._store_error) if reason]
        if self._spool is not None and self._loader is not None:
            errors = (self._spool.last_error, self._loader.last_error)
            reasons += [error for error in errors if error]
            if self._spool.waiting_bytes >= self._config.spool_limit:
                reasons.append("the spool is full: nothing is taken until the store takes more")
        warnings = [
            text
            for text in (
                self._loader.warning if self._loader else "",
                self._loader.restored if self._loader else "",
                *self._damaged,
                self._keys.copy.last_error,
                self._directory.copy.last_error,
                self._refused(),
                self._dead(),
                self._several.warning if self._several else "",
                self._prices.last_error,
                self._old_prices(),
                self._commitments,
                *self._imports.warnings,
                *self._bills.warnings,
                *self._statements.warnings,
                self._not_confined,
            )
            if text
        ]
        return Health(ready=not reasons, reasons=reasons, warnings=warnings)

    def _refused(self) -> str:
        refused = self._loader.refused if self._loader else 0
        what = f"the store refuses {counted(refused, 'batch', 'batches')} for ever"
        return f"{what}: 'tallyspan spool dead' shows why" if refused else ""

    def _dead(self) -> str:
        dead = self._spool.dead if self._spool else 0
        what = f"{counted(dead, 'request')} could not be read or booked"
        return f"{what}: 'tallyspan spool dead' shows why" if dead else ""

    async def _read_keys(self) -> None:
        while True:
            await asyncio.sleep(AGAIN_SECONDS if self._store_error else READ_SECONDS)
            try:
                await in_thread(STORE_CLOCK.set_by, self._client)
                await in_thread(self._keys.read, self._client)
                if await in_thread(self._directory.read, self._client):
                    _log.info("directory.read", users=self._directory.users)
                if self._loader is not None:
                    await in_thread(self._loader.allowances.read, self._client)
                self._store_error = ""
            except Exception as error:  # noqa: BLE001  keys and directory stay as they were read last
                self._store_error = f"the store does not answer: {one_line(error)}"
                _log.warning("keys.not_read", error=one_line(error))

    async def _look_at_others(self) -> None:
        while self._several is not None:
            pause = LOOK_SECONDS
            try:
                await in_thread(self._several.look)
            except Exception as error:  # noqa: BLE001  the store is away, or others book: later
                _log.warning("others.not_looked_at", error=one_line(error))
                pause = min(pause, LOOK_AGAIN_SECONDS)
            await asyncio.sleep(pause)

    async def _import_usage(self) -> None:
        while True:
            await self._look("imports", self._imports.look)
            await self._look("bills", self._bills.look)
            await asyncio.sleep(IMPORTS_SECONDS)

    async def _keep_months(self) -> None:
        while True:
            await self._look("closed_months", self._closing.look)
            await self._look("statements", self._statements.look)
            await asyncio.sleep(MONTHS_SECONDS)

    async def _look(self, what: str, look: Callable[[Client], None]) -> None:
        try:
            await in_thread(look, self._client)
        except Exception as error:  # noqa: BLE001  the store is away, or others book: later
            _log.warning(f"{what}.not_looked_at", error=one_line(error))

    async def _watch_prices(self) -> None:
        is_new, due, commitments_due = True, 0.0, 0.0
        while True:
            try:
                if is_new and self._is_first:
                    await in_thread(self._use_prices)
                    commitments_due = 0.0
                is_new = False
                if self._is_first and time.monotonic() >= due:
                    await in_thread(self._book_remainders)
                    due = time.monotonic() + REMAINDERS_SECONDS
                if self._is_first and time.monotonic() >= commitments_due:
                    # First the time: a day that cannot be booked must not keep prices from coming.
                    commitments_due = time.monotonic() + COMMITMENTS_SECONDS
                    await in_thread(self._book_commitments)
                await asyncio.sleep(PRICES_SECONDS)
                is_new = await in_thread(self._prices.poll)
            except Exception as error:  # noqa: BLE001  the store is away: later is early enough
                _log.warning("prices.not_recorded", error=one_line(error))
                await asyncio.sleep(READ_SECONDS)

    def _use_prices(self) -> None:
        if warning := self._old_prices():
            _log.warning("price_data.old", warning=warning)
        self._prices.record(self._client)
        calls = backfill(self._client, self._prices.book)
        if calls:
            _log.info("prices.backfilled", calls=calls)
        differences.record(self._client)

    def _old_prices(self) -> str:
        data, max_age = self._prices.book.data, self._config.prices_max_age
        return too_old(data, max_age, datetime.now(UTC))

    def _book_remainders(self) -> None:
        calls = remainders.book_away(self._client)
        if calls:
            self.metrics.remainders(calls)
            _log.info("prices.remainders_booked_away", calls=calls)

    def _book_commitments(self) -> None:
        entries, differing = book_finished(self._client, self._prices.book)
        if entries:
            _log.info("commitments.booked", entries=entries)
        self._commitments = (
            f"{counted(differing, 'day')} of commitments {'is' if differing == 1 else 'are'} booked"
            " otherwise than the price file has it: 'tallyspan commitments preview' shows it,"
            " 'book' books the difference"
            if differing
            else ""
        )
