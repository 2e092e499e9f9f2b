"""Results of Bedrock batches, as they are read from S3: an answer a line.

It is one of InvokeModel or of Converse. The folder that the file is in is the job. Source: AWS's
user guide (batch inference results).
"""

from tallyspan.answer import Answer, Json, mapping, text
from tallyspan.formats import bedrock_batch, bedrock_converse, bedrock_invoke
from tallyspan.framing import Interest
from tallyspan.framing.batch_lines import BatchLines
from tallyspan.providers import AWS_BEDROCK
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import Format, NoEstimate, Path


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


FORMAT = Format(
    name="bedrock_batch_results",
    provider=AWS_BEDROCK,
    paths=(
        Path(
            r"/(?P<id>[a-z0-9]{12})/[^/]+\.jsonl\.out",
            "chat",
            example="/bucket/out/abcdefgh1234/in.jsonl.out",
            is_retrieval=True,
            is_batch=True,
        ),
    ),
    request=bedrock_batch.REQUEST,
    estimate=NoEstimate("every result has its counts"),
    usage_option=None,
    opens_with_usage=False,
    interest=Interest((b'"modelOutput"',)),
    reader=lambda: read,
    # The formats of the answers in the lines look at them themselves.
    usage=UsageKeys(at=(), read=()),
    read_headers=None,
    read_request=None,
    framing=BatchLines,
)
