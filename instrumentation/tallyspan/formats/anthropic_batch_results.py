"""Results of Anthropic batches: a message a line, which has its own usage and model.

A message that was refused before anything was generated is free; results that were cancelled,
expired or failed have no message. Source: Anthropic's API types.
"""

from tallyspan.answer import Answer, Json, mapping, text
from tallyspan.batch_format import of_results
from tallyspan.formats import anthropic_messages
from tallyspan.formats.anthropic_messages import ANTHROPIC
from tallyspan.wire_format import Path


def read(body: Json, answer: Answer) -> None:
    """Take one result."""
    message = mapping(mapping(body.get("result")).get("message"))
    if not message:
        return
    one = Answer()
    anthropic_messages.Reader().read(message, one)
    anthropic_messages.USAGE.name_unread(message, one)
    if one.conditions.pop("refusal", "") == "before_output":
        one.usage, one.meters = None, {}
    answer.add_result(text(body.get("custom_id")), one, "chat")


FORMAT = of_results(
    "anthropic_batch_results",
    ANTHROPIC,
    Path(
        "/v1/messages/batches/(?P<id>[^/]+)/results",
        "chat",
        example="/v1/messages/batches/msgbatch_1/results",
        is_retrieval=True,
        is_batch=True,
    ),
    read,
    b'"usage"',
)
