"""Results of Gemini batches in a file: an answer a line, with the name of its request.

Source: Gemini's API reference (batch mode).
"""

from tallyspan.answer import Answer, Json, mapping, text
from tallyspan.formats import gemini_batch
from tallyspan.framing import Interest
from tallyspan.framing.batch_lines import BatchLines
from tallyspan.providers import GEMINI
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import Format, NoEstimate, Path


def read(body: Json, answer: Answer) -> None:
    """Take one line."""
    response = mapping(body.get("response"))
    if "key" in body and response:
        gemini_batch.read_result(text(body.get("key")), response, "", answer)


FORMAT = Format(
    name="gemini_batch_results",
    provider=GEMINI,
    paths=(
        Path(
            "/files/(?P<file>[^/:]+):download",
            "generate_content",
            example="/v1beta/files/batch-b1:download",
            is_retrieval=True,
            is_batch=True,
        ),
    ),
    request=gemini_batch.REQUEST,
    estimate=NoEstimate("every result has its counts"),
    usage_option=None,
    opens_with_usage=False,
    interest=Interest((b'"usageMetadata"',)),
    reader=lambda: read,
    # The reader looks at the answer inside a line itself.
    usage=UsageKeys(at=(), read=()),
    read_headers=None,
    read_request=None,
    framing=BatchLines,
)
