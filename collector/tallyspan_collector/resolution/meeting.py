"""A call that is reported in several traces: where its reports meet.

Instrumentations that lie beside each other have a trace each where nothing is around them, in a
script, say. The answer's id is what they have in common. It has to look like one that no other
answer has: servers that imitate an API may give every answer the same.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b

from tallyspan_collector.call import Call

ID_CHARACTERS = 20
"""The ids of providers are longer."""
ID_VARIETY = 6
"""So many different characters are in the last 16 of an id that was drawn by lot."""
NODES_LIMIT = 64
"""A trace of more spans takes no other in: an id that so many have is none."""


def meet_elsewhere(calls: Iterable[Call]) -> Iterator[tuple[int, int]]:
    """Yield place and emitter of each call of a trace that other traces may tell of as well.

    Those of a trace that begins with a call: what has something around it has one trace anyway.
    """
    of_trace = list(calls)
    if all(call.parent_span_id for call in of_trace):
        return
    for call in of_trace:
        said = call.response_id
        if len(said) >= ID_CHARACTERS and len(set(said[-16:])) >= ID_VARIETY:
            yield number_of(said), _emitter(call.scope_name, call.service_name)


def number_of(said: str) -> int:
    """Return 63 bits made of a text, the same in every process."""
    return int.from_bytes(blake2b(said.encode(), digest_size=8).digest()) >> 1


@lru_cache(maxsize=10_000)
def _emitter(scope: str, service: str) -> int:
    return number_of(f"{scope}\n{service}")
