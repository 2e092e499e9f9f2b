"""What is charged for a trace: a pure function of its spans, so their order cannot matter."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace

from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.dialects.registry import TRUST
from tallyspan_collector.read.call import Call, Flag
from tallyspan_collector.resolution.node import Node
from tallyspan_collector.resolution.same_call import ancestors, groups

_OURS = "tallyspan"
_IDENTITY = (("user_id",), ("department",), ("conversation_id",), ("agent_id", "agent_name"),
             ("tenant",), ("request_model", "response_model"))  # fmt: skip
_OF_THE_CALL = (
    "response_id", "response_model", "server_address", "endpoint_id", "service_tier",
    "finish_reason", "source",
)  # fmt: skip
_SOURCES = {"provider": 0, "deferred": 1, "estimated": 2}
_Agreed = dict[tuple[str, ...], tuple[str, ...]]
"""Fields of identity -> what every wrapper that says them says."""


def charges(nodes: Mapping[str, Node], *, is_quiet: bool) -> list[Call]:
    """Return the calls to be charged, each as its best report has it.

    `nodes` by span id; `is_quiet`: nothing is likely to follow, so a remote agent that states
    usage and below which no call was reported is charged itself.
    """
    if len(nodes) == 1:
        (only,) = nodes.values()
        if only.is_call:
            return [only.call]
    found: list[Call] = []
    if _has_calls(nodes):
        agreed = _agreed(nodes)
        found = [_merged(group, nodes, agreed) for group in groups(nodes)]
    if is_quiet:
        found += [
            replace(node.call, quality_flags=(*node.call.quality_flags, Flag.REMOTE_AGENT))
            for node in nodes.values()
            if node.may_be_charged and not _has_calls_below(node, nodes)
        ]
    return sorted(found, key=lambda call: (call.start_time_ns, call.span_id))


def may_wait(nodes: Mapping[str, Node], booked: Container[str]) -> bool:
    """Whether there is a remote agent, not booked yet, to be charged once the trace is quiet."""
    return any(
        node.may_be_charged and span_id not in booked and not _has_calls_below(node, nodes)
        for span_id, node in nodes.items()
    )


def _has_calls(nodes: Mapping[str, Node]) -> bool:
    return any(node.is_call for node in nodes.values())


def _has_calls_below(agent: Node, nodes: Mapping[str, Node]) -> bool:
    """Whether a call, or another agent that is charged itself, happened within the agent's span."""
    outer = agent.call
    for node in nodes.values():
        if node is agent:
            continue
        below = agent in ancestors(node, nodes)
        if node.may_be_charged and below:
            return True
        if node.is_call and (
            below or outer.start_time_ns <= node.call.start_time_ns <= outer.end_time_ns
        ):
            return True
    return False


def _merged(group: Sequence[Node], nodes: Mapping[str, Node], agreed: _Agreed) -> Call:
    """Return the group's best report, with what only the others say."""
    depth = {node.call.span_id: len(list(ancestors(node, nodes))) for node in group}
    ranked = sorted(group, key=lambda node: _rank(node, depth[node.call.span_id]))
    best = ranked[0]
    if len(group) == 1 and len(nodes) == 1:
        return best.call
    others = [node.call for node in ranked[1:]]
    # nobody's usage is mixed with another's: only what one leaves open is taken where they agree
    call = replace(best.call, usage=_completed(best.call.usage, [each.usage for each in others]))
    for name in _OF_THE_CALL:
        if not getattr(call, name):
            setattr(
                call, name, next((said for each in others if (said := getattr(each, name))), "")
            )
    if not call.provider_name:
        call.provider_name = next((each.provider_name for each in others if each.provider_name), "")
    for name in ("claimed_cost_picousd", "reported_cost_picousd", "time_to_first_chunk_us"):
        if getattr(call, name) is None:
            known = [value for each in others if (value := getattr(each, name)) is not None]
            setattr(call, name, known[0] if known else None)
    call.is_stream = call.is_stream or any(each.is_stream for each in others)
    call.is_cache_hit = call.is_cache_hit or any(each.is_cache_hit for each in others)
    for each in others:
        call.tags = {**each.tags, **call.tags}
        call.units = {**each.units, **call.units}
    _identify(call, best, others, nodes, agreed)
    if _disagree(group):
        call.quality_flags = tuple(dict.fromkeys((*call.quality_flags, Flag.REPORTS_DISAGREE)))
    return call


def _rank(node: Node, depth: int) -> tuple[object, ...]:
    call = node.call
    return (
        # a stream that was left early: who estimated its output knows more than who has its input
        call.usage.output_tokens is None,
        _SOURCES.get(call.usage_source, 3),
        -1 if call.scope_name == _OURS else TRUST.get(call.dialect, 9),
        -depth,
        call.span_id,
    )


def _completed(usage: Usage, others: Iterable[Usage]) -> Usage:
    lacking = [name for name in TOKEN_FIELDS if getattr(usage, name) is None]
    more: dict[str, int] = {}
    for other in others:
        if (other.input_tokens, other.output_tokens) == (usage.input_tokens, usage.output_tokens):
            for name in lacking:
                said = getattr(other, name)
                if said is not None:
                    more.setdefault(name, said)
    return replace(usage, **more) if more else usage


def _disagree(group: Sequence[Node]) -> bool:
    stated = {
        (node.call.usage.input_tokens, node.call.usage.output_tokens)
        for node in group
        if node.call.usage_source == "provider" and node.call.usage.output_tokens is not None
    }
    return len(stated) > 1


def _identify(
    call: Call, best: Node, others: Sequence[Call], nodes: Mapping[str, Node], agreed: _Agreed
) -> None:
    """Take who the call is for from the nearest span that says it: its reports, what is around."""
    line = list(ancestors(best, nodes))
    around = [node.call for node in line]
    reports = [each for each in others if each not in around]
    for other in reports:
        around += [node.call for node in ancestors(nodes[other.span_id], nodes)]
    for names in _IDENTITY:
        if any(getattr(call, name) for name in names):
            continue
        for each in (*reports, *around):
            if any(getattr(each, name) for name in names):
                for name in names:
                    setattr(call, name, getattr(each, name))
                break
        else:
            for name, value in zip(names, agreed.get(names, ()), strict=False):
                setattr(call, name, value)


def _agreed(nodes: Mapping[str, Node]) -> _Agreed:
    """Return what all wrappers of the trace agree on: a span between may be unknown to us."""
    found: _Agreed = {}
    for names in _IDENTITY:
        said = {
            tuple(getattr(node.call, name) for name in names)
            for node in nodes.values()
            if not node.is_call and any(getattr(node.call, name) for name in names)
        }
        if len(said) == 1:
            found[names] = said.pop()
    return found
