"""A call that is reported in several traces: where its reports meet.

Instrumentations that lie beside each other have a trace each where nothing is around them, in a
script, say. The answer's id is what they have in common. It has to look like one that no other
answer has: servers that imitate an API may give every answer the same.

A coding agent's log record is in no trace, or in another one than the span of the same call; the
counts are what they have in common. To meet is not to be one call: that `same_call.py` decides.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from tallyspan_collector.dialects.coding_agents import IN_LOGS_AND_SPANS
from tallyspan_collector.read.call import Call
from tallyspan_collector.resolution.same_call import TOLERANCE_NS

ID_CHARACTERS = 20
"""The ids of providers are longer."""
ID_VARIETY = 6
"""So many different characters are in the last 16 of an id that was drawn by lot."""
_NEAR_NS = 600 * 10**9
NODES_LIMIT = 64
"""A trace of more spans takes no other in by an answer's id: one that so many have is none."""


class Meeting(NamedTuple):
    """A place by its number, who told of the call there, and whether the place may be anybody's."""

    place: int
    emitter: int
    is_guess: bool


def may_meet(call: Call | None) -> bool:
    """Whether a trace with this call in it needs a closer look; most do not."""
    return call is not None and (not call.parent_span_id or call.dialect in IN_LOGS_AND_SPANS)


def meet_elsewhere(calls: Iterable[Call]) -> Iterator[Meeting]:
    """Yield where each call of a trace is met by what other traces may tell of it.

    Coding agents' logs and spans: all of them. Others of a trace that begins with a call: what has
    something around it has one trace anyway.
    """
    of_trace = list(calls)
    is_root = not all(call.parent_span_id for call in of_trace)
    for call in of_trace:
        if agent := IN_LOGS_AND_SPANS.get(call.dialect):
            for place in _counted(agent, call):
                yield Meeting(number_of(place), _emitter_of(call), is_guess=False)
        elif is_root and _is_drawn_by_lot(call.response_id):
            yield Meeting(number_of(call.response_id), _emitter_of(call), is_guess=True)


def _is_drawn_by_lot(said: str) -> bool:
    return len(said) >= ID_CHARACTERS and len(set(said[-16:])) >= ID_VARIETY


def _counted(agent: str, call: Call) -> Iterator[str]:
    usage = call.usage
    said = f"{agent} {usage.input_tokens} {usage.output_tokens} {usage.cache_read_tokens or 0}"
    if agent == "claude_code":
        yield f"{said} {call.conversation_id or call.user_id}"
        return
    # Codex's spans do not say of which conversation they are, and counts agree by chance some day
    first, last = (
        (call.end_time_ns + apart) // _NEAR_NS for apart in (-2 * TOLERANCE_NS, 2 * TOLERANCE_NS)
    )
    yield from (f"{said} {near}" for near in range(first, last + 1))


def number_of(said: str) -> int:
    """Return 63 bits made of a text, the same in every process."""
    return int.from_bytes(blake2b(said.encode(), digest_size=8).digest()) >> 1


def _emitter_of(call: Call) -> int:
    return _emitter(call.scope_name, call.service_name)


@lru_cache(maxsize=10_000)
def _emitter(scope: str, service: str) -> int:
    return number_of(f"{scope}\n{service}")
