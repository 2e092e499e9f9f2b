"""What a collector's metrics say, once a minute, into the store: alerts need no other source."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import structlog
from clickhouse_connect.driver.client import Client
from prometheus_client.parser import text_string_to_metric_families

from tallyspan_clickhouse.engine import one_line

WRITE_SECONDS = 60.0
_COLUMNS = ("at", "collector", "name", "labels", "kind", "value")
_log = structlog.get_logger()

Sample = tuple[str, str]
Row = tuple[datetime, str, str, str, str, float]


class MetricsLog:
    """Writes `collector_metrics`: of a counter what came since the last time, of a gauge its value.

    `metrics` returns Prometheus text; `collector` names this one among all.
    """

    def __init__(self, client: Client, collector: str, metrics: Callable[[], str]) -> None:
        self._client = client
        self._collector = collector
        self._metrics = metrics
        self._told: dict[Sample, float] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Write every WRITE_SECONDS."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write what came since the last time, and that this is the end."""
        if self._task is not None:
            self._task.cancel()
            await self._try(is_last=True)

    def write(self, *, is_last: bool = False) -> None:
        """Write what is new. Raises what the store raises; it is told again the next time."""
        now = datetime.now(UTC)
        told = dict(self._told)
        rows = list(self._rows(now, told))
        if is_last:
            rows.append((now, self._collector, "tallyspan_collector_stopped", "", "gauge", 1.0))
        if rows:
            self._client.insert("collector_metrics", rows, column_names=_COLUMNS)
        self._told = told

    def _rows(self, now: datetime, told: dict[Sample, float]) -> Iterator[Row]:
        for family in text_string_to_metric_families(self._metrics()):
            if family.type not in {"counter", "gauge"}:
                continue
            for each in family.samples:
                if each.name.endswith("_created"):
                    continue
                labels = ",".join(f"{name}={text}" for name, text in sorted(each.labels.items()))
                value = each.value
                if family.type == "counter":
                    sample = (each.name, labels)
                    before = told.get(sample, 0.0)
                    told[sample] = each.value
                    # A worker that died took its counts along: what is there now came since.
                    value = each.value - before if each.value >= before else each.value
                    if not value:
                        continue
                yield (now, self._collector, each.name, labels, family.type, value)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            await self._try()

    async def _try(self, *, is_last: bool = False) -> None:
        try:
            await asyncio.to_thread(self.write, is_last=is_last)
        except Exception as error:  # noqa: BLE001  the store is away: the next time says it all
            _log.warning("metrics.not_recorded", error=one_line(error))
