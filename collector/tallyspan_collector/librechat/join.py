"""Recorded calls of LibreChat's turns, and which call of its ledger each of them is."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import one_number
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.moments import microseconds, sql_moment
from tallyspan_clickhouse.schema import OF_NO_CALL
from tallyspan_collector.booked import ledger
from tallyspan_collector.librechat.pairs import Pair
from tallyspan_collector.librechat.settings import LedgerImport
from tallyspan_collector.librechat.transactions import IMAGES, TITLE

APART = timedelta(days=1)
"""Clocks of LibreChat and the senders of spans, and a turn's first call and its documents, are
less apart than that."""
AT_THAT_TIME = timedelta(minutes=30)
_OF_TITLE = f"{TITLE}-"
_COLUMNS = {
    "tags", "source", "request_model", "status", "error_type", "usage_source", "cost_status",
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cost_usd",
}  # fmt: skip
Match = tuple[Pair | None, "Recorded | None"]


class Recorded(NamedTuple):
    """A call of our ledger that names a turn of LibreChat."""

    row: ledger.Row

    @property
    def group(self) -> tuple[str, str]:
        """Return turn and kind, as `Pair.group`."""
        return self.row["tags"].get("message_id", "").removeprefix(_OF_TITLE), self.kind

    @property
    def kind(self) -> str:
        """Return its `call_kind`."""
        return str(self.row["tags"].get("call_kind", ""))

    @property
    def tokens(self) -> tuple[int | None, int | None]:
        """Return its input and output."""
        return self.row["input_tokens"], self.row["output_tokens"]

    @property
    def model(self) -> str:
        """Return the model that was asked for."""
        return str(self.row["request_model"] or self.row["model_name"])


def message_tag(pair: Pair) -> str:
    """Return the tag `message_id` of a call of our ledger: that of a title is its turn's."""
    return f"{_OF_TITLE if pair.kind == TITLE else ''}{pair.prompt.message}"


def recorded(client: Client, pairs: Sequence[Pair]) -> list[Recorded]:
    """Return the calls that are in the ledger of the turns of these calls, of any source."""
    messages = {pair.prompt.message for pair in pairs if pair.prompt.message}
    if not messages:
        return []
    names = sorted({f"{start}{each}" for each in messages for start in ("", _OF_TITLE)})
    condition = "l.tags['message_id'] IN {messages:Array(String)}"
    return [
        Recorded(row)
        for row in read(client, _around(pairs), condition, {"messages": names}, only=_COLUMNS)
        if row["left"] > 0
    ]


def of_turns(client: Client, bounds: tuple[datetime, datetime], label: str) -> list[Recorded]:
    """Return all calls between two moments that name a turn, or are of the source `label`."""
    condition = "(mapContains(l.tags, 'message_id') OR l.source = {label:String})"
    return [
        Recorded(row)
        for row in read(client, bounds, condition, {"label": label}, only=_COLUMNS)
        if row["left"] > 0
    ]


def alike(client: Client, what: LedgerImport, pairs: Sequence[Pair]) -> dict[str, Recorded]:
    """Return recorded calls that name no turn and are these calls, by the `_id` of their prompts.

    A span that knows the user and not the message (of an Assistants run, seen by the preload) is
    the call with the same user, input and output at that time; each is of one call only.
    """
    if not pairs:
        return {}
    users = {pair.prompt.id: what.user_of(pair.prompt) for pair in pairs}
    times = [pair.at for pair in pairs]
    rows = read(
        client,
        (min(times) - AT_THAT_TIME, max(times) + AT_THAT_TIME),
        "NOT mapContains(l.tags, 'message_id') AND l.user_id IN {users:Array(String)}",
        {"users": sorted({*users.values()})},
        only=_COLUMNS,
    )
    calls = [Recorded(row) for row in rows if row["left"] > 0 and what.counts(str(row["source"]))]
    result: dict[str, Recorded] = {}
    for pair in pairs:
        for call in calls:
            is_near = abs(call.row["start_time"] - pair.at) <= AT_THAT_TIME
            is_theirs = call.row["user_id"] == users[pair.prompt.id]
            if is_near and is_theirs and _same_tokens(pair, call):
                result[pair.prompt.id] = call
                calls.remove(call)
                break
    return result


def _same_tokens(pair: Pair, call: Recorded) -> bool:
    """Whether both have the same tokens; of pictures LibreChat leaves out what is thought."""
    of_input, of_output = call.tokens
    if of_input != pair.prompt.tokens or of_output is None:
        return False
    if pair.kind == IMAGES:
        return call.model == pair.prompt.model and of_output >= pair.answer.tokens
    return of_output == pair.answer.tokens


def conversations(client: Client, what: LedgerImport, pairs: Sequence[Pair]) -> set[str]:
    """Return those of the calls' conversations of which the ledger has any call around then.

    Calls of other sources than the import's spans have do not count.
    """
    names = sorted({pair.prompt.conversation for pair in pairs})
    if not names:
        return set()
    condition = "l.conversation_id IN {names:Array(String)}"
    rows = read(client, _around(pairs), condition, {"names": names}, only={"source"})
    return {
        str(row["conversation_id"])
        for row in rows
        if row["left"] > 0 and what.counts(str(row["source"]))
    }


def read(
    client: Client,
    bounds: tuple[datetime, datetime],
    condition: str,
    parameters: dict[str, Any],
    *,
    only: Collection[str] | None = None,
) -> list[ledger.Row]:
    """Return calls as `ledger.calls` does, `left` is how often each is charged.

    Raises StoreError for an answer that lacks entries: a full disk may answer with nothing.
    """
    where = (
        f"l.start_time >= {sql_moment('start')} AND l.start_time <= {sql_moment('stop')}"
        f" AND l.entry_kind NOT IN {OF_NO_CALL} AND {condition}"
    )
    start, stop = bounds
    parameters = parameters | {"start": microseconds(start), "stop": microseconds(stop)}
    count = one_number(client, f"SELECT count() FROM llm_calls AS l WHERE {where}", parameters)  # noqa: S608
    left = {"left": "sum(l.sign)"}
    rows = [*ledger.calls(client, where, "count() > 0", parameters, left, only)]
    if sum(row[ledger.COUNT] for row in rows) < count:
        raise StoreError("the ledger answered with fewer calls than it has", retryable=True)
    return rows


def matched(pairs: Sequence[Pair], calls: Iterable[Recorded]) -> list[Match]:
    """Return the calls of one turn and kind on both sides: each recorded call takes one of theirs.

    First those of the same tokens, then of the same answer and model, then of the same model, then
    any: a call whose usage nobody sent is recorded all the same. So together there are as many as
    the side has that has more, and what is left without a recorded call is what no span has.
    """
    left, others = list(pairs), sorted(calls, key=lambda call: call.row["start_time"])
    result: list[Match] = []
    for is_same in _SAME:
        unmatched = []
        for call in others:
            pair = next((each for each in left if is_same(each, call)), None)
            if pair is None:
                unmatched.append(call)
            else:
                left.remove(pair)
                result.append((pair, call))
        others = unmatched
    return [*result, *((pair, None) for pair in left), *((None, call) for call in others)]


_SAME: tuple[Callable[[Pair, Recorded], bool], ...] = (
    lambda pair, call: call.tokens == (pair.prompt.tokens, pair.answer.tokens),
    lambda pair, call: call.tokens[1] == pair.answer.tokens and call.model == pair.prompt.model,
    lambda pair, call: call.model == pair.prompt.model,
    lambda _pair, _call: True,
)


def by_group(calls: Iterable[Recorded]) -> dict[tuple[str, str], list[Recorded]]:
    """Return the calls by turn and kind."""
    groups: dict[tuple[str, str], list[Recorded]] = defaultdict(list)
    for call in calls:
        groups[call.group].append(call)
    return groups


def _around(pairs: Sequence[Pair]) -> tuple[datetime, datetime]:
    times = [pair.at for pair in pairs]
    return min(times) - APART, max(times) + APART
