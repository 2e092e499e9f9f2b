"""What a collector does about others that book into its store.

A span that was sent to two collectors is charged once: what both booked is looked for in the
ledger, as long as another collector was there within the time in which spans are sent again. What
only one collector has seen of a call, another cannot know: a trace has to come to one of them, and
`warning` says so while another one runs.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from clickhouse_connect.driver.client import Client

from tallyspan_collector.booked.sent_twice import take_back
from tallyspan_collector.ingest import journal
from tallyspan_collector.metrics.counters import Metrics
from tallyspan_collector.metrics.others import others
from tallyspan_collector.units.counts import counted

LOOK_SECONDS = 15.0
CLOCKS_APART = timedelta(minutes=1)
"""How far the clocks of two collectors may be apart."""
_log = structlog.get_logger()


class Several:
    """Looks for what other collectors booked too; `within`: so long a span may be sent again."""

    def __init__(
        self, client: Client, name: str, journal_path: Path, within: timedelta, metrics: Metrics
    ) -> None:
        self._client = client
        self._name = name
        self._journal = journal_path
        self._within = within
        self._metrics = metrics
        self._since: datetime | None = None
        self.warning = ""

    def look(self) -> None:
        """Take back what was booked more than once since the last time.

        Raises what the store raises; the next time looks at the same again.
        """
        now = datetime.now(UTC)
        present = others(self._client, self._name, self._within)
        self._warn([each.name for each in present if each.is_alive])
        # a batch that waits is in the ledger later, with the time at which it was made
        until = min(now, journal.oldest_batch(self._journal) or now)
        if self._since is None:  # what they booked while nobody looked
            self._since = min([until, *(each.last_seen for each in present)])
        if present:
            # the clock may have been ahead the last time
            since = max(min(self._since, now), now - self._within) - CLOCKS_APART
            calls = take_back(self._client, since, now + CLOCKS_APART)
            if calls:
                self._metrics.sent_twice(calls)
                _log.info("calls.sent_twice", calls=calls)
        self._since = until

    def _warn(self, alive: list[str]) -> None:
        before, self.warning = self.warning, ""
        if alive:
            self.warning = (
                f"{counted(len(alive), 'other collector')} ({', '.join(alive)}) book into this"
                " store: send each trace to one of them, or calls that two spans report are"
                " charged twice (docs/operations.md, 'Several collectors on one store')"
            )
        if alive and not before:
            _log.warning("collectors.several", warning=self.warning)
