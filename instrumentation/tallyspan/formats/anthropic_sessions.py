"""Anthropic managed agents: what a session used, once it is over; tokens and active seconds.

A session's usage is the sum so far. It is booked once, from the answer that shows that the session
has ended; one that is idle may go on. Source: Anthropic's API types.
"""

from tallyspan.answer import Answer, Json, mapping, text
from tallyspan.formats import anthropic_messages, openai_chat
from tallyspan.formats.anthropic_messages import ANTHROPIC
from tallyspan.framing import EVERYTHING
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import Format, NoEstimate, Path, RequestKeys


def read(body: Json, answer: Answer) -> None:
    """Take what a session used, once nothing is to come any more."""
    if body.get("type") != "session" or body.get("status") != "terminated":
        return
    usage = mapping(body.get("usage"))
    counts = anthropic_messages.read_usage(usage)
    if counts is None:
        return
    answer.identify(body)
    model = mapping(mapping(body.get("agent")).get("model"))
    answer.model = text(model.get("id"))
    answer.service_tier = anthropic_messages.tier(model)
    answer.under("geo", model.get("inference_geo"))
    answer.finished("terminated")
    answer.usage = counts
    answer.is_background = True  # its usage comes with a later answer, so it is booked once
    answer.billed("session_seconds", usage.get("active_seconds"))
    answer.reported_cost_usd = _dollars(mapping(usage.get("list_cost")))
    openai_chat.read_tools(usage, answer)


def _dollars(cost: Json) -> str:
    """Return an amount of cents in dollars; empty: there is none, or it is of another currency."""
    cents = text(cost.get("amount"))
    if cost.get("currency") != "USD" or not (cents.isascii() and cents.isdigit()):
        return ""
    return f"{cents[:-2] or 0}.{cents[-2:].zfill(2)}"


FORMAT = Format(
    name="anthropic_sessions",
    provider=ANTHROPIC,
    paths=(
        Path(
            "/v1/sessions/[^/]+", "chat", "anthropic", example="/v1/sessions/s1", is_retrieval=True
        ),
    ),
    request=RequestKeys(model="", stream="", user=(), call=frozenset()),
    estimate=NoEstimate("a session without usage is not over"),
    usage_option=None,
    opens_with_usage=False,
    interest=EVERYTHING,
    reader=lambda: read,
    usage=UsageKeys(
        at=("usage",),
        read=(
            "input_tokens",
            "output_tokens",
            "cache_read_input_tokens",
            "cache_creation.ephemeral_1h_input_tokens",
            "cache_creation.ephemeral_5m_input_tokens",
            "active_seconds",
            "list_cost.amount",
            "list_cost.currency",
            "server_tool_use.web_search_requests",
        ),
        harmless={"server_tool_use.web_fetch_requests": "free: only its tokens are billed"},
    ),
    read_headers=None,
    read_request=None,
)
