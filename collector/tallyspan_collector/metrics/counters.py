"""The metrics of one process: received = stored + dropped + waiting."""

from collections.abc import Callable
from enum import StrEnum
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tallyspan.formats import PROVIDERS


class Dropped(StrEnum):
    """Why something received is not in the ledger."""

    MALFORMED = "malformed"
    BURIED = "buried"
    UNTIMED = "untimed"
    NOT_A_CALL = "not_a_call"
    DUPLICATE = "duplicate"


MAX_PATTERNS = 300
"""Requests that are not understood and counted apart: a sender can invent any number."""


class Metrics:
    """The counters of one process; `registry` collects their families."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        requests = Counter(
            "tallyspan_requests", "OTLP requests by outcome", ["outcome"], registry=self.registry
        )
        self._outcome = cache(requests.labels)
        self._spans = Counter(
            "tallyspan_genai_spans_received",
            "Spans on disk that may be calls",
            registry=self.registry,
        )
        self._calls = Counter(
            "tallyspan_calls_stored",
            "Calls in the ledger",
            ["cost_status"],
            registry=self.registry,
        )
        self._unread = Counter(
            "tallyspan_unread_usage_calls",
            "Calls in the ledger whose usage has a key that no rule reads",
            ["provider"],
            registry=self.registry,
        )
        self._not_understood = Counter(
            "tallyspan_requests_not_understood",
            "Requests to providers that no format knows: perhaps a new API",
            ["provider", "request"],
            registry=self.registry,
        )
        self._patterns: set[tuple[str, str]] = set()
        self._imports = Counter(
            "tallyspan_imports",
            "Imports of provider-side usage by schedule, done or failed",
            ["name", "outcome"],
            registry=self.registry,
        )
        self._reconciled = Counter(
            "tallyspan_reconciliations",
            "Comparisons with a provider's bill by schedule, done or failed",
            ["name", "outcome"],
            registry=self.registry,
        )
        self._bill_coverage = Gauge(
            "tallyspan_bill_coverage_ratio",
            "Recorded tokens (costs, where a bill has no tokens) as a part of the billed ones",
            ["name"],
            registry=self.registry,
        )
        self._bill_drift = Gauge(
            "tallyspan_bill_drift_ratio",
            "Recorded cost less billed, as a part of billed",
            ["name"],
            registry=self.registry,
        )
        self._import_left_out = Gauge(
            "tallyspan_import_left_out",
            "Calls and documents of LibreChat's ledger that the last import did not book",
            ["name", "reason"],
            registry=self.registry,
        )
        self._import_age = Gauge(
            "tallyspan_import_age_seconds",
            "Seconds since an import read its provider's report; -1: never",
            ["name"],
            registry=self.registry,
        )
        self._read_alone = Counter(
            "tallyspan_reader_refused",
            "Spans that are read one by one and not as columns",
            ["reason"],
            registry=self.registry,
        )
        self._dropped = Counter(
            "tallyspan_spans_dropped", "GenAI spans not stored", ["reason"], registry=self.registry
        )
        self._inserts = Histogram(
            "tallyspan_insert_seconds", "Duration of an insert", registry=self.registry
        )
        self._insert_failures = Counter(
            "tallyspan_insert_failures", "Inserts that failed", registry=self.registry
        )
        self._rows = Counter(
            "tallyspan_rows_inserted", "Ledger entries inserted", registry=self.registry
        )
        self._repairs = Counter(
            "tallyspan_rows_repaired",
            "Ledger entries that the store had lost (added again) or had too many (surplus), or had"
            " from before the spool was restored (booked_before), rows of rollups put right"
            " (rollup), days whose rollups were not_compared",
            ["kind"],
            registry=self.registry,
        )
        self._remainders = Counter(
            "tallyspan_price_remainders",
            "Calls taken back after a price change, what it left booked away",
            registry=self.registry,
        )
        self._sent_twice = Counter(
            "tallyspan_calls_sent_twice",
            "Calls that several collectors booked, all bookings but one taken back",
            registry=self.registry,
        )

        self._split_traces = Counter(
            "tallyspan_split_trace_corrections",
            "Bookings taken back or added because spans of a trace came to several collectors",
            registry=self.registry,
        )

        self._wrapper_usage = Counter(
            "tallyspan_usage_on_wrappers",
            "Spans around calls that state tokens: those are not charged, the calls inside are",
            registry=self.registry,
        )

    def watch(self, name: str, description: str, value: Callable[[], float]) -> None:
        """Add a gauge; `value` is called each time the metrics are collected."""
        Gauge(name, description, registry=self.registry).set_function(value)

    def request(self, outcome: str) -> None:
        """Count one OTLP request: accepted, malformed, refused, unauthenticated or failed."""
        self._outcome(outcome).inc()

    def received(self, spans: int) -> None:
        """Count GenAI spans that arrived."""
        self._spans.inc(spans)

    def stored(self, cost_status: str, calls: int) -> None:
        """Count calls that are on their way into the ledger, priced."""
        self._calls.labels(cost_status).inc(calls)

    def reader_refused(self, reason: str, spans: int) -> None:
        """Count spans that cannot be read as columns."""
        self._read_alone.labels(reason).inc(spans)

    def unread_usage(self, provider: str, calls: int) -> None:
        """Count calls, on their way into the ledger, whose usage was not read whole.

        A provider that is not ours by name counts as `other`: senders can invent any number.
        """
        self._unread.labels(provider if provider in PROVIDERS else "other").inc(calls)

    def not_understood(self, provider: str, request: str, requests: int) -> None:
        """Count requests that no format knows, by method, host and path.

        Those after the first MAX_PATTERNS different ones count as `other`.
        """
        if len(self._patterns) >= MAX_PATTERNS and (provider, request) not in self._patterns:
            request = "other"
        self._patterns.add((provider, request))
        self._not_understood.labels(provider, request).inc(requests)

    def dropped(self, reason: Dropped, spans: int = 1) -> None:
        """Count spans that did not become a call."""
        self._dropped.labels(reason.value).inc(spans)

    def inserted(self, seconds: float, rows: int) -> None:
        """Count a successful insert, its duration and its rows."""
        self._inserts.observe(seconds)
        self._rows.inc(rows)

    def repaired(self, kind: str, rows: int) -> None:
        """Count what a batch in doubt took: entries lost or surplus, rows of rollups, or days."""
        self._repairs.labels(kind).inc(rows)

    def remainders(self, calls: int) -> None:
        """Count calls whose remainder after a price change is booked away."""
        self._remainders.inc(calls)

    def insert_failed(self) -> None:
        """Count a failed attempt to insert."""
        self._insert_failures.inc()

    def sent_twice(self, calls: int) -> None:
        """Count calls that several collectors booked and that are charged once now."""
        self._sent_twice.inc(calls)

    def split_traces(self, bookings: int) -> None:
        """Count bookings put right because a trace came to several collectors."""
        self._split_traces.inc(bookings)

    def imported(self, name: str, outcome: str) -> None:
        """Count an import by schedule: done or failed."""
        self._imports.labels(name, outcome).inc()

    def reconciled(self, name: str, outcome: str) -> None:
        """Count a comparison with a bill by schedule: done or failed."""
        self._reconciled.labels(name, outcome).inc()

    def bill_compared(self, name: str, coverage: float | None, drift: float | None) -> None:
        """Say how much of a bill is recorded, and how far costs are off; None: it does not say."""
        if coverage is not None:
            self._bill_coverage.labels(name).set(coverage)
        if drift is not None:
            self._bill_drift.labels(name).set(drift)

    def import_left_out(self, name: str, reason: str, count: int) -> None:
        """Say how much of LibreChat's ledger the last import left out."""
        self._import_left_out.labels(name, reason).set(count)

    def import_age(self, name: str, seconds: float) -> None:
        """Say how long ago the report of an import was read; -1: never."""
        self._import_age.labels(name).set(seconds)

    def usage_on_wrappers(self, spans: int) -> None:
        """Count spans around calls that state tokens, which are not charged."""
        self._wrapper_usage.inc(spans)
