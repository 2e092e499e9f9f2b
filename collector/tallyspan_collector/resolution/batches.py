"""What is charged for batches: each result once, and of a batch's own sum what its results leave.

A batch is created by one process and its results are read by another, hours or weeks later, over
and over, whole or in part. So what is known of batches is kept longer than traces are, in the same
file and the same transaction:

- who created a batch, and for which model: its results are theirs, not of whoever reads the file.
  Results that came before are booked anew when it is known;
- which results are booked, by tenant, provider, batch or file, and the hash of the request's name:
  read again, by whatever process or key, a result is the same call;
- what each result bills, where it is the request that says so (the seconds of a video);
- what a batch used in all, where the provider states it. Booked is what its results leave of it,
  count by count and never below 0: all of it while no result was read, nothing once all were. So
  the two sources never count twice, in whatever order they come.

As everywhere (`parties.py`) a key changes nothing of another key's charges: a result that another
key reports with other amounts is booked as well, and flagged; who another key says created a batch
is taken only where that is open.
"""

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import lz4.block

from tallyspan.batch import amounts_of
from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.dialects.batches import COUNTED, REST, TOTAL, billed_each
from tallyspan_collector.dialects.reading import BatchPart, Reading
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.read.call import Call, Flag, columns_of
from tallyspan_collector.resolution.id_registry import IdRegistry, Turns
from tallyspan_collector.resolution.identity import number_of, owner_of
from tallyspan_collector.resolution.node import LedgerEntry, pack_lone, unpack_lone
from tallyspan_collector.resolution.parties import WHO, party_of

SEEN_MS = 35 * 86_400_000
"""So long a result is known at least, at most twice as long: providers keep results for 30 days."""
WAITING_MS = 8 * 86_400_000
"""So long results can be given to a creator who becomes known after them."""
CHUNK = 256
"""Waiting results that are kept together."""
_REQUESTS = "requests"
_PARTS = {
    "cache_read_tokens": "input_tokens",
    "cache_write_tokens": "input_tokens",
    "cache_write_1h_tokens": "cache_write_tokens",
    "cache_read_audio_tokens": "cache_read_tokens",
    "reasoning_tokens": "output_tokens",
    "input_audio_tokens": "input_tokens",
    "output_audio_tokens": "output_tokens",
    "input_image_tokens": "input_tokens",
    "output_image_tokens": "output_tokens",
}
"""Count -> the one that it is a part of, after which it comes here."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS batch_object
    (id INTEGER PRIMARY KEY, seen_ms INTEGER NOT NULL, who TEXT NOT NULL DEFAULT '{}',
     model TEXT NOT NULL DEFAULT '', total BLOB, booked BLOB);
CREATE TABLE IF NOT EXISTS batch_each
    (id INTEGER PRIMARY KEY, seen_ms INTEGER NOT NULL, bills TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS batch_source
    (id INTEGER PRIMARY KEY, seen_ms INTEGER NOT NULL, covered TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS batch_alias
    (source INTEGER NOT NULL, object INTEGER NOT NULL, seen_ms INTEGER NOT NULL,
     PRIMARY KEY (source, object)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS batch_alias_object ON batch_alias (object);
CREATE TABLE IF NOT EXISTS batch_waiting
    (number INTEGER PRIMARY KEY, source INTEGER NOT NULL, seen_ms INTEGER NOT NULL,
     calls BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS batch_waiting_source ON batch_waiting (source);
CREATE INDEX IF NOT EXISTS batch_waiting_seen ON batch_waiting (seen_ms);
"""
_Amounts = dict[str, int | float]
_Who = dict[str, dict[str, Any]]
"""Key's name ("" of all trusted keys) -> fields of identity that its span of the creation has."""


@dataclass(slots=True)
class BatchBooking:
    """What readings of batches come to: calls and entries that are taken back.

    `duplicates`: results and sums that were read again. `waiting`: by source, the places in
    `calls` of results whose creator may still become known. `totals`: object -> the place in
    `calls` of what is booked of its sum; None: nothing is, any more.
    """

    calls: list[Call] = field(default_factory=list)
    reversals: list[LedgerEntry] = field(default_factory=list)
    duplicates: int = 0
    waiting: dict[int, list[int]] = field(default_factory=dict)
    totals: dict[int, int | None] = field(default_factory=dict)


class Batches:
    """The batches in one file. Every method runs inside a transaction of the caller's.

    `trusted` are the names of keys that correct each other's reports.
    """

    def __init__(self, file: sqlite3.Connection, trusted: Collection[str] = ()) -> None:
        self._file = file
        self._trusted = trusted
        file.executescript(_SCHEMA)
        self._items = IdRegistry(file, "batch_item", ("amount", "party"))
        self._turn = Turns(file, "batch_item", forgets_one=True)

    def resolve(self, readings: Iterable[Reading], now_ms: int) -> BatchBooking:
        """Return what the readings of batches change in the ledger; `commit` remembers it."""
        booking = BatchBooking()
        objects: set[int] = set()
        news: set[int] = set()
        results: dict[int, list[Call]] = {}
        sums = 0
        for reading in readings:
            call, part = reading.call, reading.batch
            if call is None or part is None:
                continue
            if part.event == "results":
                source = _source(call, part.file_id or part.batch_id)
                if not part.file_id:
                    self._link(source, _object(call, part.batch_id), now_ms)
                results.setdefault(source, []).append(call)
                continue
            number = _object(call, part.batch_id)
            self._learn(number, call, part, now_ms)
            objects.add(number)
            sums += call.part == TOTAL
            sources = [_source(call, name) for name in (part.batch_id, *part.files)]
            news |= {each for each in sources if self._link(each, number, now_ms)}
            news |= set(sources) if part.event == "created" else set()
        for source in self._of_objects(objects) | news:
            self._give_to_creator(source, booking)
        if results:
            self._file.execute(
                "DELETE FROM batch_waiting WHERE seen_ms < ?", (now_ms - WAITING_MS,)
            )
        for source, calls in results.items():
            self._add_results(source, calls, booking, now_ms)
            objects |= self._objects(source)
        more = sum(self._settle_total(number, booking) for number in sorted(objects))
        booking.duplicates += max(0, sums - max(0, more))
        return booking

    def commit(self, booking: BatchBooking, costs: Sequence[Cost], now_ms: int) -> None:
        """Remember what was booked; `costs` are those of its calls, in their order."""
        for source, places in booking.waiting.items():
            pairs = [(booking.calls[place], costs[place]) for place in places]
            self._file.executemany(
                "INSERT INTO batch_waiting (source, seen_ms, calls) VALUES (?, ?, ?)",
                [
                    (source, now_ms, _packed(pairs[start : start + CHUNK]))
                    for start in range(0, len(pairs), CHUNK)
                ],
            )
        for number, place in booking.totals.items():
            entry = None if place is None else _packed([(booking.calls[place], costs[place])])
            self._file.execute("UPDATE batch_object SET booked = ? WHERE id = ?", (entry, number))

    def _learn(self, number: int, call: Call, part: BatchPart, now_ms: int) -> None:
        """Remember who created a batch, or its sum; of several sums the largest."""
        self._file.execute(
            "INSERT OR IGNORE INTO batch_object (id, seen_ms) VALUES (?, ?)", (number, now_ms)
        )
        if part.each:
            self._file.execute(
                "INSERT OR IGNORE INTO batch_each VALUES (?, ?, ?)",
                (number, now_ms, json.dumps(part.each)),
            )
        if part.event == "created":
            who, *_ = self._object(number)
            if (party := self._party(call)) not in who:
                who[party] = _identity(call)
                self._file.execute(
                    "UPDATE batch_object SET who = ? WHERE id = ?", (json.dumps(who), number)
                )
        if call.request_model:
            self._file.execute(
                "UPDATE batch_object SET model = ? WHERE id = ? AND model = ''",
                (call.request_model, number),
            )
        if call.part == TOTAL:
            _, total, _ = self._object(number)
            if total is None or _weight(call) > _weight(total):
                packed = _packed([(call, Cost())])
                self._file.execute(
                    "UPDATE batch_object SET total = ? WHERE id = ?", (packed, number)
                )

    def _object(self, number: int) -> tuple[_Who, Call | None, LedgerEntry | None]:
        """Return who created a batch, its sum, and what of that stands in the ledger."""
        row = self._file.execute(
            "SELECT who, total, booked FROM batch_object WHERE id = ?", (number,)
        ).fetchone()
        if row is None:
            return {}, None, None
        who, total, booked = row
        return (
            json.loads(who),
            None if total is None else _unpacked(total)[0].call,
            None if booked is None else _unpacked(booked)[0],
        )

    def _link(self, source: int, number: int, now_ms: int) -> bool:
        """Remember that results of a batch are there; return whether that is new."""
        cursor = self._file.execute(
            "INSERT OR IGNORE INTO batch_alias VALUES (?, ?, ?)", (source, number, now_ms)
        )
        return cursor.rowcount > 0

    def _objects(self, source: int) -> set[int]:
        rows = self._file.execute("SELECT object FROM batch_alias WHERE source = ?", (source,))
        return {number for (number,) in rows}

    def _of_objects(self, objects: Iterable[int]) -> set[int]:
        return {source for number in objects for source in self._sources(number)}

    def _sources(self, number: int) -> list[int]:
        rows = self._file.execute("SELECT source FROM batch_alias WHERE object = ?", (number,))
        return [source for (source,) in rows]

    def _who(self, source: int) -> _Who:
        """Return who created the batch whose results are there, as each key says."""
        who: _Who = {}
        for number in sorted(self._objects(source)):
            who = {**self._object(number)[0], **who}
        return who

    def _model(self, source: int) -> str:
        """Return the model of the batch whose results are there; empty: nobody has said it."""
        (model,) = self._file.execute(
            "SELECT ifnull(max(model), '') FROM batch_object WHERE id IN"
            " (SELECT object FROM batch_alias WHERE source = ?)",
            (source,),
        ).fetchone()
        return str(model)

    def _model_of(self, number: int) -> str:
        """Return the model that a batch is known to be for; empty: nobody has said it."""
        row = self._file.execute(
            "SELECT model FROM batch_object WHERE id = ?", (number,)
        ).fetchone()
        return "" if row is None else str(row[0])

    def _each(self, source: int) -> list[tuple[str, str]]:
        """Return what each result there bills, where it does not say so itself."""
        row = self._file.execute(
            "SELECT bills FROM batch_each WHERE id IN"
            " (SELECT object FROM batch_alias WHERE source = ?) ORDER BY id",
            (source,),
        ).fetchone()
        return [] if row is None else [(name, value) for name, value in json.loads(row[0])]

    def _completion(self, source: int) -> Callable[[Call], tuple[Call, bool]]:
        """Return what makes a result there whole by what is known of its batch.

        The flag: nothing that becomes known of the batch changes it any more.
        """
        who, model, each = self._who(source), self._model(source), self._each(source)

        def complete(call: Call) -> tuple[Call, bool]:
            party = self._party(call)
            whole = billed_each(_of_model(_attributed(call, who, party), model), each)
            return whole, _is_settled(whole, who, party)

        return complete

    def _party(self, call: Call) -> str:
        party = party_of(owner_of(call), self._trusted)
        return f"{party.source} " if party.is_other else ""

    def _add_results(
        self, source: int, calls: Sequence[Call], booking: BatchBooking, now_ms: int
    ) -> None:
        """Book the results that are not known, for whoever created their batch."""
        fresh = self._fresh(source, calls, now_ms)
        booking.duplicates += len(calls) - len(fresh)
        if not fresh:
            return
        covered = self._covered([source])
        complete = self._completion(source)
        for call in fresh:
            if Flag.REPORTS_DISAGREE not in call.quality_flags:
                _add(covered, call)
            theirs, is_settled = complete(call)
            if not is_settled:
                booking.waiting.setdefault(source, []).append(len(booking.calls))
            booking.calls.append(theirs)
        self._file.execute(
            "INSERT OR REPLACE INTO batch_source VALUES (?, ?, ?)",
            (source, now_ms, json.dumps(covered)),
        )

    def _fresh(self, source: int, calls: Sequence[Call], now_ms: int) -> list[Call]:
        """Return the results that are not booked, each once, and remember them."""
        turn, old = self._turn.at(now_ms // SEEN_MS)
        if old:
            self._items.begin(turn, old)
            self._forget(now_ms)
        numbers = [number_of(f"{source} {call.span_id}") for call in calls]
        existing = {row[0]: row[1:] for _, row in self._items.find(numbers, turn)}
        fresh = []
        for number, call in zip(numbers, calls, strict=True):
            party = self._party(call)
            amount = number_of(repr((call.model_name, call.usage, sorted(call.meters.items()))))
            own = amount, number_of(party)
            first = existing.setdefault(number, own)
            if first is own:
                fresh.append(call)
                continue
            if own[0] == first[0] or own[1] == first[1]:
                continue
            number_of_other = number_of(f"{source} {call.span_id} {party} {amount}")
            if self._items.find([number_of_other], turn) or number_of_other in existing:
                continue
            existing[number_of_other] = own
            flags = (*call.quality_flags, Flag.REPORTS_DISAGREE)
            fresh.append(call._replace(span_id=f"{number_of_other:016x}", quality_flags=flags))
        self._items.add([(number, *own) for number, own in existing.items()], turn)
        return fresh

    def _covered(self, sources: Iterable[int]) -> _Amounts:
        """Return what the booked results of the sources come to."""
        covered: _Amounts = {}
        for source in sources:
            row = self._file.execute(
                "SELECT covered FROM batch_source WHERE id = ?", (source,)
            ).fetchone()
            for name, amount in json.loads(row[0]).items() if row else ():
                covered[name] = covered.get(name, 0) + amount
        return covered

    def _give_to_creator(self, source: int, booking: BatchBooking) -> None:
        """Book results anew that came before it was known who created their batch."""
        rows = self._file.execute(
            "SELECT number, seen_ms, calls FROM batch_waiting WHERE source = ?", (source,)
        ).fetchall()
        if not rows:
            return
        complete = self._completion(source)
        for number, seen_ms, packed in rows:
            kept: list[tuple[Call, Cost]] = []
            for entry in _unpacked(packed):
                theirs, is_known = complete(entry.call)
                if theirs == entry.call:
                    kept += [] if is_known else [entry]
                    continue
                booking.reversals.append(entry)
                if not is_known:
                    booking.waiting.setdefault(source, []).append(len(booking.calls))
                booking.calls.append(theirs)
            self._file.execute("DELETE FROM batch_waiting WHERE number = ?", (number,))
            if kept:
                self._file.execute(
                    "INSERT INTO batch_waiting (source, seen_ms, calls) VALUES (?, ?, ?)",
                    (source, seen_ms, _packed(kept)),
                )

    def _settle_total(self, number: int, booking: BatchBooking) -> int:
        """Book what the results leave of a batch's sum, in place of what is booked of it.

        Return how many calls more there are then: -1, 0 or 1.
        """
        who, total, booked = self._object(number)
        if total is None:
            return 0
        rest = _rest(total, self._covered(self._sources(number)))
        due = None
        if rest is not None:
            due = _of_model(_attributed(rest, who, self._party(total)), self._model_of(number))
        if (booked.call if booked else None) == due:
            return 0
        if booked is not None:
            booking.reversals.append(booked)
        booking.totals[number] = None if due is None else len(booking.calls)
        if due is not None:
            booking.calls.append(due)
        return (due is not None) - (booked is not None)

    def _forget(self, now_ms: int) -> None:
        """Forget batches that are older than what is known of their results."""
        before = (now_ms - 2 * SEEN_MS,)
        self._file.execute("DELETE FROM batch_object WHERE seen_ms < ?", before)
        self._file.execute("DELETE FROM batch_each WHERE seen_ms < ?", before)
        self._file.execute("DELETE FROM batch_source WHERE seen_ms < ?", before)
        self._file.execute("DELETE FROM batch_alias WHERE seen_ms < ?", before)


def _object(call: Call, batch_id: str) -> int:
    return number_of(f"batch {call.provider_name} {batch_id}", owner_of(call).tenant)


def _source(call: Call, name: str) -> int:
    return number_of(f"results {call.provider_name} {name}", owner_of(call).tenant)


def _identity(call: Call) -> dict[str, Any]:
    names = [name for group in WHO for name in group]
    return {name: getattr(call, name) for name in (*names, "key_department")}


def _attributed(call: Call, who: _Who, party: str) -> Call:
    """Return the call as that of the batch's creator.

    What the call's own key says of the creation holds; what others say only fills what is open.
    """
    own = who.get(party, {})
    if any(own.values()):
        return call._replace(**own)
    for other in (who[name] for name in sorted(who)):
        for names in WHO:
            if not any(getattr(call, name) for name in names):
                call = call._replace(**{name: other[name] for name in names})
    return call


def _of_model(call: Call, model: str) -> Call:
    """Return the call as one of the batch's model, if it names none."""
    return call if call.model_name or not model else call._replace(request_model=model)


def _is_settled(call: Call, who: _Who, party: str) -> bool:
    """Whether nothing that becomes known of its batch changes the call."""
    is_billed = COUNTED not in call.meters
    return bool(call.model_name) and is_billed and any(who.get(party, {}).values())


def _add(covered: _Amounts, call: Call) -> None:
    for name, amount in {**amounts_of(call.usage, call.meters), _REQUESTS: 1}.items():
        covered[name] = covered.get(name, 0) + amount


def _weight(call: Call) -> tuple[int, str]:
    usage = call.usage
    return (usage.input_tokens or 0) + (usage.output_tokens or 0), repr(usage)


def _rest(total: Call, covered: Mapping[str, int | float]) -> Call | None:
    """Return what results leave of a sum; None: nothing."""
    if not any(covered.values()):
        return total
    counts: dict[str, int | None] = {}
    for name in TOKEN_FIELDS:
        count = getattr(total.usage, name)
        if count is not None:
            counts[name] = max(0, count - int(covered.get(name, 0)))
    for name, whole in _PARTS.items():
        if counts.get(name) is not None:
            counts[name] = min(counts[name] or 0, counts.get(whole) or 0)
    meters = {
        name: left
        for name, amount in total.meters.items()
        if (left := amount - covered.get(name, 0)) > 0
    }
    if not any(counts.values()) and not meters.keys() - {_REQUESTS}:
        return None
    if _REQUESTS in total.meters:
        meters.setdefault(_REQUESTS, 1)
    return total._replace(usage=Usage(**counts), meters=meters, part=REST)


def _packed(pairs: Sequence[tuple[Call, Cost]]) -> bytes:
    columns = columns_of([call for call, _ in pairs])
    (text,) = pack_lone(columns, [cost for _, cost in pairs], len(pairs))
    packed: bytes = lz4.block.compress(len(pairs).to_bytes(4) + text)
    return packed


def _unpacked(packed: bytes) -> list[LedgerEntry]:
    content = lz4.block.decompress(packed)
    size, text = int.from_bytes(content[:4]), content[4:]
    return [LedgerEntry(*pair) for pair in unpack_lone(text, range(size))]
