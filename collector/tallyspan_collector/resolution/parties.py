"""Reports of several keys: each key is charged as if it were alone; what they report twice is one.

A span, a trace and an answer's id can be known to others, so nothing in a report proves that its
sender made the call. Keys that the administrator trusts (`trusted_keys`) are one party: their
reports are merged and correct each other. Every other key is a party of its own. Of two parties'
reports of one call one charge stays, that of the party that comes first:

- a trusted party before others, whatever the others report;
- of two others the one whose key's name comes first, and only if both come to the same amount.
  Else both charges stay, and both are flagged.

The charge that stays gets nothing of the other report but who the call is for, where it is open.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import NamedTuple

from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.ledger.failures import costs_nothing
from tallyspan_collector.read.call import Call, Flag
from tallyspan_collector.resolution.identity import Owner, SpanKey
from tallyspan_collector.resolution.meeting import Meeting, meet_elsewhere
from tallyspan_collector.resolution.node import Node
from tallyspan_collector.resolution.same_call import groups, has_one_name

WHO = (("user_id",), ("department",), ("conversation_id",), ("agent_id", "agent_name"))
"""Fields of a call that say who it is for; those of one line are only taken together."""
_DECIDE_THE_COST = (
    "provider_name", "operation_name", "service_tier", "meters", "conditions", "part",
    "reported_cost_picousd", "is_notional", "is_cache_hit",
)  # fmt: skip
"""Beside the model, the counts and the time."""
_MAX_APART_NS = 600 * 10**9
"""How far the clocks of two machines may be off; some prices depend on the hour."""
_Spans = Mapping[str, Node]


class Party(NamedTuple):
    """Whose reports are merged: a key, or all trusted keys of a tenant; in order of their rank."""

    tenant: str
    is_other: bool
    source: str


@dataclass(slots=True)
class Charge:
    """What a party's reports of one call come to, and the span ids of the reports."""

    call: Call
    span_ids: frozenset[str]


_BySpan = Mapping[str, Charge]
Alone = tuple[_Spans, Sequence[Charge]]
"""Spans of a party that are resolved together, and what they are charged if nobody else speaks."""


def parties(nodes: Mapping[SpanKey, Node], trusted: Collection[str]) -> dict[Party, list[Node]]:
    """Return the spans of each party, the parties in the order of their rank."""
    by_party: dict[Party, list[Node]] = {}
    for (owner, *_), node in nodes.items():
        by_party.setdefault(party_of(owner, trusted), []).append(node)
    return dict(sorted(by_party.items()))


def party_of(owner: Owner, trusted: Collection[str]) -> Party:
    """Return whose party an owner is of."""
    if owner.source in trusted:
        return Party(owner.tenant, False, "")
    return Party(owner.tenant, True, owner.source)


def together(nodes: Iterable[Node]) -> Iterator[_Spans]:
    """Yield by span id the spans of traces that a party's own calls bring together.

    Another party may have brought more of them together: those stay apart here.
    """
    for traces in joint_traces(nodes):
        yield _by_span_id(*traces)


def joint_traces(nodes: Iterable[Node]) -> Iterator[list[list[Node]]]:
    """Yield the spans by trace, the traces that have a call in common together."""
    by_trace: dict[str, list[Node]] = {}
    for node in nodes:
        by_trace.setdefault(node.call.trace_id, []).append(node)
    if len(by_trace) == 1:
        yield [*by_trace.values()]
        return
    at: dict[int, list[tuple[str, Meeting]]] = {}
    for trace_id, own in by_trace.items():
        for meeting in meet_elsewhere(node.call for node in own if node.is_call):
            at.setdefault(meeting.place, []).append((trace_id, meeting))
    group_of = {trace_id: {trace_id} for trace_id in by_trace}
    for met in at.values():
        if met[0][1].is_guess and len({meeting.emitter for _, meeting in met}) == 1:
            continue
        joint = set[str]().union(*(group_of[trace_id] for trace_id, _ in met))
        group_of |= dict.fromkeys(joint, joint)
    for joint in {id(group): group for group in group_of.values()}.values():
        yield [by_trace[trace_id] for trace_id in joint]


def _by_span_id(*traces: Sequence[Node]) -> _Spans:
    """Return spans by span id; of two keys' reports of one span the one with more in it."""
    spans: dict[str, Node] = {}
    for trace in traces:
        for node in trace:
            older = spans.get(node.call.span_id)
            if older is None or node.weight > older.weight:
                spans[node.call.span_id] = node
    return spans


def settle(alone: Mapping[Party, Sequence[Alone]]) -> list[Call]:
    """Return the calls to be charged, of what each party is charged alone."""
    charges = [each for own in alone.values() for _, charged in own for each in charged]
    calls = {id(each): each.call for each in charges}
    gone: set[int] = set()
    for (first, ours), (second, theirs) in combinations(alone.items(), 2):  # by their ranks
        if first.tenant != second.tenant:
            continue
        for one, other in _pairs(ours, theirs):
            is_same = _comes_to_the_same(one.call, other.call)
            if is_same or not first.is_other:
                gone.add(id(other))
                calls[id(one)] = _identified(calls[id(one)], [other.call])
            if not is_same:
                for each in (one, other):
                    calls[id(each)] = _flagged(calls[id(each)])
    return [
        _identified(calls[id(each)], _around(each, party, alone))
        for party, own in alone.items()
        for _, charged in own
        for each in charged
        if id(each) not in gone
    ]


def _pairs(ours: Sequence[Alone], theirs: Sequence[Alone]) -> Iterator[tuple[Charge, Charge]]:
    """Yield the charges of two parties that are of one call."""
    met: set[int] = set()
    for (first, mine), (second, others) in product(ours, theirs):
        if not mine or not others:
            continue
        sides = first, second, _by_report(mine), _by_report(others)
        for one, other in (*_of_one_span(*sides), *_of_one_call(*sides)):
            if id(one) not in met and id(other) not in met:
                met |= {id(one), id(other)}
                yield one, other


def _by_report(charges: Iterable[Charge]) -> _BySpan:
    return {span_id: each for each in charges for span_id in each.span_ids}


def _of_one_span(
    first: _Spans, second: _Spans, mine: _BySpan, others: _BySpan
) -> Iterator[tuple[Charge, Charge]]:
    for span_id in sorted(mine.keys() & others.keys()):
        if first[span_id].call.trace_id == second[span_id].call.trace_id:
            yield mine[span_id], others[span_id]


def _of_one_call(
    first: _Spans, second: _Spans, mine: _BySpan, others: _BySpan
) -> Iterator[tuple[Charge, Charge]]:
    for group in groups({**second, **first}):
        ids = [node.call.span_id for node in group]
        ones = {id(mine[each]): mine[each] for each in ids if each in mine}
        several = {
            id(others[each]): others[each] for each in ids if each in others and each not in first
        }
        if len(ones) == len(several) == 1:
            yield next(iter(ones.values())), next(iter(several.values()))


def _comes_to_the_same(one: Call, other: Call) -> bool:
    """Whether the first costs what the second does, by all that a price depends on.

    The second may state nothing that costs anything, or more of the input as read from a cache.
    """
    if not (other.usage or other.meters or costs_nothing(other)) and one.usage:
        return other.reported_cost_picousd is None
    return (
        all(getattr(one, name) == getattr(other, name) for name in _DECIDE_THE_COST)
        and costs_nothing(one) == costs_nothing(other)
        and has_one_name(one.model_name, other.model_name)
        and abs(one.start_time_ns - other.start_time_ns) <= _MAX_APART_NS
        and _has_equal_counts(one.usage, other.usage)
    )


def _has_equal_counts(one: Usage, other: Usage) -> bool:
    for name in TOKEN_FIELDS:
        mine, theirs = getattr(one, name) or 0, getattr(other, name) or 0
        if name == "cache_read_tokens" and mine <= theirs:
            continue  # what is read from a cache costs less
        if mine != theirs and not (name == "reasoning_tokens" and not (mine and theirs)):
            return False
    return True


def _around(charge: Charge, party: Party, alone: Mapping[Party, Sequence[Alone]]) -> Iterator[Call]:
    """Yield the spans around a charged call, the nearest first, those of other parties too."""
    call = charge.call
    order = [party, *(each for each in alone if each != party and each.tenant == party.tenant)]
    spans = [joint for each in order for joint, _ in alone[each]]
    met = {call.span_id}
    parent_id = call.parent_span_id
    while parent_id not in met:
        met.add(parent_id)
        for joint in spans:
            if (node := joint.get(parent_id)) and node.call.trace_id == call.trace_id:
                yield node.call
                parent_id = node.call.parent_span_id
                break


def _identified(call: Call, others: Iterable[Call]) -> Call:
    """Return the call with who it is for, where it leaves that open and another has it."""
    for other in others:
        for names in WHO:
            if not any(getattr(call, name) for name in names):
                call = call._replace(**{name: getattr(other, name) for name in names})
    return call


def _flagged(call: Call) -> Call:
    flags = (*call.quality_flags, Flag.REPORTS_DISAGREE)
    return call._replace(quality_flags=tuple(dict.fromkeys(flags)))
