"""Results of Gemini batches in a file: an answer a line, with the name of its request.

Source: Gemini's API reference (batch mode).
"""

from tallyspan.answer import Answer, Json, mapping, text
from tallyspan.batch_format import of_results
from tallyspan.formats import gemini_batch
from tallyspan.providers import GEMINI
from tallyspan.wire_format import Path


def read(body: Json, answer: Answer) -> None:
    """Take one line."""
    response = mapping(body.get("response"))
    if "key" in body and response:
        gemini_batch.read_result(text(body.get("key")), response, "", answer)


FORMAT = of_results(
    "gemini_batch_results",
    GEMINI,
    Path(
        "/files/(?P<file>[^/:]+):download",
        "generate_content",
        example="/v1beta/files/batch-b1:download",
        is_retrieval=True,
        is_batch=True,
    ),
    read,
    b'"usageMetadata"',
)
