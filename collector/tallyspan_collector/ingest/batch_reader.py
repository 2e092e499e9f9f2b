"""Spooled requests -> the rows and the readings of a batch."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from tallyspan_collector.access.keys import Keys
from tallyspan_collector.columns.reader import SpanReader
from tallyspan_collector.columns.shapes import Shapes
from tallyspan_collector.columns.table import Table, table
from tallyspan_collector.dialects import Kind, Reader, Reading
from tallyspan_collector.dialects.batches import is_of_batch, items_in, read_batch
from tallyspan_collector.ingest.spool import LOGS, SpooledRequest
from tallyspan_collector.metrics.counters import Dropped, Metrics
from tallyspan_collector.read import otlp
from tallyspan_collector.read.not_understood import not_understood
from tallyspan_collector.read.otlp import Span
from tallyspan_collector.read.received import Receipt


class BatchReader:
    """Reads the requests of one batch; what can be rows is, the other spans are readings."""

    def __init__(self, keys: Keys, metrics: Metrics, reader: SpanReader) -> None:
        self._keys = keys
        self._metrics = metrics
        self._reader = Reader()
        self._decoder = reader.decoder(Shapes())
        self.remainders = reader.remainders
        self._receipts: list[Receipt] = []
        self._requests: list[int] = []
        self._refused: Counter[str] = Counter()
        self._not_calls: Counter[int] = Counter()

    @property
    def rows(self) -> int:
        """How many calls are rows since the last `take`."""
        return self._decoder.rows

    def not_calls(self, requests: Iterable[int]) -> int:
        """Return how many spans of these requests are no call, and forget the number."""
        return sum(self._not_calls.pop(request, 0) for request in requests)

    def read(self, request: SpooledRequest) -> list[Reading]:
        """Return what the spans of a request are that are no rows.

        Raises `DecodeError` if it is no OTLP request; then nothing of it was taken.
        """
        if request.signal == LOGS:
            return self.read_alone(request)
        receipt = self._receipt(request)
        not_calls = self._decoder.not_calls
        leaving = self._decoder.add(request.body(), len(self._receipts))
        self._receipts.append(receipt)
        self._requests.append(request.id)
        spans = [span for part in leaving for span in otlp.decode(part)]
        readings = self._readings(spans, receipt, request)
        self._not_calls[request.id] += self._decoder.not_calls - not_calls
        return readings

    def read_alone(self, request: SpooledRequest) -> list[Reading]:
        """Return what the spans of a request are, all one by one."""
        decode = otlp.decode_logs if request.signal == LOGS else otlp.decode
        return self._readings(decode(request.body()), self._receipt(request), request)

    def take(self) -> Table:
        """Return the rows since the last time."""
        receipts, self._receipts = self._receipts, []
        requests, self._requests = self._requests, []
        for reason, spans in (self._decoder.refused - self._refused).items():
            self._metrics.reader_refused(reason, spans)
        self._refused = self._decoder.refused.copy()
        rows = table(self._decoder.take(), receipts)
        for number in rows.request[~rows.is_call].tolist():
            self._not_calls[requests[number]] += 1
        has_usage = np.zeros(rows.rows, bool)
        for column in rows.counts:
            if column is not None:
                has_usage |= column >= 0
        self._metrics.usage_on_wrappers(int((has_usage & ~rows.is_call).sum()))
        return rows

    def _receipt(self, request: SpooledRequest) -> Receipt:
        return Receipt(request.received_ms, self._keys.source(request.source))

    def _readings(
        self, spans: Iterable[Span], receipt: Receipt, request: SpooledRequest
    ) -> list[Reading]:
        read = self._reader.read_log if request.signal == LOGS else self._reader.read
        readings: list[Reading] = []
        for span in spans:
            if is_of_batch(span):
                of_batch = read_batch(span, lambda each: read(each, receipt))
                self._count(span, of_batch)
                readings += of_batch
            else:
                readings.append(read(span, receipt))
            for provider, pattern, requests in not_understood(span.attributes):
                self._metrics.not_understood(provider, pattern, requests)
        calls = sum(reading.kind is Kind.CALL for reading in readings)
        # not added to what an earlier reading of the request has counted
        self._not_calls[request.id] = len(readings) - calls
        with_call = [reading for reading in readings if reading.call is not None]
        self._metrics.usage_on_wrappers(
            sum(
                each.kind is Kind.WRAPPER and bool(each.call and each.call.usage)
                for each in with_call
            )
        )
        return with_call

    def _count(self, span: Span, readings: Sequence[Reading]) -> None:
        """Count what a span of a batch holds as if each result had come in one of its own."""
        items = items_in(span)
        self._metrics.received(max(items, 1) - 1)
        unreadable = items - sum(reading.kind is Kind.CALL for reading in readings)
        if unreadable > 0:
            self._metrics.dropped(Dropped.MALFORMED, unreadable)
