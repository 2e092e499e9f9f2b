"""Calls that LibreChat's ledger has and no span tells of are booked; a late span takes them back.

What stands in the ledger is compared with what should: so it may be done again at any time, by
several machines, after it was broken off, and when spans come late.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_collector.booked import ledger
from tallyspan_collector.booked.imports import Booking
from tallyspan_collector.booked.run import run
from tallyspan_collector.librechat.entries import KIND, call_of, entries_of, span_of, trace_of
from tallyspan_collector.librechat.join import (
    Recorded,
    alike,
    by_group,
    conversations,
    matched,
    read,
    recorded,
)
from tallyspan_collector.librechat.pairs import Pair, groups_of
from tallyspan_collector.librechat.settings import LedgerImport
from tallyspan_collector.librechat.turns import Turn, has_no_span

_MILLISECOND = timedelta(milliseconds=1)
_COUNTS = ("booked", "taken_back", "old_cost_usd", "new_cost_usd", "failed", "unjoined")


@dataclass(slots=True)
class Line:
    """A model of a day: calls that LibreChat's ledger has, and what was booked of them.

    Tokens are input and output; `claimed_cost_usd` is what LibreChat charged for all of its calls.
    """

    calls: int = 0
    tokens: int = 0
    recorded: int = 0
    recorded_tokens: int = 0
    recorded_cost_usd: Decimal = Decimal(0)
    imported: int = 0
    imported_tokens: int = 0
    imported_cost_usd: Decimal = Decimal(0)
    claimed_cost_usd: Decimal = Decimal(0)
    unpriced_tokens: int = 0

    def add(self, other: "Line") -> None:
        """Add another line."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


@dataclass(slots=True)
class Result:
    """What a run found and booked; the counts beside the lines are calls that are not booked.

    `failed`: of turns that ended with an error, estimated by LibreChat. `unjoined`: without a
    message, in conversations of which calls are recorded. `other_tenant`: recorded as another
    organisation's.
    """

    lines: dict[tuple[date, str], Line] = field(default_factory=lambda: defaultdict(Line))
    booked: int = 0
    taken_back: int = 0
    old_cost_usd: Decimal = Decimal(0)
    new_cost_usd: Decimal = Decimal(0)
    failed: int = 0
    unjoined: int = 0
    other_tenants: set[tuple[str, str]] = field(default_factory=set)

    def add(self, other: "Result") -> None:
        """Add what was found of other turns."""
        for key, line in other.lines.items():
            self.lines[key].add(line)
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.other_tenants |= other.other_tenants

    @property
    def totals(self) -> tuple[int, int]:
        """Return how many of the calls are recorded, and how many are booked from their ledger."""
        lines = self.lines.values()
        return sum(line.recorded for line in lines), sum(line.imported for line in lines)

    @property
    def changes(self) -> int:
        """Return how many calls were booked or taken back."""
        return self.booked + self.taken_back


def book(
    client: Client,
    what: LedgerImport,
    day: date,
    pairs: Sequence[Pair],
    turns: Mapping[tuple[str, str], Turn],
    booking: Booking,
    *,
    is_applied: bool,
    patience_seconds: float,
) -> Result:
    """Book what our ledger lacks of some whole turns of a day, and return what was found.

    It looks without the lock first: most of the time nothing changes. Raises as `run`.
    """

    def kind() -> LedgerCalls:
        return LedgerCalls(what, day, pairs, turns, booking)

    result = run(client, kind(), is_applied=False)
    if not is_applied or not result.changes:
        return result
    return run(
        client,
        kind(),
        is_applied=True,
        changed_by=booking.changed_by,
        reason=f"{booking.reason}: {what.name}",
        patience_seconds=patience_seconds,
    )


class LedgerCalls:
    """The difference between what should stand in our ledger of some turns and what does."""

    name = "librechat"
    audit_table = "price_changes"

    def __init__(
        self,
        what: LedgerImport,
        day: date,
        pairs: Sequence[Pair],
        turns: Mapping[tuple[str, str], Turn],
        booking: Booking,
    ) -> None:
        self._what = what
        self._day = day
        self._pairs = pairs
        self._turns = turns
        self._booking = booking
        self.result = Result()

    def audit_scope(self) -> Mapping[str, Any]:
        """Return the columns of the audit that say which calls."""
        times = [pair.at for pair in self._pairs]
        return {
            "kind": self.name,
            "calls_from": min(times),
            "calls_to": max(times) + timedelta(seconds=1),
            "scope": json.dumps({"import": self._what.name}),
        }

    def audit_totals(self) -> Mapping[str, Any]:
        """Return the columns of the audit that say what changed."""
        return {
            "calls": self.result.changes,
            "old_cost_usd": self.result.old_cost_usd,
            "new_cost_usd": self.result.new_cost_usd,
        }

    def calls(self, client: Client) -> Iterator[ledger.Row]:
        """Yield what is to be booked (`due`, after its `last` entry) or taken back (`charged`)."""
        missing = self._missing(client, recorded(client, self._pairs))
        standing = self._standing(client)
        charged = {
            span_id: rows
            for span_id, entries in standing.items()
            if (rows := [row for row in entries if row["left"] > 0])
        }
        new = [pair for pair in missing if span_of(pair) not in charged]
        calls = [call_of(self._what, pair, self._turn(pair)) for pair in new]
        due = entries_of(calls, self._booking, STORE_CLOCK.now())
        for pair, row in zip(new, due, strict=True):
            self._count(pair, row)
            old = standing.get(span_of(pair), ())
            yield {
                "due": row,
                "charged": (),
                "last": max((each[ledger.LAST] for each in old), default=None),
                ledger.COUNT: sum(each[ledger.COUNT] for each in old),
            }
        for pair in missing:
            for row in charged.pop(span_of(pair), ()):
                self._count(pair, row)
        for _, rows in sorted(charged.items()):
            yield {"due": None, "charged": rows, ledger.COUNT: sum(x[ledger.COUNT] for x in rows)}

    def entries(self, call: ledger.Row) -> Sequence[ledger.Row]:
        """Return the entries after which a call stands once if it is due, and else not at all."""
        due = call["due"]
        if due is not None:
            self.result.booked += 1
            self.result.new_cost_usd += due["cost_usd"] or 0
            if call["last"] is not None:
                due["ingested_at"] = max(due["ingested_at"], call["last"] + _MILLISECOND)
            return (due,)
        result = []
        for row in call["charged"]:
            self.result.taken_back += 1
            self.result.old_cost_usd += row["cost_usd"] or 0
            columns = {name: value for name, value in row.items() if name != "left"}
            result.append(ledger.entry(columns, KIND, -1))
        return result

    def _turn(self, pair: Pair) -> Turn:
        return self._turns.get((pair.prompt.conversation, pair.prompt.message), Turn())

    def _missing(self, client: Client, calls: Sequence[Recorded]) -> list[Pair]:
        """Return the calls that no other call of our ledger is."""
        others = by_group(call for call in calls if self._what.counts(str(call.row["source"])))
        alone = [pair for pair in self._pairs if self._is_alone(pair)]
        around = conversations(client, self._what, alone)
        missing: list[Pair] = []
        for group, pairs in groups_of(self._pairs).items():
            if not group[0]:
                without = [
                    pair
                    for pair in pairs
                    if not self._is_alone(pair) or pair.prompt.conversation not in around
                ]
                self.result.unjoined += len(pairs) - len(without)
                missing += without
                continue
            for pair, call in matched(pairs, others.get(group, ())):
                if call is None and pair is not None:
                    missing.append(pair)
                elif pair is not None and call is not None:
                    self._see(pair, call)
        others_alike = alike(client, self._what, missing)
        for pair in missing:
            if (call := others_alike.get(pair.prompt.id)) is not None:
                self._see(pair, call)
        return [
            pair
            for pair in missing
            if pair.prompt.id not in others_alike and not self._is_phantom(pair)
        ]

    def _is_alone(self, pair: Pair) -> bool:
        """Whether only its conversation tells if a span has it."""
        return not pair.prompt.message and not has_no_span(pair, self._turn(pair))

    def _is_phantom(self, pair: Pair) -> bool:
        """Whether it is LibreChat's estimate of a call that the provider refused."""
        if self._turn(pair).is_phantom and not pair.kind:
            self.result.failed += 1
            return True
        return False

    def _see(self, pair: Pair, call: Recorded) -> None:
        line = self._line(pair)
        line.recorded += 1
        line.recorded_tokens += sum(count or 0 for count in call.tokens)
        line.recorded_cost_usd += call.row["cost_usd"] or 0
        ours, theirs = str(call.row["tenant"]), self._what.tenant_of(pair.prompt)
        if ours != theirs:
            self.result.other_tenants.add((theirs, ours))

    def _count(self, pair: Pair, row: ledger.Row) -> None:
        line = self._line(pair)
        line.imported += 1
        line.imported_tokens += (row["input_tokens"] or 0) + (row["output_tokens"] or 0)
        line.imported_cost_usd += row["cost_usd"] or 0
        line.unpriced_tokens += row["unpriced_tokens"]

    def _line(self, pair: Pair) -> Line:
        return self.result.lines[self._day, pair.prompt.model]

    def _standing(self, client: Client) -> dict[bytes, list[ledger.Row]]:
        """Return what the ledger has of these calls from this import, by their span id."""
        times = [pair.at for pair in self._pairs]
        traces = sorted({trace_of(pair).decode() for pair in self._pairs})
        rows = read(
            client,
            (min(times), max(times)),
            "l.source = {label:String} AND toString(l.trace_id) IN {traces:Array(String)}",
            {"label": self._what.label, "traces": traces},
        )
        spans = {span_of(pair) for pair in self._pairs}
        standing: dict[bytes, list[ledger.Row]] = defaultdict(list)
        for row in rows:
            if (span_id := bytes(row["span_id"])) in spans:
                standing[span_id].append(row)
        return standing
