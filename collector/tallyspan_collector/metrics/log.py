"""The collector's metrics, once a minute in the store: alerts need no other source."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

import structlog
from clickhouse_connect.driver.client import Client
from prometheus_client import Metric

from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_clickhouse.engine import one_line
from tallyspan_collector.units.threads import in_thread

WRITE_SECONDS = 60.0
_COLUMNS = ("at", "collector", "name", "labels", "kind", "value")
_log = structlog.get_logger()

SampleKey = tuple[str, str]
Row = tuple[datetime, str, str, str, str, float]


class MetricsLog:
    """Writes `collector_metrics`: of a counter its increase, of a gauge its value.

    `collect` returns the metric families of the moment; `collector` is this collector's name in
    the table.
    """

    def __init__(
        self, client: Client, collector: str, collect: Callable[[], Iterable[Metric]]
    ) -> None:
        self._client = client
        self._collector = collector
        self._collect = collect
        self._written: dict[SampleKey, float] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Write every WRITE_SECONDS."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write the increase since the last time, and a row that marks the end."""
        if self._task is not None:
            self._task.cancel()
            await self._try(is_last=True)

    def write(self, *, is_last: bool = False) -> None:
        """Write the increase since the last time. If the store raises, the next write has it."""
        STORE_CLOCK.set_by(self._client)
        now = STORE_CLOCK.now()
        counts = dict(self._written)
        rows = list(self._rows(now, counts))
        if is_last:
            rows.append((now, self._collector, "tallyspan_collector_stopped", "", "gauge", 1.0))
        if rows:
            self._client.insert("collector_metrics", rows, column_names=_COLUMNS)
        self._written = counts

    def _rows(self, now: datetime, counts: dict[SampleKey, float]) -> Iterator[Row]:
        """Yield what is to be written; `counts`, the counters at the last write, are updated."""
        for family in self._collect():
            if family.type not in {"counter", "gauge"}:
                continue
            for sample in family.samples:
                if sample.name.endswith("_created"):
                    continue
                labels = ",".join(f"{name}={text}" for name, text in sorted(sample.labels.items()))
                value = float(sample.value)
                if family.type == "counter":
                    key = (sample.name, labels)
                    before = counts.get(key, 0.0)
                    counts[key] = sample.value
                    # The counts of a worker that died begin again at 0: all of them are new.
                    value = value - before if value >= before else value
                    if not value:
                        continue
                yield (now, self._collector, sample.name, labels, family.type, value)

    async def _run(self) -> None:
        while True:  # at once: other collectors of the store are to know of this one
            await self._try()
            await asyncio.sleep(WRITE_SECONDS)

    async def _try(self, *, is_last: bool = False) -> None:
        try:
            await in_thread(self.write, is_last=is_last)
        except Exception as error:  # noqa: BLE001  the store is away: the next write has it all
            _log.warning("metrics.not_recorded", error=one_line(error))
