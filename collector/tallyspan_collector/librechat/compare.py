"""Both ledgers side by side: each call of either side once, with the reason of a difference."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan_collector.errors import ConfigError
from tallyspan_collector.librechat.entries import span_of
from tallyspan_collector.librechat.join import APART, Recorded, alike, by_group, matched, of_turns
from tallyspan_collector.librechat.mongo import Mongo
from tallyspan_collector.librechat.pairs import Pair, groups_of
from tallyspan_collector.librechat.people import with_users
from tallyspan_collector.librechat.reasons import Ledger, Reason, of_both, of_ours, of_theirs
from tallyspan_collector.librechat.run import Window, read_day
from tallyspan_collector.librechat.settings import LedgerImport
from tallyspan_collector.librechat.turns import Turn, turns_of

_ONE_DAY = timedelta(days=1)


class Key(NamedTuple):
    """What a line is of."""

    day: date
    user: str
    model: str
    context: str
    reason: Reason


@dataclass(slots=True)
class Sums:
    """Calls, tokens (input and output) and USD of both sides; a cost that nobody knows is none."""

    their_calls: int = 0
    our_calls: int = 0
    their_tokens: int = 0
    our_tokens: int = 0
    their_cost_usd: Decimal = Decimal(0)
    our_cost_usd: Decimal = Decimal(0)

    def add(self, pair: Pair | None, call: Recorded | None) -> None:
        """Add a call of one side or both."""
        if pair is not None:
            self.their_calls += 1
            self.their_tokens += pair.prompt.tokens + pair.answer.tokens
            self.their_cost_usd += Decimal(pair.value_picousd or 0).scaleb(-12)
        if call is not None:
            self.our_calls += 1
            self.our_tokens += sum(count or 0 for count in call.tokens)
            self.our_cost_usd += call.row["cost_usd"] or 0


@dataclass(slots=True)
class Comparison:
    """The lines of some days; `waiting`, `orphans` and `unreadable` as in an import."""

    lines: dict[Key, Sums] = field(default_factory=lambda: defaultdict(Sums))
    waiting: int = 0
    orphans: int = 0
    unreadable: int = 0

    @property
    def unexplained(self) -> int:
        """Return how many calls no reason is known for."""
        return sum(
            max(sums.their_calls, sums.our_calls)
            for key, sums in self.lines.items()
            if key.reason is Reason.UNEXPLAINED
        )


def compare(
    client: Client, mongo: Mongo, what: LedgerImport, first: date, last: date, now: datetime
) -> Comparison:
    """Return both ledgers of the days (UTC) side by side. Raises as an import does."""
    result = Comparison()
    settled = now - timedelta(seconds=what.wait_seconds)
    for number in range((last - first).days + 1):
        window = read_day(mongo, first + timedelta(days=number), settled)
        result.waiting += len(window.waiting)
        result.orphans += len(window.orphans)
        result.unreadable += sum(window.unreadable.values())
        for key, pair, call in _of_day(client, mongo, what, window, settled):
            result.lines[key].add(pair, call)
    return result


def _of_day(
    client: Client, mongo: Mongo, what: LedgerImport, window: Window, settled: datetime
) -> Iterator[tuple[Key, Pair | None, Recorded | None]]:
    start = datetime.combine(window.day, time(), UTC)
    calls = of_turns(client, (start - APART, start + _ONE_DAY + APART), what.label)
    imported = {bytes(x.row["span_id"]): x for x in calls if x.row["source"] == what.label}
    recorded = by_group(call for call in calls if what.counts(str(call.row["source"])))
    turns = turns_of(mongo, window.pairs)
    what = with_users(mongo, what, window.pairs)
    alone: list[Recorded] = []
    missing: list[Pair] = []
    for group, pairs in groups_of(window.pairs).items():
        for pair, call in matched(pairs, recorded.pop(group, ()) if group[0] else ()):
            if pair is None:
                alone += [call] if call else []
                continue
            if call is None:
                missing.append(pair)
            else:
                yield _key(what, window, of_both(pair, call), pair), pair, call
    others_alike = alike(client, what, missing)
    for pair in missing:
        turn = turns.get((pair.prompt.conversation, pair.prompt.message), Turn())
        if (call := others_alike.get(pair.prompt.id)) is not None:
            reason = of_both(pair, call)
        elif (call := imported.get(span_of(pair))) is not None:
            reason = Reason.IMPORTED
        else:
            reason = of_theirs(pair, turn)
        yield _key(what, window, reason, pair), pair, call
    stop = min(start + _ONE_DAY, settled)
    for group, others in recorded.items():
        if group not in window.others:
            alone += [call for call in others if start <= call.row["start_time"] < stop]
    ledger = Ledger(window.documents > 0, _users(mongo, alone))
    for call in alone:
        yield _key(what, window, of_ours(call, ledger), call), None, call


def _users(mongo: Mongo, calls: Sequence[Recorded]) -> frozenset[str] | None:
    """Return which users of the calls LibreChat still has; None: it may not be asked."""
    from bson import ObjectId

    names = {str(call.row["user_id"]) for call in calls}
    numbers = [ObjectId(name) for name in sorted(names) if ObjectId.is_valid(name)]
    try:
        existing = {str(each["_id"]) for each in mongo.with_values("users", "_id", numbers)}
    except ConfigError:  # the role has no right to: that is no reason to fail
        return None
    # who is known by another field than _id cannot be told from one who was deleted
    return frozenset(existing | {name for name in names if not ObjectId.is_valid(name)})


def _key(what: LedgerImport, window: Window, reason: Reason, of: Pair | Recorded) -> Key:
    if isinstance(of, Pair):
        prompt = of.prompt
        return Key(window.day, what.user_of(prompt), prompt.model, prompt.context, reason)
    return Key(window.day, str(of.row["user_id"]), of.model, of.kind or "message", reason)
