"""What is charged for a trace: a pure function of its spans, so their order does not matter."""

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import replace

from tallyspan.recognise import provider_at
from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.dialects.registry import TRUST
from tallyspan_collector.read.call import MAX_UNREAD, Call, Draft, Flag, call_of
from tallyspan_collector.resolution.identity import SpanKey, span_key
from tallyspan_collector.resolution.librechat import name_titles, states_its_agent
from tallyspan_collector.resolution.node import Node
from tallyspan_collector.resolution.parties import Charge, parties, settle, together
from tallyspan_collector.resolution.same_call import ancestors, groups

_OURS = "tallyspan"
_AGENT = ("agent_id", "agent_name")
IDENTITY = (("user_id",), ("department",), ("conversation_id",), _AGENT,
             ("tenant",), ("request_model", "response_model"))  # fmt: skip
_OF_THE_CALL = (
    "provider_name", "response_id", "response_model", "server_address", "endpoint_id",
    "service_tier", "finish_reason", "source",
)  # fmt: skip
_AMOUNTS = ("claimed_cost_picousd", "reported_cost_picousd", "time_to_first_chunk_us")
_SOURCES = {"provider": 0, "deferred": 1, "estimated": 2}
_Agreed = dict[tuple[str, ...], tuple[str, ...]]
"""Fields of identity -> their values, where all wrappers that have some agree."""


def charges(
    nodes: Mapping[SpanKey, Node], *, is_quiet: bool, trusted: Collection[str] = ()
) -> list[Call]:
    """Return the calls to be charged, each as its best report has it.

    `is_quiet`: nothing is likely to follow, so a remote agent that reports usage, and has no
    reported call below it, is charged itself. `trusted` are the names of the keys whose reports are
    merged; other keys are apart (`parties.py`), as are tenants.
    """
    if len(nodes) == 1:
        (only,) = nodes.values()
        if only.is_call:
            return [only.call]
    alone = {
        party: [(joint, _charges_of(joint, is_quiet=is_quiet)) for joint in together(of_party)]
        for party, of_party in parties(nodes, trusted).items()
    }
    if len(alone) == 1:
        calls = [each.call for own in alone.values() for _, charged in own for each in charged]
    else:
        calls = settle(alone)
    return sorted(calls, key=lambda call: (call.start_time_ns, call.span_id))


def _charges_of(nodes: Mapping[str, Node], *, is_quiet: bool) -> list[Charge]:
    """Return what is charged for a party's spans, by span id."""
    result: list[Charge] = []
    if _has_calls(nodes):
        agreed = _agreed(nodes)
        result = [
            Charge(_merged(group, nodes, agreed), frozenset(node.call.span_id for node in group))
            for group in groups(nodes)
        ]
        name_titles(result)
    if is_quiet:
        for node in nodes.values():
            if node.may_be_charged and not _has_calls_below(node, nodes):
                flags = (*node.call.quality_flags, Flag.REMOTE_AGENT)
                call = node.call._replace(quality_flags=flags)
                result.append(Charge(call, frozenset([call.span_id])))
    return result


def may_wait(
    nodes: Mapping[SpanKey, Node], booked: Container[SpanKey], trusted: Collection[str] = ()
) -> bool:
    """Whether there is a remote agent, not booked yet, to be charged once the trace is quiet."""
    if not any(node.may_be_charged for node in nodes.values()):
        return False
    return any(
        node.may_be_charged
        and span_key(node.call) not in booked
        and not _has_calls_below(node, joint)
        for of_party in parties(nodes, trusted).values()
        for joint in together(of_party)
        for node in joint.values()
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
    """Return the group's best report, with what only the others have."""
    depth = {node.call.span_id: len(list(ancestors(node, nodes))) for node in group}
    ranked = sorted(group, key=lambda node: _rank(node, depth[node.call.span_id]))
    best = ranked[0]
    if len(group) == 1 and len(nodes) == 1:
        return best.call
    others = [node.call for node in ranked[1:]]
    draft: Draft = best.call._asdict()
    # nobody's usage is mixed with another's: only what one leaves open is taken where they agree
    draft["usage"] = _completed(best.call.usage, [each.usage for each in others])
    for name in _OF_THE_CALL:
        draft[name] = draft[name] or next(
            filter(None, (getattr(each, name) for each in others)), ""
        )
    if draft["endpoint_id"] == draft["server_address"]:  # the host, as it states no endpoint
        names = (each.endpoint_id for each in others if each.endpoint_id != each.server_address)
        draft["endpoint_id"] = next(filter(None, names), draft["endpoint_id"])
    for name in _AMOUNTS:
        if draft[name] is None:
            amounts = (getattr(each, name) for each in others)
            draft[name] = next((amount for amount in amounts if amount is not None), None)
    for name in ("is_stream", "is_cache_hit"):
        draft[name] = draft[name] or any(getattr(each, name) for each in others)
    for name in ("tags", "meters", "conditions"):
        for each in others:
            draft[name] = {**getattr(each, name), **draft[name]}
    _identify(draft, best, others, nodes, agreed)
    flags = [*best.call.quality_flags]
    if (gateway := _gateway_of(best, ranked[1:], nodes)) is not None:
        draft["provider_name"] = gateway.provider_name
        draft["response_model"] = gateway.model_name
        flags = [each for each in flags if each != Flag.PROVIDER_INFERRED]
        flags += [each for each in gateway.quality_flags if each == Flag.PROVIDER_INFERRED]
    unread = {path for each in (best.call, *others) for path in each.unread}
    if unread:
        draft["unread"] = tuple(sorted(unread)[:MAX_UNREAD])
        flags.append(Flag.UNREAD_USAGE)
    if _disagree(group):
        flags.append(Flag.REPORTS_DISAGREE)
    draft["quality_flags"] = tuple(dict.fromkeys(flags))
    return call_of(draft)


def _gateway_of(best: Node, others: Sequence[Node], nodes: Mapping[str, Node]) -> Call | None:
    """Return the report of the gateway that answered, if it names another model or provider.

    At a host that is no provider's own, what is asked for may be the gateway's name of a model, or
    of a group of them. Who stands behind is known to the gateway: another service, not around the
    one that asked. Of several the last to be asked is the one next to the provider.
    """
    call = best.call
    if not call.server_address or provider_at(call.server_address) is not None:
        return None
    around = list(ancestors(best, nodes))
    inside = [
        node.call
        for node in others
        if node.call.service_name != call.service_name
        and node not in around
        and node.call.provider_name
        and node.call.model_name
    ]
    if not inside:
        return None
    gateway = max(inside, key=lambda other: (other.start_time_ns, other.span_id))
    is_known = (gateway.provider_name, gateway.model_name) == (call.provider_name, call.model_name)
    return None if is_known else gateway


def _rank(node: Node, depth: int) -> tuple[object, ...]:
    call = node.call
    return (
        # a stream that was left early: an estimated output is worth more than none
        call.usage.output_tokens is None,
        _SOURCES.get(call.usage_source, 3),
        Flag.TOTAL_MISMATCH in call.quality_flags,
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
                count = getattr(other, name)
                if count is not None:
                    more.setdefault(name, count)
    return replace(usage, **more) if more else usage


def _disagree(group: Sequence[Node]) -> bool:
    counts = {
        (node.call.usage.input_tokens, node.call.usage.output_tokens)
        for node in group
        if node.call.usage_source == "provider" and node.call.usage.output_tokens is not None
    }
    return len(counts) > 1


def _identify(
    draft: Draft, best: Node, others: Sequence[Call], nodes: Mapping[str, Node], agreed: _Agreed
) -> None:
    """Take who the call is for from the nearest span that has it: its reports, what is around."""
    line = list(ancestors(best, nodes))
    around = [node.call for node in line]
    reports = [each for each in others if each not in around]
    for other in reports:
        around += [node.call for node in ancestors(nodes[other.span_id], nodes)]
    is_agent_known = any(states_its_agent(each) for each in (best.call, *reports))
    for names in IDENTITY:
        if any(draft[name] for name in names):
            continue
        is_known = names == _AGENT and is_agent_known
        for each in reports if is_known else (*reports, *around):
            if any(getattr(each, name) for name in names):
                for name in names:
                    draft[name] = getattr(each, name)
                break
        else:
            if not is_known:
                draft.update(zip(names, agreed.get(names, ()), strict=False))


def _agreed(nodes: Mapping[str, Node]) -> _Agreed:
    """Return what all wrappers of the trace agree on: a span in between may not have arrived."""
    agreed: _Agreed = {}
    for names in IDENTITY:
        values = {
            tuple(getattr(node.call, name) for name in names)
            for node in nodes.values()
            if not node.is_call and any(getattr(node.call, name) for name in names)
        }
        if len(values) == 1:
            agreed[names] = values.pop()
    return agreed
