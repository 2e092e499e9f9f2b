"""What a collector does about others that book into its store.

A call is charged once, whichever collectors its spans came to: as long as another collector was
there within the time in which spans are sent again, each writes what it has of a trace that both
may know (`several/writer.py`), and the trace is charged by all of it (`several/joint.py`). Spans
that were sent to two collectors, and of which nobody remembers the trace, are looked for in the
ledger alone (`booked/sent_twice.py`).
"""

import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

import structlog
from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import row_of
from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_clickhouse.moments import microseconds, of_microseconds, sql_moment, utc
from tallyspan_clickhouse.schema import OF_NO_CALL
from tallyspan_collector.booked.run import run_if_due
from tallyspan_collector.booked.sent_twice import STALE_SECONDS, take_back, windows
from tallyspan_collector.files.atomic import PRIVATE, whole_file
from tallyspan_collector.ingest import journal
from tallyspan_collector.metrics.counters import Metrics
from tallyspan_collector.metrics.others import Other, others
from tallyspan_collector.resolution.identity import Identities
from tallyspan_collector.several.joint import JointTraces, Price, States
from tallyspan_collector.several.writer import Traces, Writer
from tallyspan_collector.units.counts import counted

LOOK_SECONDS, LOOK_AGAIN_SECONDS = 15.0, 5.0
"""Between two looks, and after one that was given up."""
CLOCKS_APART = timedelta(minutes=1)
"""How far the clocks of two collectors may be apart."""
MAX_SETTLED = 100_000
"""Traces of which it is remembered that nothing is left to do."""
_RECENT = f"""
SELECT count(), min(start_time), max(start_time) FROM llm_calls
WHERE entry_kind NOT IN {OF_NO_CALL} AND ingested_at >= {sql_moment("since")}
    AND ingested_at < {sql_moment("until")}
"""  # noqa: S608  own text
_log = structlog.get_logger()


class Resolving(NamedTuple):
    """What it takes to resolve traces: the collector's own, by number, prices, trusted keys."""

    identities: Identities
    traces: Traces
    price: Price
    trusted: Collection[str]


class Several:
    """Looks for what other collectors booked too; `within`: so long a span may be sent again."""

    def __init__(
        self,
        client: Client,
        name: str,
        journal_path: Path,
        within: timedelta,
        metrics: Metrics,
        resolving: Resolving,
    ) -> None:
        self._client = client
        self._name = name
        self._journal = journal_path
        self._within = within
        self._metrics = metrics
        self._resolving = resolving
        self._writer = Writer(client, name, resolving.identities, resolving.traces)
        self._settled: States = {}
        self._run: int | None = None
        """The last run of the journal that was looked at; None: the other ones have just come."""
        self._since: datetime | None = None
        self._left_off: tuple[datetime, datetime] | None = None
        """Where the look before was given up, and up to when it was to look."""
        self._position = journal_path.with_name("looked_until")
        self._looking = threading.Lock()
        self._ending = threading.Event()
        self.warning = ""

    def stop(self, seconds: float) -> None:
        """Break off a look that goes on, so that it holds no lock when the process has ended."""
        self._ending.set()
        if self._looking.acquire(timeout=seconds):
            self._looking.release()

    def look(self) -> None:
        """Put right what several collectors booked of one call since the last time.

        Raises what the store raises, and StoreError while others book changes, and once it is to
        stop; the next time goes on from there.
        """
        with self._looking:
            self._look()

    def _look(self) -> None:
        now = STORE_CLOCK.now()
        present = others(self._client, self._name, self._within)
        self._warn([each.name for each in present if each.is_alive])
        # a batch that waits is in the ledger later, with the time at which it was made
        until = min(now, journal.oldest_batch(self._journal) or now)
        if self._since is None:  # what was booked while nobody looked
            looked_until, self._run = self._read_position()
            self._since = min(until, looked_until or self._seen_first(present, until))
        run = self._run
        if present:
            # the clock may have been ahead the last time
            since = max(min(self._since, now), now - self._within) - CLOCKS_APART
            until_now = now + CLOCKS_APART
            # entries of a batch that waited then are in the ledger now, with a time before this one
            begin, until = self._left_off or (since, until)
            self._resolve(begin, until_now, until)
            calls = take_back(self._client, since, until_now, self._ending.is_set)
            if calls:
                self._metrics.sent_twice(calls)
                _log.info("calls.sent_twice", calls=calls)
        else:
            run = self._run = None
        self._since, self._left_off = until, None
        # of the traces of the runs since then some wait for the next time (`writer.py`)
        position = until.isoformat() if run is None else f"{until.isoformat()} {run}"
        # a full disk: after a start more is looked at than need be
        with suppress(OSError), whole_file(self._position, PRIVATE) as file:
            file.write(position.encode())

    def _read_position(self) -> tuple[datetime | None, int | None]:
        """Return up to when and to which run an earlier process looked; None: nobody knows."""
        try:
            moment, _, run = self._position.read_text().partition(" ")
            return datetime.fromisoformat(moment), int(run) if run else None
        except (OSError, ValueError):
            return None, None

    @staticmethod
    def _seen_first(present: Sequence[Other], until: datetime) -> datetime:
        return min([until, *(each.last_seen for each in present)])

    def _resolve(self, since: datetime, until: datetime, looked: datetime) -> None:
        """Write this collector's parts of traces that others know too, and charge them whole.

        `looked`: up to then everything was looked at once this is done.
        """
        if len(self._settled) > MAX_SETTLED:
            self._settled.clear()
        touched = journal.touched(self._journal, self._run)
        spans = touched.traces, touched.callless
        for recent in self._windows(since, until):
            self._left_off = of_microseconds(recent["since"]), looked
            self._writer.write(recent, *spans)
            spans, self._run = (set(), set()), touched.run
            result = run_if_due(
                self._client,
                partial(
                    JointTraces,
                    recent,
                    self._resolving.price,
                    self._resolving.trusted,
                    self._settled,
                ),
                reason="spans of a trace came to several collectors",
                stale_seconds=STALE_SECONDS,
                is_ending=self._ending.is_set,
            )
            if result and result.calls:
                self._metrics.split_traces(result.calls)
                _log.info("calls.of_split_traces", calls=result.calls)

    def _windows(self, since: datetime, until: datetime) -> Iterator[dict[str, int]]:
        """Yield the bounds of what was booked since a moment, some minutes at a time."""
        for begin, end in windows(since, until):
            recent = {"since": microseconds(begin), "until": microseconds(end)}
            count, *times = row_of(self._client, _RECENT, recent)
            if count:
                first, last = (microseconds(utc(each)) for each in times)
                recent |= {"first": first, "last": last}
            yield recent

    def _warn(self, alive: list[str]) -> None:
        before, self.warning = self.warning, ""
        if alive:
            self.warning = (
                f"{counted(len(alive), 'other collector')} ({', '.join(alive)}) book into this"
                " store: send each trace to one of them, or its calls are charged right only after"
                " a minute (docs/operations.md, 'Several collectors on one store')"
            )
        if alive and not before:
            _log.warning("collectors.several", warning=self.warning)
