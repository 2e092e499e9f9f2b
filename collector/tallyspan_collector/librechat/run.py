"""An import of LibreChat's ledger from its beginning to its end: a day at a time."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_clickhouse.ledger_lock import PATIENCE_SECONDS, imports_lock
from tallyspan_collector.booked.imports import Booking, check_kept
from tallyspan_collector.booked.run import BRIEF_PATIENCE_SECONDS
from tallyspan_collector.errors import BillError
from tallyspan_collector.librechat import days
from tallyspan_collector.librechat.booking import Result, book
from tallyspan_collector.librechat.mongo import Mongo
from tallyspan_collector.librechat.pairs import Pair, paired, turns_in
from tallyspan_collector.librechat.people import with_users
from tallyspan_collector.librechat.settings import LedgerImport
from tallyspan_collector.librechat.transactions import Half, halves_of
from tallyspan_collector.librechat.turns import turns_of
from tallyspan_collector.units.counts import counted

AROUND = timedelta(hours=1)
"""So much before and after a day is read with it: turns that lie across midnight stay whole."""
AT_ONCE = 500
"""Calls that are joined and booked together; turns are not cut."""
MAX_CHARACTERS = 40_000
"""Of the ids of their messages: a store takes no value of 128 KiB, and asks for each twice."""
_ONE_DAY = timedelta(days=1)


@dataclass(slots=True)
class Outcome:
    """What an import booked, or would book, and what of LibreChat's ledger was left out.

    `waiting`: calls of turns whose spans may still come. `orphans`: halves without the other half.
    `unreadable`: documents that are no half of a call, by what is wrong with them.
    """

    database: str
    result: Result = field(default_factory=Result)
    documents: int = 0
    waiting: int = 0
    orphans: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)

    @property
    def left_out(self) -> dict[str, int]:
        """Return how many calls and documents were not booked, by why."""
        return {
            "waiting": self.waiting,
            "other_half_missing": self.orphans,
            "failed_turn": self.result.failed,
            "no_message": self.result.unjoined,
            "unreadable": self.unreadable.total(),
        }

    @property
    def notes(self) -> list[str]:
        """Return a sentence for each thing that is not as it should be."""
        result = self.result
        unjoined = (
            "left out: LibreChat wrote no message id, and calls of the conversation are recorded"
        )
        notes = [
            (self.waiting, "call", "not settled yet: spans of the last minutes may still come"),
            (self.orphans, "document", "left out: the other half of the call was never written"),
            (result.failed, "call", "left out: LibreChat's estimate of a turn that failed"),
            (result.unjoined, "call", unjoined),
            *((count, "document", f"left out: {why}") for why, count in self.unreadable.items()),
        ]
        return [
            *(f"{counted(count, noun)} {why}" for count, noun, why in notes if count),
            *(
                f"turns of the tenant {theirs!r} are recorded as those of {ours!r} and count as"
                " recorded: give the import the tenant of LibreChat's ingest key"
                for theirs, ours in sorted(result.other_tenants)
            ),
            *(
                []
                if self.documents
                else [f"the database {self.database!r} has no document of these days"]
            ),
        ]


class Window(NamedTuple):
    """A day's calls, whole turns; `waiting` ones are younger than the spans they wait for.

    `others` are turns and kinds that were read and are of another day, or wait.
    """

    day: date
    pairs: Sequence[Pair]
    waiting: Sequence[Pair]
    others: Collection[tuple[str, str]]
    orphans: Sequence[Half]
    unreadable: Counter[str]
    documents: int

    @property
    def last_id(self) -> str:
        """Return the newest document that is settled."""
        return max((pair.answer.id for pair in self.pairs), default="")


def run(
    client: Client,
    mongo: Mongo,
    what: LedgerImport,
    first: date,
    last: date,
    booking: Booking,
    *,
    is_applied: bool = True,
    is_patient: bool = True,
    now: datetime | None = None,
) -> Outcome:
    """Import the days (UTC), one import at a time over all machines.

    `is_patient`: wait for another import; else give up at once. Raises `ConfigError` (rights),
    `BillError` with the first day that is missing, StoreError and what the store raises.
    """
    check_kept(client, first)
    patience = PATIENCE_SECONDS if is_patient else BRIEF_PATIENCE_SECONDS
    outcome = Outcome(mongo.name)
    STORE_CLOCK.set_by(client)
    settled = (now or STORE_CLOCK.now()) - timedelta(seconds=what.wait_seconds)
    with imports_lock(client, f"import {what.name}", patience) as held:
        for number in range((last - first).days + 1):
            day = first + timedelta(days=number)
            before = outcome.result.totals
            try:
                window = read_day(mongo, day, settled)
                for pairs in _portions(window.pairs):
                    held.keep()
                    result = book(
                        client,
                        with_users(mongo, what, pairs),
                        day,
                        pairs,
                        turns_of(mongo, pairs),
                        booking,
                        is_applied=is_applied,
                        patience_seconds=patience,
                    )
                    outcome.result.add(result)
            except BillError as error:
                done = f" (what was before is booked): --from {day}" if day > first else ""
                raise BillError(f"{error}; {day} to {last} are missing{done}") from error
            _add(outcome, window)
            if is_applied:
                lines = {
                    model: line
                    for (of_day, model), line in outcome.result.lines.items()
                    if of_day == day
                }
                days.note(client, what.name, _day(window, before, outcome), lines)
    return outcome


def read_day(mongo: Mongo, day: date, settled: datetime) -> Window:
    """Return the calls of turns that began on the day (UTC), and were over at `settled`."""
    from bson import ObjectId

    start = datetime.combine(day, time(), UTC)
    stop = start + _ONE_DAY
    bounds = (ObjectId.from_datetime(at) for at in (start - AROUND, stop + AROUND))
    documents = [*mongo.by_id("transactions", *bounds)]
    own = [each for each in documents if start <= each["_id"].generation_time < stop]
    _, unreadable = halves_of(own)
    pairs, alone = paired(halves_of(documents)[0])
    inside: list[Pair] = []
    waiting: list[Pair] = []
    others: set[tuple[str, str]] = set()
    for turn in turns_in(pairs):
        is_settled = turn[-1].answer.at <= settled
        is_inside = start <= turn[0].at < stop
        if is_inside:
            (inside if is_settled else waiting).extend(turn)
        if not (is_inside and is_settled):
            others.add(turn[0].group)
    orphans = [half for half in alone if start <= half.at < stop and half.at <= settled]
    return Window(day, inside, waiting, others, orphans, unreadable, len(documents))


def _portions(pairs: Sequence[Pair]) -> Iterator[list[Pair]]:
    """Yield the calls in portions that cut no turn."""
    portion: list[Pair] = []
    characters = 0
    for calls in turns_in(pairs):
        ids = len(calls[0].prompt.message) + len(calls[0].prompt.conversation)
        if portion and (len(portion) >= AT_ONCE or characters + ids > MAX_CHARACTERS):
            yield portion
            portion, characters = [], 0
        portion += calls
        characters += ids
    if portion:
        yield portion


def _add(outcome: Outcome, window: Window) -> None:
    outcome.documents += window.documents
    outcome.waiting += len(window.waiting)
    outcome.orphans += len(window.orphans)
    outcome.unreadable += window.unreadable
    for pair in window.pairs:
        line = outcome.result.lines[window.day, pair.prompt.model]
        line.calls += 1
        line.tokens += pair.prompt.tokens + pair.answer.tokens
        line.claimed_cost_usd += Decimal(pair.value_picousd or 0).scaleb(-12)


def _day(window: Window, before: tuple[int, int], outcome: Outcome) -> days.Day:
    """Return what became of a day's calls; `before` are the totals of the days before it."""
    recorded, imported = (
        now - then for now, then in zip(outcome.result.totals, before, strict=True)
    )
    left_out = len(window.pairs) - recorded - imported + len(window.orphans)
    return days.Day(window.day, window.last_id, len(window.pairs), recorded, imported, left_out)
