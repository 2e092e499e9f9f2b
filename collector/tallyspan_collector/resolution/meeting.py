"""A call that is reported in several traces: where its reports meet.

Instrumentations that lie beside each other have a trace each where nothing is around them, in a
script, say. They share the answer's id. It has to look like one that no other answer has: servers
that imitate an API may use one id for all answers.

A coding agent's log record is in no trace, or in another one than the span of the same call; they
share the counts. What a user aborted has no answer's id in most reports: they share user, model and
the moment. Each tenant has places of its own. To meet is not to be one call: `same_call.py`
decides that.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from tallyspan_collector.dialects.coding_agents import IN_LOGS_AND_SPANS
from tallyspan_collector.read.call import ABORTED, Call
from tallyspan_collector.resolution.identity import Owner, number_of, owner_of
from tallyspan_collector.resolution.same_call import TOLERANCE_NS, aborted_by

ID_CHARACTERS = 20
"""The ids of providers are at least as long."""
ID_VARIETY = 6
"""Different characters that the last 16 of a random id have at least."""
_NEAR_NS = 600 * 10**9
_NEAR_ABORT_NS = 10 * 10**9
MAX_NODES = 64
"""A trace of more spans of one key takes in no other of that key by an answer's id.

An id of so many answers is no id.
"""
MAX_AGENT_NODES = 1_024
"""The same for coding agents' calls, by their counts: each costs as much as all before it."""


class Meeting(NamedTuple):
    """A place by its number, the emitter and owner of the call, whether others may use it too.

    `older`: the number that earlier versions have for the place.
    """

    place: int
    emitter: int
    is_guess: bool
    owner: Owner
    older: int


def may_meet(call: Call | None) -> bool:
    """Whether a trace with this call in it needs a closer look; most do not."""
    if call is None:
        return False
    is_apart = call.dialect in IN_LOGS_AND_SPANS or call.error_type == ABORTED
    return is_apart or not call.parent_span_id


def meet_elsewhere(calls: Iterable[Call]) -> Iterator[Meeting]:
    """Yield the places where each call of a trace may meet reports of other traces.

    All calls of coding agents' logs and spans, and all aborted ones of users. Of others only those
    of a trace that begins with a call: reports with a span around them are in one trace anyway.
    """
    of_trace = list(calls)
    is_root = not all(call.parent_span_id for call in of_trace)
    for call in of_trace:
        if agent := IN_LOGS_AND_SPANS.get(call.dialect):
            for place in _counted(agent, call):
                yield _meeting(place, call, is_guess=False)
        elif by := aborted_by(call):
            for near in _around(call.end_time_ns, _NEAR_ABORT_NS):
                yield _meeting(f"aborted {by} {near}", call, is_guess=False)
        elif is_root and is_random(call.response_id):
            yield _meeting(call.response_id, call, is_guess=True)


def _meeting(place: str, call: Call, *, is_guess: bool) -> Meeting:
    owner = owner_of(call)
    emitter = emitter_of(call.scope_name, call.service_name, owner.source)
    older = number_of(place)
    number = number_of(place, owner.tenant) if owner.tenant else older
    return Meeting(number, emitter, is_guess, owner, older)


def is_random(answer_id: str) -> bool:
    """Return whether an answer's id looks like one that no other answer has."""
    return len(answer_id) >= ID_CHARACTERS and len(set(answer_id[-16:])) >= ID_VARIETY


def _counted(agent: str, call: Call) -> Iterator[str]:
    usage = call.usage
    counts = f"{agent} {usage.input_tokens} {usage.output_tokens} {usage.cache_read_tokens or 0}"
    if agent == "claude_code":
        yield f"{counts} {call.conversation_id or call.user_id}"
        return
    # Codex's spans have no conversation, and counts may agree by chance: only calls near in time
    yield from (f"{counts} {near}" for near in _around(call.end_time_ns, _NEAR_NS))


def _around(moment_ns: int, near_ns: int) -> range:
    """Return the numbers of the spaces of time that a moment is in, or may be by another clock."""
    first, last = (
        (moment_ns + apart) // near_ns for apart in (-2 * TOLERANCE_NS, 2 * TOLERANCE_NS)
    )
    return range(first, last + 1)


@lru_cache(maxsize=10_000)
def emitter_of(scope: str, service: str, source: str) -> int:
    """Return the number of who made a span: its scope and service, and the key it came with."""
    return number_of(f"{scope}\n{service}", source)
