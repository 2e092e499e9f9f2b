"""Anthropic batches: who created them. What they used is in their results alone.

Source: Anthropic's API types.
"""

from tallyspan.answer import Answer, Json, text
from tallyspan.batch import Batch
from tallyspan.batch_format import of_state
from tallyspan.formats.anthropic_messages import ANTHROPIC
from tallyspan.wire_format import Path


def read(body: Json, answer: Answer) -> None:
    """Take the batch that was created."""
    if body.get("type") == "message_batch":
        answer.batch = Batch(text(body.get("id")))


FORMAT = of_state(
    "anthropic_batch",
    ANTHROPIC,
    (Path("/v1/messages/batches", "chat", is_batch=True),),
    read,
    no_estimate="what a batch used is in its results",
)
