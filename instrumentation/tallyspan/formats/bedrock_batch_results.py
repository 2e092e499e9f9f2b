"""Results of Bedrock batches, as they are read from S3: an answer a line.

It is one of InvokeModel or of Converse. The folder that the file is in is the job. Source: AWS's
user guide (batch inference results).
"""

from tallyspan.answer import Answer, Json, mapping, text
from tallyspan.batch_format import of_results
from tallyspan.formats import bedrock_converse, bedrock_invoke
from tallyspan.providers import AWS_BEDROCK
from tallyspan.wire_format import Path


def read(body: Json, answer: Answer) -> None:
    """Take one record."""
    output = mapping(body.get("modelOutput"))
    if not output:
        return
    one = Answer()
    is_converse = "stopReason" in output and "output" in output
    spoken = bedrock_converse if is_converse else bedrock_invoke
    spoken.FORMAT.open_reader()(output, one)
    answer.add_result(text(body.get("recordId")), one, "chat")


FORMAT = of_results(
    "bedrock_batch_results",
    AWS_BEDROCK,
    Path(
        r"/(?P<id>[a-z0-9]{12})/[^/]+\.jsonl\.out",
        "chat",
        example="/bucket/out/abcdefgh1234/in.jsonl.out",
        is_retrieval=True,
        is_batch=True,
    ),
    read,
    b'"modelOutput"',
)
