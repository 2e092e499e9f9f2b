"""What price changes leave of calls that were taken back later is booked away.

A reversal has the cost its call was booked with. If the price of the call changed in between, the
difference would stay in every total, although the call is gone. Whichever of reversal and price
change came first:

- where no call is left, all amounts must add up to 0;
- where the call was booked again, they must add up to its newest booking and the price changes
  after it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_clickhouse.moments import microseconds, of_microseconds, sql_moment, utc
from tallyspan_collector.booked import ledger
from tallyspan_collector.booked.audit import Changed
from tallyspan_collector.booked.ledger import COSTS, UNPRICED, Row
from tallyspan_collector.booked.run import run_if_due

RECENT = timedelta(days=7)
"""A call is taken back within hours of its booking, a day at most after an outage."""
_AMOUNTS = (*COSTS, *UNPRICED)
_MILLISECOND = timedelta(milliseconds=1)
_TIMES = {name: sql_moment(name) for name in ("since", "first", "last")}
_BOUNDS = """
SELECT count(), min(l.start_time), max(l.start_time) FROM llm_calls AS l
WHERE l.entry_kind != 'call' AND l.sign < 0 AND l.ingested_at >= {since}
""".format(**_TIMES)
_CHANGES = """
SELECT count() FROM llm_calls AS l
WHERE l.entry_kind = 'price_change' AND l.start_time >= {first} AND l.start_time <= {last}
""".format(**_TIMES)
_WHERE = """
l.start_time >= {first} AND l.start_time <= {last}
    AND (l.trace_id, l.span_id) IN (
        SELECT trace_id, span_id FROM llm_calls
        WHERE entry_kind != 'call' AND sign < 0
            AND ingested_at >= {since}
            AND start_time >= {first}
            AND start_time <= {last})
""".format(**_TIMES)  # noqa: S608  names of parameters
_HAVING = "countIf(l.sign < 0) > 0 AND countIf(l.entry_kind = 'price_change') > 0"
_AMOUNTS_OF_AN_ENTRY = ", ".join(f"l.{name}" for name in _AMOUNTS)
_MORE = {
    "calls_left": "sum(l.sign)",
    "entries": f"groupArray((l.sign, l.ingested_at, {_AMOUNTS_OF_AN_ENTRY}))",
}


class Remainders:
    """The remainders of calls that were taken back; `bounds` are those of `_bounds`."""

    name = "remainder"
    audit_table = "price_changes"

    def __init__(self, bounds: Mapping[str, int]) -> None:
        self._bounds = bounds
        self.result = Changed()

    def audit_scope(self) -> Mapping[str, Any]:
        """Return the columns of the audit that say which calls."""
        first, last = (of_microseconds(self._bounds[name]) for name in ("first", "last"))
        return {"kind": self.name, "calls_from": first, "calls_to": last, "scope": "{}"}

    def audit_totals(self) -> Mapping[str, Any]:
        """Return the columns of the audit that say what changed."""
        return asdict(self.result)

    def calls(self, client: Client) -> Iterator[Row]:
        """Yield calls that have both a reversal and a price change."""
        return ledger.calls(client, _WHERE, _HAVING, self._bounds, _MORE)

    def entries(self, call: Row) -> Sequence[Row]:
        """Return the entry that books the remainder away; none where nothing is left over."""
        entries, calls_left = call.pop("entries"), call.pop("calls_left")
        due: list[Any] = [0] * len(_AMOUNTS)
        columns: Row = {}
        if calls_left > 0:
            booking = max((each for each in entries if each[0] > 0), key=lambda each: each[1])
            after = [each for each in entries if each[0] == 0 and each[1] > booking[1]]
            due = [sum(each[2 + n] or 0 for each in (booking, *after)) for n in range(len(due))]
            # Before the booking, because what is booked away does not belong to it.
            columns["ingested_at"] = utc(booking[1]) - _MILLISECOND
        left = [(call[name] or 0) - amount for name, amount in zip(_AMOUNTS, due, strict=True)]
        if not any(left):
            return ()
        self.result.calls += 1
        self.result.old_cost_usd += call["cost_usd"] or 0
        self.result.new_cost_usd += due[0]
        columns |= {name: -amount for name, amount in zip(_AMOUNTS, left, strict=True)}
        return (ledger.entry(call, "price_change", 0) | columns,)


def book_away(client: Client, since: datetime | None = None) -> int:
    """Book away what is left of price changes; return of how many calls it was.

    Looks at calls that were taken back since a moment (default: `RECENT` ago). Raises StoreError
    if other changes are being booked at the moment, and what the store raises.
    """
    bounds = _bounds(client, since or STORE_CLOCK.now() - RECENT)
    if bounds is None:
        return 0
    reason = "calls were taken back after a price change"
    result = run_if_due(client, lambda: Remainders(bounds), reason=reason)
    return result.calls if result else 0


def _bounds(client: Client, since: datetime) -> dict[str, int] | None:
    """Return from when to when the calls began that were taken back; None: there are none."""
    parameters = {"since": microseconds(since)}
    count, first, last = client.query(_BOUNDS, parameters=parameters).result_rows[0]
    if not count:
        return None
    for name, moment in (("first", first), ("last", last)):
        parameters[name] = microseconds(utc(moment))
    changes = client.query(_CHANGES, parameters=parameters).result_rows[0][0]
    return parameters if changes else None
