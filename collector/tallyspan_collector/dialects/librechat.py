"""What only LibreChat says, in the Langfuse spans of its agents package (3.0 to 3.9).

Source: LibreChat packages/data-provider/src/parsers.ts (ephemeral agent ids); measured spans.
"""

from dataclasses import replace

from tallyspan_collector.call import Call
from tallyspan_collector.dialects import values
from tallyspan_collector.dialects.table import Attributes

_OM = "langfuse.observation.metadata."
_TM = "langfuse.trace.metadata."
_MARKS = (f"{_OM}thread_id", f"{_OM}agentId", f"{_TM}agentId", f"{_TM}messageId",
          f"{_OM}langgraph_node")  # fmt: skip
_AGENT = "agent_"
_NODE = "agent="


def is_librechat(said: Attributes) -> bool:
    """Whether the span is LibreChat's: its tag, or the metadata its agents package adds."""
    tags = said.get("langfuse.trace.tags")
    if isinstance(tags, list) and "librechat" in tags:
        return True
    return any(mark in said for mark in _MARKS)


def refine(call: Call, said: Attributes) -> None:
    """Take agent, endpoint, message and the kind of call from where LibreChat has them."""
    agent = call.agent_id
    if not agent:
        node = values.text(said.get(f"{_OM}langgraph_node"))
        agent = node.removeprefix(_NODE) if node.startswith(_NODE) else ""
    call.agent_id, endpoint = decode_agent(agent)
    call.endpoint_id = call.endpoint_id or endpoint
    message = values.text(said.get(f"{_TM}messageId") or said.get(f"{_OM}run_id"))
    if message:
        call.tags = {**call.tags, "message_id": message}
    kind = _kind(said)
    if kind:
        call.tags = {**call.tags, "call_kind": kind}


def decode_agent(agent: str) -> tuple[str, str]:
    """Return agent id and endpoint of LibreChat's agent id.

    One not starting with `agent_` is made up for the turn: `endpoint__model[___sender][____n]`,
    with `__` for a colon: an endpoint, and no agent. `default` is the memory agent.
    """
    if agent.startswith(_AGENT):
        return agent.partition("____")[0], ""
    if not agent or agent == "default":
        return "", ""
    endpoint, separator, _ = agent.partition("__")
    return ("", endpoint) if separator else (agent, "")


def _kind(said: Attributes) -> str:
    tags = said.get("langfuse.trace.tags")
    if isinstance(tags, list):
        for tag in tags:
            if tag in {"title", "activity-label", "reasoning-label", "activity-phase"}:
                return str(tag)
    name = values.text(said.get("langfuse.trace.name"))
    if name.startswith(("LibreChat Title", "TitleRun")):
        return "title"
    return "memory" if name == "MemoryRun" else ""


def set_usage(call: Call, **counts: int) -> None:
    """Replace counts of the call's usage."""
    call.usage = replace(call.usage, **counts)
