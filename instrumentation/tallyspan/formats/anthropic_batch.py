"""Anthropic batches: who created them. What they used is in their results alone.

Source: Anthropic's API types.
"""

from tallyspan.answer import Answer, Json, text
from tallyspan.batch import Batch
from tallyspan.formats.anthropic_messages import ANTHROPIC
from tallyspan.framing import EVERYTHING
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import Format, NoEstimate, Path, RequestKeys


def read(body: Json, answer: Answer) -> None:
    """Take the batch that was created."""
    if body.get("type") == "message_batch":
        answer.batch = Batch(text(body.get("id")))


REQUEST = RequestKeys(model="", stream="", user=(), call=frozenset())
FORMAT = Format(
    name="anthropic_batch",
    provider=ANTHROPIC,
    paths=(Path("/v1/messages/batches", "chat", is_batch=True),),
    request=REQUEST,
    estimate=NoEstimate("what a batch used is in its results"),
    usage_option=None,
    opens_with_usage=False,
    interest=EVERYTHING,
    reader=lambda: read,
    usage=UsageKeys(at=(), read=()),
    read_headers=None,
    read_request=None,
)
