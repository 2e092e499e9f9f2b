"""Sums of Bedrock batches, as the manifest beside the results has them.

It is read from S3, and names no job: the folder that it is in is the job. Source: AWS's user guide
(batch inference results).
"""

from tallyspan.answer import Answer, Json, count
from tallyspan.batch import Batch, Group, Item, Kind, amounts_of
from tallyspan.batch_format import of_state
from tallyspan.framing.whole import Whole
from tallyspan.providers import AWS_BEDROCK
from tallyspan.usage import Usage
from tallyspan.usage_keys import leave_unread
from tallyspan.wire_format import Path

_TOKENS = ("inputTokenCount", "outputTokenCount")
_RECORDS = ("totalRecordCount", "processedRecordCount", "successRecordCount", "errorRecordCount")


def read(body: Json, answer: Answer) -> None:
    """Take the sum of the job, whose id the path has."""
    input_tokens, output_tokens = (count(body.get(key)) for key in _TOKENS)
    if not (input_tokens or output_tokens):
        return
    for key, value in body.items():
        if key.endswith("Count") and value and key not in {*_TOKENS, *_RECORDS}:
            leave_unread(answer, key)
    batch = answer.batch = Batch()
    item = Item("", 0, "", amounts_of(Usage(input_tokens, output_tokens), {}))
    batch.total = Group(Kind("chat", ""), [item], answer.unread)
    batch.requests = count(body.get("successRecordCount")) or 0


FORMAT = of_state(
    "bedrock_batch_manifest",
    AWS_BEDROCK,
    (
        Path(
            r"/(?P<id>[a-z0-9]{12})/manifest\.json\.out",
            "chat",
            example="/bucket/out/abcdefgh1234/manifest.json.out",
            is_retrieval=True,
            is_batch=True,
        ),
    ),
    read,
    no_estimate="a manifest without counts says nothing",
    framing=Whole,  # S3 has no content type for it
)
