"""Calls that several collectors booked, because their span was sent to each, are charged once.

A collector knows what it has booked itself. An exporter that misses the answer of one collector
sends its spans again, and a load balancer gives them to another, which books them too. Only the
ledger has both, and it is additive: all bookings of a span but the first are taken back.

What is taken back is counted by the entries of the collectors alone, so two runs that did not see
each other, or collectors that take their bookings back later, are put right by the next run.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import row_of, tuples_of
from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_clickhouse.moments import microseconds, sql_moment, utc
from tallyspan_clickhouse.schema import OF_NO_CALL, SCHEMA
from tallyspan_collector.booked.audit import Changed
from tallyspan_collector.booked.ledger import AMOUNTS, COUNT, KEY, Row
from tallyspan_collector.booked.run import run_if_due

MAX_WINDOW = timedelta(minutes=2)
"""So much of what was booked is looked at at a time: its spans are in the store's memory, and what
is broken off is done again."""
STALE_SECONDS = 90
"""Less than for a person's run: totals are too high until what a killed collector began is done."""
END_OF_TIME = datetime(2200, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_COLUMNS = [each.name for each in SCHEMA.columns]
OF_COLLECTORS = ("call", "reversal")
_IDENTITY = "tenant, source, trace_id, span_id"
_SINCE, _UNTIL = (sql_moment(name) for name in ("since", "until"))
_IS_RECENT = (
    f"entry_kind NOT IN {OF_NO_CALL} AND ingested_at >= {_SINCE} AND ingested_at < {_UNTIL}"
)
_BOUNDS = f"SELECT count(), min(start_time), max(start_time) FROM llm_calls WHERE {_IS_RECENT}"  # noqa: S608  own text
_IN_BOUNDS = f"start_time >= {sql_moment('first')} AND start_time <= {sql_moment('last')}"
_BOOKED = "sumIf(sign, entry_kind IN ('call', 'reversal'))"
_TWICE = f"""
SELECT {_IDENTITY} FROM llm_calls
WHERE {_IN_BOUNDS} AND (trace_id, span_id) IN (
    SELECT trace_id, span_id FROM llm_calls WHERE {_IN_BOUNDS} AND {_IS_RECENT})
    AND trace_id NOT IN (SELECT trace_id FROM split_traces)
GROUP BY {_IDENTITY}
HAVING {_BOOKED} > 1 OR countIf(entry_kind = 'correction') > 0
"""  # noqa: S608  own text
_ENTRIES = f"""
SELECT {", ".join(_COLUMNS)} FROM llm_calls
WHERE {_IN_BOUNDS} AND sign != 0 AND ({_IDENTITY}) IN ({_TWICE})
SETTINGS select_sequential_consistency = 1
"""  # noqa: S608  own text

Identity = tuple[Any, ...]


class SentTwice:
    """The calls with entries booked in a window whose bookings do not come to one."""

    name = "sent_twice"
    audit_table = "price_changes"

    def __init__(self, since: datetime, until: datetime) -> None:
        self._since, self._until = since, until
        self.result = Changed()

    def audit_scope(self) -> Mapping[str, Any]:
        """Return the columns of the audit that say which calls."""
        return {
            "kind": self.name,
            "calls_from": self._since,
            "calls_to": self._until,
            "scope": '{"by": "ingested_at"}',
        }

    def audit_totals(self) -> Mapping[str, Any]:
        """Return the columns of the audit that say what changed."""
        return asdict(self.result)

    def calls(self, client: Client) -> Iterator[Row]:
        """Yield the entries of each such span, in the order they were booked."""
        parameters = {"since": microseconds(self._since), "until": microseconds(self._until)}
        count, first, last = row_of(client, _BOUNDS, parameters)
        if not count:
            return
        parameters |= {"first": microseconds(utc(first)), "last": microseconds(utc(last))}
        spans: defaultdict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for values in tuples_of(client, _ENTRIES, parameters):
            row = dict(zip(_COLUMNS, values, strict=True))
            for name in ("start_time", "ingested_at"):
                row[name] = utc(row[name])
            spans[tuple(row[name] for name in _IDENTITY.split(", "))].append(row)
        for entries in spans.values():
            entries.sort(key=itemgetter("ingested_at", "batch_id"))
            yield {"entries": entries, COUNT: len(entries)}

    def entries(self, call: Row) -> Sequence[Row]:
        """Return the entries that leave one booking of the span, or none where none is left."""
        entries: list[Row] = call["entries"]
        due = changes(entries)
        if due:
            result = self.result
            result.calls += 1
            result.old_cost_usd += sum(each["cost_usd"] or 0 for each in entries)
            result.new_cost_usd += sum(each["cost_usd"] or 0 for each in [*entries, *due])
        return due


def changes(entries: Sequence[Row]) -> list[Row]:
    """Return the corrections that leave one booking of a span, given all its entries in order.

    None for a call that was moved to another department since: what is taken back of it, and from
    where, is not to be told from the move.
    """
    bookings = standing([each for each in entries if each["entry_kind"] in OF_COLLECTORS])
    corrections = [each for each in entries if each["entry_kind"] not in OF_COLLECTORS]
    booked_away: Counter[Identity] = Counter()
    for each in corrections:
        booked_away[identity_of(each)] -= each["sign"]
    if any(count < 0 for count in booked_away.values()):
        return []
    kept = _kept(bookings, booked_away)
    due = Counter(identity_of(each) for each in bookings if each is not kept)
    now = max(STORE_CLOCK.now(), entries[-1]["ingested_at"] + _MILLISECOND)
    examples = {identity_of(each): each for each in [*corrections, *bookings]}
    return [
        correction(examples[identity], sign, now)
        for sign, identities in ((-1, due - booked_away), (1, booked_away - due))
        for identity in identities.elements()
    ]


def standing(entries: Sequence[Row]) -> list[Row]:
    """Return the bookings that their collector did not take back."""
    left: Counter[Identity] = Counter()
    for each in entries:
        left[identity_of(each)] += each["sign"]
    result = []
    for each in entries:
        if each["sign"] > 0 and left[identity_of(each)] > 0:
            left[identity_of(each)] -= 1
            result.append(each)
    return result


def _kept(bookings: Sequence[Row], booked_away: Counter[Identity]) -> Row | None:
    """Return the first booking that is not booked away, else the first."""
    left = booked_away.copy()
    for each in bookings:
        if not left[identity_of(each)]:
            return each
        left[identity_of(each)] -= 1
    return bookings[0] if bookings else None


def identity_of(entry: Row) -> Identity:
    """Return what a booking and the entry that takes it back have in common."""
    amounts = (None if entry[name] is None else entry["sign"] * entry[name] for name in AMOUNTS)
    return (*(entry[name] for name in KEY), *amounts)


def correction(example: Row, sign: int, now: datetime) -> Row:
    """Return the correction of that sign with the amounts and all else of another entry."""
    factor = sign * example["sign"]
    amounts = {name: None if example[name] is None else factor * example[name] for name in AMOUNTS}
    meters = {name: factor * count for name, count in example["meters"].items()}
    row = {**example, **amounts, "meters": meters, "sign": sign}
    del row["batch_id"]
    return row | {"entry_kind": "correction", "ingested_at": now}


def take_back(
    client: Client,
    since: datetime,
    until: datetime,
    is_ending: Callable[[], bool] = lambda: False,
) -> int:
    """Take back what was booked more than once since a moment; return of how many calls.

    Raises StoreError if other changes are being booked at the moment, or the process `is_ending`,
    and what the store raises.
    """
    calls = 0
    for begin, end in windows(since, until):
        result = run_if_due(
            client,
            partial(SentTwice, begin, end),
            reason="several collectors booked the same spans",
            stale_seconds=STALE_SECONDS,
            is_ending=is_ending,
        )
        calls += result.calls if result else 0
    return calls


def windows(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield the time between two moments in pieces of some minutes.

    The last one has no end: what was booked while a clock was ahead is looked at each time.
    """
    while since < until:
        end = since + MAX_WINDOW
        yield since, END_OF_TIME if end >= until else end
        since = end
