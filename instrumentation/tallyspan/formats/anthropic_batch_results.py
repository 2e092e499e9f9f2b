"""Results of Anthropic batches: a message a line, which has its own usage and model.

A message that was refused before anything was generated is free; results that were cancelled,
expired or failed have no message. Source: Anthropic's API types.
"""

from tallyspan.answer import Answer, Json, mapping, text
from tallyspan.formats import anthropic_batch, anthropic_messages
from tallyspan.formats.anthropic_messages import ANTHROPIC
from tallyspan.framing import Interest
from tallyspan.framing.batch_lines import BatchLines
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import Format, NoEstimate, Path


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


FORMAT = Format(
    name="anthropic_batch_results",
    provider=ANTHROPIC,
    paths=(
        Path(
            "/v1/messages/batches/(?P<id>[^/]+)/results",
            "chat",
            example="/v1/messages/batches/msgbatch_1/results",
            is_retrieval=True,
            is_batch=True,
        ),
    ),
    request=anthropic_batch.REQUEST,
    estimate=NoEstimate("every result has its counts"),
    usage_option=None,
    opens_with_usage=False,
    interest=Interest((b'"usage"',)),
    reader=lambda: read,
    # The reader looks at the message inside a result itself.
    usage=UsageKeys(at=(), read=()),
    read_headers=None,
    read_request=None,
    framing=BatchLines,
)
