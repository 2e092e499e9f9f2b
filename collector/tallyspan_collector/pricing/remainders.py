"""Price changes of calls that were taken back later: what is left of them is booked away.

A reversal has the cost its call was booked with. If the price of the call changed in between, the
difference would stay in every total, of a call that is no more. So it is looked for and booked
away, whichever of reversal and price change came first:

- where no call is left, all amounts must be nothing;
- where the call was booked anew, they must be those of its newest booking and of the price changes
  after it.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.ledger_lock import ledger_lock
from tallyspan_collector.pricing import ledger
from tallyspan_collector.pricing.audit import Audit
from tallyspan_collector.pricing.ledger import COSTS, Row

WHO = "tallyspan"
RECENT = timedelta(days=7)
"""A call is taken back within hours of its booking, a day at most after an outage."""
BATCH_ENTRIES = 10_000
PATIENCE_SECONDS = 2.0
_AMOUNTS = (*COSTS, "unpriced_calls", "unpriced_tokens")
_ONE = timedelta(milliseconds=1)
_TIMES = {name: ledger.at(name) for name in ("since", "first", "last")}
_BOUNDS = """
SELECT count(), min(l.start_time), max(l.start_time) FROM llm_calls AS l
WHERE l.entry_kind != 'call' AND l.sign < 0 AND l.ingested_at >= {since}
""".format(**_TIMES)
_CHANGES = """
SELECT count() FROM llm_calls AS l
WHERE l.entry_kind = 'price_change' AND l.start_time >= {first}
    AND l.start_time <= {last}
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


def book_away(client: Client, since: datetime | None = None) -> int:
    """Book away what is left of price changes; return of how many calls it was.

    Looks at calls that were taken back since a moment (default: `RECENT` ago). Raises StoreError
    if other changes are being booked at the moment, and what the store raises.
    """
    bounds = _bounds(client, since or datetime.now(UTC) - RECENT)
    if bounds is None:
        return 0
    if not any(True for _ in _remainders(client, bounds)):
        return 0  # without the lock: most of the time there is nothing to do
    with ledger_lock(client, "remainders of price changes", PATIENCE_SECONDS) as held:
        scope = {
            name: datetime.fromtimestamp(bounds[bound] / 10**6, UTC)
            for name, bound in (("start", "first"), ("end", "last"))
        }
        audit = Audit(client, scope, WHO, "calls were taken back after a price change", "remainder")
        rows = [*_remainders(client, bounds)]
        for place in range(0, len(rows), BATCH_ENTRIES):
            held.keep()
            audit.begin()
            batch = rows[place : place + BATCH_ENTRIES]
            ledger.book(
                client, [entry for entry, _ in batch], [entry["ingested_at"] for entry, _ in batch]
            )
        if rows:
            costs = [cost for _, cost in rows]
            away = sum((entry["cost_usd"] for entry, _ in rows), Decimal(0))
            before = sum(costs, Decimal(0))
            audit.end({"calls": len(rows), "old_cost_usd": before, "new_cost_usd": before + away})
    return len(rows)


def _bounds(client: Client, since: datetime) -> dict[str, int] | None:
    """Return from when to when the calls began that were taken back; None: there are none."""
    parameters = {"since": ledger.micros(since)}
    count, first, last = client.query(_BOUNDS, parameters=parameters).result_rows[0]
    if not count:
        return None
    for name, moment in (("first", first), ("last", last)):
        parameters[name] = ledger.micros(ledger.utc(moment))
    changes = client.query(_CHANGES, parameters=parameters).result_rows[0][0]
    return parameters if changes else None


def _remainders(client: Client, bounds: dict[str, int]) -> Iterator[tuple[Row, Decimal]]:
    """Yield the entry that books a remainder away, and what its call cost with it."""
    for row in ledger.calls(client, _WHERE, _HAVING, bounds, _MORE):
        entries = row.pop("entries")
        calls_left = row.pop("calls_left")
        sums = [sum(entry[2 + n] or 0 for entry in entries) for n in range(len(_AMOUNTS))]
        due: list[Any] = [0] * len(_AMOUNTS)
        at = datetime.now(UTC)
        if calls_left > 0:
            booked = max((entry for entry in entries if entry[0] > 0), key=lambda each: each[1])
            after = [entry for entry in entries if entry[0] == 0 and entry[1] > booked[1]]
            due = [sum(e[2 + n] or 0 for e in (booked, *after)) for n in range(len(_AMOUNTS))]
            # Before the booking, to which it does not belong.
            at = ledger.utc(booked[1]) - _ONE
        left = [have - ought for have, ought in zip(sums, due, strict=True)]
        if any(left):
            away = {name: -amount for name, amount in zip(_AMOUNTS, left, strict=True)}
            yield (
                ledger.change_of(row) | away | {"ingested_at": at},
                Decimal(sums[0]),
            )
