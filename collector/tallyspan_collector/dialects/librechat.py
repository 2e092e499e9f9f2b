"""What only LibreChat has in its spans: the Langfuse spans of its agents package (3.0 to 3.9).

Source: LibreChat packages/data-provider/src/parsers.ts (ephemeral agent ids); measured spans.
"""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256

from tallyspan.usage import Usage
from tallyspan_collector.dialects import values
from tallyspan_collector.dialects.table import Attributes
from tallyspan_collector.read.call import Draft, Flag

_OM = "langfuse.observation.metadata."
_TM = "langfuse.trace.metadata."
_MARKS = (f"{_OM}thread_id", f"{_OM}agentId", f"{_TM}agentId", f"{_TM}messageId",
          f"{_OM}langgraph_node")  # fmt: skip
_AGENT = "agent_"
_NODE = "agent="
_SEPARATOR = "__"
_MEMORY = "default"
_OF_TITLE = "title-"
_TRACE_ID_CHARACTERS = 32


def is_librechat(attributes: Attributes) -> bool:
    """Whether the span is LibreChat's: its tag, or the metadata its agents package adds."""
    tags = attributes.get("langfuse.trace.tags")
    if isinstance(tags, list) and "librechat" in tags:
        return True
    return any(mark in attributes for mark in _MARKS)


def refine(draft: Draft, attributes: Attributes) -> None:
    """Take agent, endpoint, message and the kind of call from where LibreChat has them."""
    kind = _kind(attributes)
    message = values.text(attributes.get(f"{_TM}messageId") or attributes.get(f"{_OM}run_id"))
    _name_agent(draft, attributes, kind)
    for name, value in (("message_id", message), ("call_kind", kind)):
        if value:
            draft["tags"] = {**draft["tags"], name: value}
    if kind == "title" and draft["trace_id"] == _trace_of(message):
        # Titles have a trace of their own. The turn has the agent (`resolution/librechat.py`), and
        # traces are resolved one by one: so the title goes into that of its turn.
        draft["trace_id"] = _trace_of(message.removeprefix(_OF_TITLE))
    if draft["provider_name"] == "anthropic" and draft["is_stream"] and _is_before_3_2(attributes):
        _undouble(draft, values.parse(attributes.get("langfuse.observation.usage_details")))


def _name_agent(draft: Draft, attributes: Attributes, kind: str) -> None:
    """Set agent and endpoint: what an id made up for the turn names is surest.

    What LibreChat was told to say of the conversation follows. The endpoint of the call's metadata
    is the last, for of an agent at a custom endpoint it is wrong.
    """
    agent = draft["agent_id"]
    if not agent:
        node = values.text(attributes.get(f"{_OM}langgraph_node"))
        agent = node.removeprefix(_NODE) if node.startswith(_NODE) else ""
    # a title has no agent's id, but of an agent made up for the turn that id as the name
    name = draft["agent_name"] if kind == "title" else ""
    draft["agent_id"], endpoint = decode_agent(agent or (name if _SEPARATOR in name else ""))
    if endpoint or agent == _MEMORY:
        draft["agent_name"] = ""
    of_call = values.text(attributes.get(f"{_OM}endpoint"))
    draft["endpoint_id"] = endpoint or draft["endpoint_id"] or of_call


def _trace_of(message: str) -> str:
    """Return the trace id of a message's spans, as agents 3.2 and later make it."""
    return sha256(message.encode()).hexdigest()[:_TRACE_ID_CHARACTERS]


def _is_before_3_2(attributes: Attributes) -> bool:
    """Whether the span is of agents 3.0 or 3.1 (LibreChat 0.8.1 to 0.8.5): it has no agentId."""
    node = values.text(attributes.get(f"{_OM}langgraph_node"))
    return node.startswith(_NODE) and f"{_OM}agentId" not in attributes


def _undouble(draft: Draft, buckets: object) -> None:
    """Halve the input of Anthropic's streams: these versions count it twice.

    Anthropic reports it when a stream begins and again when it ends, and both were added. The
    total is proof where there is a cache, because the cache was subtracted from the doubled input
    only once: then the parts are more than the total. Without a cache every sum is even, and that
    is all there is to go by. Measured with 3.0.50 and 3.1.63; 3.2.57 reports it once.
    """
    total = values.tokens(buckets.get("total")) if isinstance(buckets, Mapping) else None
    usage: Usage = draft["usage"]
    if total is None or usage.input_tokens is None or usage.output_tokens is None:
        return
    read, written = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0
    rest = total - usage.output_tokens
    is_plain = not read + written and rest == usage.input_tokens
    is_proven = read + written > 0 and total < usage.input_tokens + usage.output_tokens
    if rest < 0 or rest % 2 or read % 2 or written % 2 or not (is_plain or is_proven):
        return
    draft["usage"] = replace(
        usage,
        input_tokens=(rest + read + written) // 2,
        cache_read_tokens=read // 2,
        cache_write_tokens=written // 2,
    )
    others = (each for each in draft["quality_flags"] if each != Flag.TOTAL_MISMATCH)
    draft["quality_flags"] = (*others, Flag.TOTAL_REPAIRED)


def decode_agent(agent: str) -> tuple[str, str]:
    """Return agent id and endpoint of LibreChat's agent id.

    One not starting with `agent_` is invented for the turn: `endpoint__model[___sender][____n]`,
    with `__` for a colon: an endpoint, and no agent. `default` is the memory agent.
    """
    if agent.startswith(_AGENT):
        return agent.partition("____")[0], ""
    if not agent or agent == _MEMORY:
        return "", ""
    endpoint, separator, _ = agent.partition(_SEPARATOR)
    return ("", endpoint) if separator else (agent, "")


def _kind(attributes: Attributes) -> str:
    tags = attributes.get("langfuse.trace.tags")
    if isinstance(tags, list):
        for tag in tags:
            if tag in {"title", "activity-label", "reasoning-label", "activity-phase"}:
                return str(tag)
    name = values.text(attributes.get("langfuse.trace.name"))
    if name.startswith(("LibreChat Title", "TitleRun")):
        return "title"
    return "memory" if name == "MemoryRun" else ""
