"""A planned batch -> the ledger, exactly once.

A batch is sent with its id as deduplication token, so sending it again is harmless, with one
exception: a server that dies between writing its deduplication log and the part itself drops the
batch for ever when it comes again. So whenever an attempt ended in doubt, the rows that are there
are counted by `batch_id`, and those that lack are inserted under another token.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import lz4.frame
import structlog
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from clickhouse_connect.driver.external import ExternalData

from tallyspan_clickhouse.answers import one_number
from tallyspan_clickhouse.engine import one_line
from tallyspan_clickhouse.repair import repair
from tallyspan_clickhouse.schema import SCHEMA
from tallyspan_clickhouse.schema_types import Net
from tallyspan_collector.errors import StoreUnavailableError
from tallyspan_collector.ingest.journal import Batch
from tallyspan_collector.ingest.lives import Lives
from tallyspan_collector.ledger.exactly_once import EXACTLY_ONCE
from tallyspan_collector.metrics.counters import Metrics

TABLE = "llm_calls"
SETTINGS = {
    **EXACTLY_ONCE,
    "max_insert_block_size": 1_048_576,
    "min_insert_block_size_rows": 1_048_576,
    "input_format_parallel_parsing": 0,
    "optimize_on_insert": 0,  # what feeds a rollup has added its rows up already
    "max_partitions_per_insert_block": 0,  # a batch may have calls of any month
}
"""Sent with every insert: the defaults differ between ClickHouse versions."""
MAX_PAUSE_SECONDS = 5.0
MAX_REPAIRS = 5
SLOW_SECONDS = 10.0
"""After so long a batch without an answer is a reason not to be ready."""
MAX_TRIES = 9
"""How often a batch is sent that the store cannot read; with the pauses, over 17 seconds."""
_CANNOT_EVER = ("TYPE_MISMATCH", "CANNOT_CONVERT", "NOT_FOUND_COLUMN_IN_BLOCK", "NO_SUCH_COLUMN",
                "VALUE_IS_OUT_OF_RANGE", "ARGUMENT_OUT_OF_BOUND", "DECIMAL_OVERFLOW",
                "UNKNOWN_TYPE")  # fmt: skip
"""Error codes of the store for a batch that it will never take."""
_CANNOT_READ = ("CANNOT_PARSE", "CANNOT_READ", "INCORRECT_DATA", "CANNOT_DECOMPRESS", "LZ4",
                "TOO_LARGE_ARRAY_SIZE", "TOO_LARGE_STRING_SIZE")  # fmt: skip
"""Error codes for what it cannot read: a request that was cut on its way looks the same."""
_AMOUNTS = ", ".join(f"sign * {name}" for name in SCHEMA.netted(Net.SUM))
_SAME = f"sipHash128(toString(tuple(tenant, source, trace_id, span_id, {_AMOUNTS})))"
"""What the entry of a booking and the one that takes it back have in common."""
_IN_BOUNDS = "start_time >= (SELECT min(start_time) FROM batch_rows)"
_IN_BOUNDS += " AND start_time <= (SELECT max(start_time) FROM batch_rows)"
_STANDING = f"""
SELECT {_SAME} FROM {TABLE}
WHERE {_IN_BOUNDS} AND trace_id IN (SELECT trace_id FROM batch_rows)
    AND entry_kind IN ('call', 'reversal')
GROUP BY 1 HAVING sum(sign) > 0
"""  # noqa: S608  own text
"""Bookings in the ledger of the traces of `batch_rows`."""

_log = structlog.get_logger()


class Inserter:
    """Sends batches in their order, one at a time.

    `lives` says whether the ledger may have entries of a batch that the journal does not know.
    """

    def __init__(self, client: Client, metrics: Metrics, lives: Lives | None = None) -> None:
        self._client = client
        self._metrics = metrics
        self._lives = lives
        self._stopping = threading.Event()
        self._under_way_since: float | None = None
        self.last_error = ""

    def insert(self, batch: Batch, *, is_doubtful: bool = False) -> str | None:
        """Return once the ledger has the batch: "", or why the store will never take it.

        While the store is away it is tried for ever; None: `stop` was called before it came back.
        `is_doubtful`: the batch may have been sent before.
        """

        def send() -> None:
            nonlocal is_doubtful
            doubted, is_doubtful = is_doubtful, True
            if doubted or self._may_be_booked():
                self._repair_rollups([batch] if self._complete(batch) else [])
            else:
                self._send(batch)

        return self._until_done(batch, send)

    def recover(self, batches: Sequence[Batch]) -> Iterator[tuple[Batch, str]]:
        """Complete batches that may have been sent before; yield as `insert` returns.

        Their rollups are compared once for all of them. Those that are not yielded were not
        completed before `stop`.
        """
        ended: list[tuple[Batch, str]] = []
        stored: dict[int, int] = {}

        def complete(batch: Batch) -> None:
            stored[batch.batch_id] = self._complete(batch)

        def repair_rollups() -> None:
            for batch, refusal in ended:
                if batch.batch_id not in stored and not refusal:
                    complete(batch)
            try:
                self._repair_rollups([each for each, _ in ended if stored.get(each.batch_id)])
            except Exception:
                stored.clear()  # what was counted may be lost by the time the store is back
                raise

        for batch in batches:
            _log.info("batch.recovered", batch_id=batch.batch_id, rows=batch.rows)
            refusal = self._until_done(batch, partial(complete, batch))
            if refusal is None:
                return
            ended.append((batch, refusal))
        if self._until_done(None, repair_rollups) is not None:
            yield from ended

    def _until_done(self, batch: Batch | None, step: Callable[[], None]) -> str | None:
        """Take the step until it succeeds, or the store says that it never takes the batch."""
        pause, unread = 0.1, 0
        while not self._stopping.is_set():
            started = time.perf_counter()
            self._under_way_since = time.monotonic()
            try:
                step()
            except Exception as error:  # noqa: BLE001  whatever it is, the batch is kept
                self._under_way_since = None
                self._metrics.insert_failed()
                reason = one_line(error)
                unread = unread + 1 if _is_verdict(reason, _CANNOT_READ) else 0
                number = batch.batch_id if batch else None
                is_final = _is_verdict(reason, _CANNOT_EVER) or unread >= MAX_TRIES
                if batch is not None and is_final:
                    _log.error("batch.refused", batch_id=number, error=reason)
                    return reason
                self.last_error = f"the store does not take what arrives: {reason}"
                _log.warning("insert.failed", batch_id=number, error=reason)
                self._stopping.wait(pause)
                pause = min(pause * 2, MAX_PAUSE_SECONDS)
            else:
                self._under_way_since = None
                self.last_error = ""
                if batch is not None:
                    self._metrics.inserted(time.perf_counter() - started, batch.rows)
                return ""
        return None

    def delay(self) -> str:
        """Return the reason if a batch has been under way for too long; empty: none has."""
        since = self._under_way_since
        seconds = time.monotonic() - since if since else 0.0
        if seconds < SLOW_SECONDS:
            return ""
        return f"a batch has been under way to the store for {seconds:.0f} s without an answer"

    def stop(self) -> None:
        """Stop trying; a batch that the store has not taken stays in the journal."""
        self._stopping.set()

    def _send(self, batch: Batch) -> None:
        summary = self._client.raw_insert(
            TABLE,
            batch.columns,
            batch.payload,
            settings={**SETTINGS, "insert_deduplication_token": str(batch.batch_id)},
            fmt="Native",
            compression="lz4",
        )
        # those of the rollups count as well, and so do those that the token keeps out
        if summary.written_rows < batch.rows:
            raise StoreUnavailableError(
                f"of batch {batch.batch_id} with {batch.rows} rows the store says that it wrote"
                f" {summary.written_rows}"
            )

    def _may_be_booked(self) -> bool:
        return self._lives is not None and self._lives.may_be_booked()

    def _complete(self, batch: Batch) -> int:
        """Send the batch, and add the rows that the store lost; return how many are in the ledger.

        The rollups are not compared.
        """
        if self._may_be_booked():
            return self._add_new(batch)
        if self._stored(batch) < batch.rows:
            self._send(batch)
        for attempt in range(1, MAX_REPAIRS + 1):
            stored = self._stored(batch)
            if stored == batch.rows:
                return stored
            if stored > batch.rows:
                self._metrics.repaired("surplus", stored - batch.rows)
                raise StoreUnavailableError(
                    f"batch {batch.batch_id} has {stored} rows in the ledger and should have "
                    f"{batch.rows}: stop writing, and see docs/operations.md, 'A surplus'"
                )
            self._metrics.repaired("lost", batch.rows - stored)
            _log.warning(
                "batch.repaired", batch_id=batch.batch_id, lost=batch.rows - stored, attempt=attempt
            )
            self._add_lost(batch, attempt)
        raise StoreUnavailableError(
            f"the store loses rows of batch {batch.batch_id} again and again"
        )

    def _repair_rollups(self, batches: Sequence[Batch]) -> None:
        if not batches:
            return
        repaired = repair(self._client, [each.batch_id for each in batches])
        self._metrics.repaired("rollup", repaired.rows)
        if repaired.days_left_alone:
            days = sorted(str(day) for day in repaired.days_left_alone)
            self._metrics.repaired("not_compared", len(days))
            numbers = [each.batch_id for each in batches]
            _log.warning("rollups.not_compared", batch_ids=numbers, days=days)

    def _stored(self, batch: Batch) -> int:
        try:
            return one_number(
                self._client,
                f"SELECT count() FROM {TABLE} WHERE batch_id = {{batch:UInt64}}"  # noqa: S608  own name
                " SETTINGS select_sequential_consistency = 1",
                {"batch": batch.batch_id},
            )
        except ClickHouseError as error:  # what is wrong with the store is no verdict on the batch
            raise StoreUnavailableError(
                f"the rows of batch {batch.batch_id} cannot be counted: {one_line(error)}"
            ) from error

    def _add_new(self, batch: Batch) -> int:
        """Add those of its rows that change what stands in the ledger: booked there, or taken back.

        The same batch again adds nothing. Returns how many of them are in the ledger.
        """
        names = ", ".join(batch.columns)
        rows = ExternalData(
            file_name="batch_rows",
            data=lz4.frame.decompress(batch.payload),
            fmt="Native",
            structure=self._shape(batch),
        )
        self._client.command(
            f"INSERT INTO {TABLE} ({names}) SELECT {names} FROM batch_rows"  # noqa: S608  own names
            f" WHERE (sign > 0) != ({_SAME} IN ({_STANDING}))",
            external_data=rows,
            settings={**SETTINGS, "insert_deduplication_token": f"{batch.batch_id}:new"},
        )
        stored = self._stored(batch)
        self._metrics.repaired("booked_before", batch.rows - stored)
        return stored

    def _shape(self, batch: Batch) -> str:
        structure = self._client.query(
            "SELECT name, type FROM system.columns"
            " WHERE database = currentDatabase() AND table = {table:String}",
            parameters={"table": TABLE},
        ).result_rows
        types = {str(row[0]): str(row[1]) for row in structure}
        return ", ".join(f"{name} {types[name]}" for name in batch.columns)

    def _add_lost(self, batch: Batch, attempt: int) -> None:
        shape = self._shape(batch).replace("'", "\\'")
        names = ", ".join(batch.columns)
        self._client.command(
            f"INSERT INTO {TABLE} ({names}) SELECT {names} FROM input('{shape}')"  # noqa: S608  own names
            " WHERE (trace_id, span_id, entry_kind, sign) NOT IN"
            f" (SELECT trace_id, span_id, entry_kind, sign FROM {TABLE}"
            f" WHERE batch_id = {batch.batch_id}) FORMAT Native",
            data=lz4.frame.decompress(batch.payload),
            settings={**SETTINGS, "insert_deduplication_token": f"{batch.batch_id}:r{attempt}"},
        )


def _is_verdict(reason: str, names: Sequence[str]) -> bool:
    """Return whether the server itself refused, with one of these error codes."""
    return reason.startswith("Code: ") and any(name in reason for name in names)
