"""Whose agent LibreChat's calls are of: each says it itself, and a title's is that of its turn.

A title names its message, `title-` and the message of the turn, and neither agent nor endpoint. The
dialect puts it into the trace of that turn (`dialects/librechat.py`). The two may come in any
order, over batches and restarts: what is charged for a trace is worked out anew whenever a span of
it comes, so a title that was booked without its agent is taken back and booked with it.
"""

from collections.abc import Sequence

from tallyspan_collector.read.call import Call
from tallyspan_collector.resolution.parties import Charge

_TITLE = "title"
_OF_TITLE = "title-"


def name_titles(charges: Sequence[Charge]) -> None:
    """Give titles the agent and endpoint of their turns, where the turns are among the charges.

    Of a turn of several calls the first one counts: it is of the agent that was asked.
    """
    titles = [each for each in charges if _is_title(each.call)]
    if not titles:
        return
    turns: dict[str, Call] = {}
    for call in sorted((each.call for each in charges), key=lambda call: call.start_time_ns):
        if not _is_title(call) and (message := call.tags.get("message_id")):
            turns.setdefault(message, call)
    for title in titles:
        turn = turns.get(title.call.tags.get("message_id", "").removeprefix(_OF_TITLE))
        if turn is not None:
            title.call = title.call._replace(
                agent_id=turn.agent_id,
                agent_name=turn.agent_name,
                endpoint_id=turn.endpoint_id or title.call.endpoint_id,
            )


def states_its_agent(call: Call) -> bool:
    """Whether a call without an agent has none.

    A turn that is generated anew by another agent, or by none, has the trace of the first time. So
    what is around it may be another's.
    """
    return call.dialect == "langfuse" and "message_id" in call.tags


def _is_title(call: Call) -> bool:
    return call.tags.get("call_kind") == _TITLE
