"""Which spans of a trace report the same call.

In this order of certainty: the provider's answer id; a call inside a call; two spans beside each
other that agree in everything. Two spans of one emitter are never one call, unless one is inside
the other or names it as its very call: so calls that look alike are each paired with one report.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import combinations, islice
from typing import NamedTuple

from tallyspan.usage import Usage
from tallyspan_collector.dialects.coding_agents import IN_LOGS_AND_SPANS
from tallyspan_collector.read.call import ABORTED, Call
from tallyspan_collector.resolution.node import Node

TOLERANCE_NS = 250_000_000
"""How far two clocks, or a span that ends with the headers, may be off."""

MAX_PLACEHOLDER_TOKENS = 8
"""Output tokens in a stream's first event, at most; OpenLLMetry counts them twice."""
_DATED = re.compile(r"[-@](?:20\d{6}|20\d\d-\d\d-\d\d|latest|\d{4})$")
_LITELLM = "litellm"
_GROUPS = {"embeddings": "embeddings", "rerank": "rerank", "moderation": "moderation"}


def groups(nodes: Mapping[str, Node]) -> list[list[Node]]:
    """Return the calls among the nodes (by span id), those that are one call together."""
    return _grouped(nodes, [])


def joins(nodes: Mapping[str, Node]) -> list["Join"]:
    """Return which two reports joined their groups into one call, and why, the most certain first.

    For `tallyspan explain`; n reports of a call are n - 1 joins.
    """
    pairs: list[tuple[str, str]] = []
    _grouped(nodes, pairs)
    return [
        Join(one, other, _reason(nodes[one].call, nodes[other].call, nodes)) for one, other in pairs
    ]


class Join(NamedTuple):
    """Two reports, by span id, and in an operator's words why they are one call."""

    one: str
    other: str
    reason: str


def _grouped(nodes: Mapping[str, Node], joined: list[tuple[str, str]]) -> list[list[Node]]:
    """Return the groups; the pairs that were joined are added to `joined`."""
    calls = sorted(
        (node for node in nodes.values() if node.is_call),
        key=lambda node: (node.call.start_time_ns, node.call.span_id),  # `_pairs` needs it
    )
    if len(calls) == 1:
        return [calls]
    lines = {node.call.span_id: list(ancestors(node, nodes)) for node in calls}
    group_of = {node.call.span_id: [node] for node in calls}
    for _, _, one, other in sorted(_candidates(calls, lines)):
        mine, theirs = group_of[one], group_of[other]
        if mine is theirs or not _may_join(mine, theirs, lines):
            continue
        joined.append((one, other))
        mine.extend(theirs)
        for node in theirs:
            group_of[node.call.span_id] = mine
    return list({id(group): group for group in group_of.values()}.values())


def _reason(one: Call, other: Call, nodes: Mapping[str, Node]) -> str:
    """Return, in words, the rule of `_certainty` by which they are one call."""
    if _names_it(one, other):
        return "one names the other as its very call"
    if one.response_id and one.response_id == other.response_id:
        return f"the same answer id {one.response_id}"
    for inner, outer in ((one, other), (other, one)):
        if nodes[outer.span_id] in ancestors(nodes[inner.span_id], nodes):
            if _one_model(one, other):
                shared = "the same model"
            else:
                shared = "the same token counts" if one.usage else "both failed"
            return f"{inner.span_id} is inside {outer.span_id}, {shared}"
    if _equal_tokens(one, other) or _overcounted(one, other):
        return "alike: at the same time, the same model and token counts"
    if aborted_by(one) and aborted_by(one) == aborted_by(other):
        return "aborted by the same user at the same time, the same model, and one states no usage"
    return "alike: at the same time under one parent, the same model, and one states no usage"


def ancestors(node: Node, nodes: Mapping[str, Node]) -> Iterator[Node]:
    """Yield the spans around a span, the nearest first, as far as they are among `nodes`."""
    met = {node.call.span_id}
    parent = nodes.get(node.call.parent_span_id)
    while parent is not None and parent.call.span_id not in met:
        met.add(parent.call.span_id)
        yield parent
        parent = nodes.get(parent.call.parent_span_id)


_Candidate = tuple[int, int, str, str]
_Pair = tuple[Node, Node]


def _candidates(calls: Sequence[Node], lines: Mapping[str, Sequence[Node]]) -> Iterator[_Candidate]:
    """Yield pairs that may be one call: certainty (0 most), how far apart (ns), their span ids."""
    met: set[tuple[str, str]] = set()
    own = [node for node in calls if not node.call.part]  # the others are of an answer's inside
    for first, second in _pairs(own, lines):
        one, other = first.call, second.call
        named = min((one.span_id, other.span_id), (other.span_id, one.span_id))
        if named in met:
            continue
        met.add(named)
        certainty = _certainty(first, second, lines)
        if certainty is not None:
            apart = abs(one.start_time_ns - other.start_time_ns) + abs(
                one.end_time_ns - other.end_time_ns
            )
            yield certainty, apart, *named


def _pairs(calls: Sequence[Node], lines: Mapping[str, Sequence[Node]]) -> Iterator[_Pair]:
    """Yield every pair that may be one call by `_certainty`, without comparing all with all.

    A trace may have thousands of calls: those that name each other, are inside each other, or are
    of two emitters and have an answer id in common, or overlap and have the input, the user who
    aborted them or (one of them silent) a parent in common. `calls` in the order they started.
    """
    by_name = {f"{node.call.trace_id}-{node.call.span_id}": node for node in calls}
    for node in calls:
        named = by_name.get(node.call.same_call_id)
        if named is not None and named is not node:
            yield node, named
        for outer in lines[node.call.span_id]:
            if outer.is_call and not outer.call.part:
                yield node, outer
    if len({node.emitter for node in calls}) == 1:
        return
    for alike in _alike(calls, lambda call: call.response_id):
        yield from combinations(alike, 2)
    for alike in _alike(calls, lambda call: _counts(call.usage)[:1]):
        yield from _overlapping(alike)
    for alike in _alike(calls, aborted_by):
        yield from _overlapping(alike)
    for alike in _alike(calls, lambda call: (call.parent_span_id,)):
        for one, other in _overlapping(alike):
            if not one.call.usage or not other.call.usage:
                yield one, other


def _alike(calls: Sequence[Node], by: Callable[[Call], object]) -> Iterator[list[Node]]:
    """Yield the calls for which `by` has the same value, where there are several."""
    by_value: dict[object, list[Node]] = {}
    for node in calls:
        if shared := by(node.call):
            by_value.setdefault(shared, []).append(node)
    return (alike for alike in by_value.values() if len(alike) > 1)


def _overlapping(calls: Sequence[Node]) -> Iterator[_Pair]:
    """Yield the pairs of two emitters' calls that overlap; a span within another does."""
    for number, first in enumerate(calls):
        until = first.call.end_time_ns + TOLERANCE_NS
        for second in islice(calls, number + 1, None):
            if second.call.start_time_ns > until:
                break
            if first.emitter != second.emitter:
                yield first, second


def _counts(usage: Usage) -> tuple[int | None, ...]:
    if usage.input_tokens is None:
        return ()
    return usage.input_tokens, usage.output_tokens or 0


def _certainty(first: Node, second: Node, lines: Mapping[str, Sequence[Node]]) -> int | None:
    one, other = first.call, second.call
    if _names_it(one, other):
        return 0
    if _GROUPS.get(one.operation_name) != _GROUPS.get(other.operation_name):
        return None
    nested = first in lines[other.span_id] or second in lines[one.span_id]
    if one.response_id and one.response_id == other.response_id:
        if one.trace_id != other.trace_id and not _overlap(one, other):
            return None  # a gateway that answers from its cache repeats the id
        return 0 if nested or first.emitter != second.emitter else None
    if one.response_id and other.response_id and not _rewritten(first, second):
        return None
    outer, inner = (other, one) if second in lines[one.span_id] else (one, other)
    if nested:
        if not _starts_within(inner, outer):
            return None
        if _one_model(one, other) or _equal_tokens(one, other) or _failed_alike(one, other):
            return 1
        return None
    if first.emitter == second.emitter:
        return None
    if not (_within(one, other) or _within(other, one)):
        return None
    if _of_one_agent(one, other):  # a log may have the requested model, a span the served one
        return 2 if _equal_tokens(one, other) else None
    if not (_one_model(one, other) or _failed_alike(one, other)):
        return None
    if _equal_tokens(one, other) or _overcounted(one, other):
        return 2
    is_silent = not one.usage or not other.usage
    has_one_parent = (one.trace_id, one.parent_span_id) == (other.trace_id, other.parent_span_id)
    is_one_abort = bool(aborted_by(one)) and aborted_by(one) == aborted_by(other)
    return 3 if is_silent and (has_one_parent or is_one_abort) else None


def aborted_by(call: Call) -> tuple[str, str] | None:
    """Return user and model of a call that its application gave up; None: it is none, or nobody's.

    Reports of such a call have no answer's id in common, and often no trace; one of them may have
    no usage. But all end when the user aborts.
    """
    if call.error_type != ABORTED or not call.user_id:
        return None
    return call.user_id, _plain(call.request_model or call.response_model)


def _names_it(one: Call, other: Call) -> bool:
    """Whether one of them names the other's span as its very call."""
    return one.same_call_id == f"{other.trace_id}-{other.span_id}" or (
        other.same_call_id == f"{one.trace_id}-{one.span_id}"
    )


def _rewritten(first: Node, second: Node) -> bool:
    """Whether a gateway, or LiteLLM in the process, may have given the answer an id of its own."""
    is_elsewhere = first.call.service_name != second.call.service_name
    is_litellm = first.call.dialect != second.call.dialect and _LITELLM in {
        first.call.dialect,
        second.call.dialect,
    }
    return (is_elsewhere or is_litellm) and _equal_tokens(first.call, second.call)


def _may_join(
    mine: Sequence[Node], theirs: Sequence[Node], lines: Mapping[str, Sequence[Node]]
) -> bool:
    return all(
        one.emitter != other.emitter
        or one in lines[other.call.span_id]
        or other in lines[one.call.span_id]
        or _names_it(one.call, other.call)
        for one in mine
        for other in theirs
    )


def _equal_tokens(one: Call, other: Call) -> bool:
    # an embedding has no output: some emitters report 0, some nothing
    mine = _counts(one.usage)
    return bool(mine) and mine == _counts(other.usage)


def _overcounted(one: Call, other: Call) -> bool:
    """Whether only the output differs, by what OpenLLMetry adds to Anthropic's streams."""
    mine, theirs = _counts(one.usage), _counts(other.usage)
    if not mine or not theirs or mine[0] != theirs[0]:
        return False
    apart = (mine[1] or 0) - (theirs[1] or 0)
    by = one if apart > 0 else other
    return (by.dialect, by.provider_name) == ("openllmetry", "anthropic") and (
        abs(apart) <= MAX_PLACEHOLDER_TOKENS
    )


def _failed_alike(one: Call, other: Call) -> bool:
    """Whether both failed and one has no model; OpenInference's failed spans never have one."""
    return one.is_error and other.is_error and not (one.model_name and other.model_name)


def _starts_within(inner: Call, outer: Call) -> bool:
    if inner.service_name != outer.service_name:
        return True  # two machines, two clocks
    start = inner.start_time_ns
    return outer.start_time_ns - TOLERANCE_NS <= start <= outer.end_time_ns + TOLERANCE_NS


def _within(inner: Call, outer: Call) -> bool:
    return (
        outer.start_time_ns - TOLERANCE_NS <= inner.start_time_ns
        and inner.end_time_ns <= outer.end_time_ns + TOLERANCE_NS
    )


def _of_one_agent(one: Call, other: Call) -> bool:
    """Whether one is a coding agent's log record and the other a span of the same agent."""
    agent = IN_LOGS_AND_SPANS.get(one.dialect)
    if agent is None or one.dialect == other.dialect:
        return False
    is_one_conversation = len({one.conversation_id, other.conversation_id} - {""}) <= 1
    return agent == IN_LOGS_AND_SPANS.get(other.dialect) and is_one_conversation


def _overlap(one: Call, other: Call) -> bool:
    return (
        one.start_time_ns <= other.end_time_ns + TOLERANCE_NS
        and other.start_time_ns <= one.end_time_ns + TOLERANCE_NS
    )


def has_one_name(one: str, other: str) -> bool:
    """Whether two names are of one model, with or without provider and date."""
    return _plain(one) == _plain(other)


def _one_model(one: Call, other: Call) -> bool:
    mine = {_plain(one.request_model), _plain(one.response_model)} - {""}
    theirs = {_plain(other.request_model), _plain(other.response_model)} - {""}
    return bool(mine & theirs)


@lru_cache(maxsize=10_000)
def _plain(model: str) -> str:
    """Return the model's name without the provider before it and the date behind it."""
    return _DATED.sub("", model.lower().rpartition("/")[2])
