"""Mistral Conversations: the usual usage; what connectors put into the prompt stands beside."""

from dataclasses import replace

from tallyspan.answer import Answer, Json, count, mapping, text, total
from tallyspan.framing import Interest
from tallyspan.providers import openai_chat

INTEREST = Interest((b'"usage"', b'"conversation.response.error"'))


def read(body: Json, answer: Answer) -> None:
    """Take what a conversation's answer, or the event that ends its stream, says."""
    answer.model = answer.model or text(body.get("model"))
    if body.get("outputs") is not None or body.get("type") == "conversation.response.done":
        answer.finished("stop")
    usage = dict(mapping(body.get("usage")))
    connectors = count(usage.get("connector_tokens"))
    stated_total = count(usage.get("total_tokens"))
    found = openai_chat.read_usage({k: v for k, v in usage.items() if k != "total_tokens"})
    if found is not None:
        parts = total(found.input_tokens, found.output_tokens, connectors)
        if connectors and parts == stated_total:
            found = replace(found, input_tokens=total(found.input_tokens, connectors))
        answer.usage = found
