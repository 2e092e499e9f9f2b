"""Results of Vertex batches, as they are read from Cloud Storage: an answer a line.

Gemini's lines have no name: the answer's id is it, or the line itself, of which only a hash is
kept. Claude's have the name of the request. Source: Vertex AI's documentation (batch predictions).
"""

import json

from tallyspan.answer import Answer, Json, mapping, text
from tallyspan.formats import anthropic_batch_results, gemini_batch, vertex_batch
from tallyspan.framing import Interest
from tallyspan.framing.batch_lines import BatchLines
from tallyspan.providers import VERTEX_AI
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import Format, NoEstimate, Path


def read(body: Json, answer: Answer) -> None:
    """Take one line."""
    response = mapping(body.get("response"))
    if response.get("type") == "message":
        name = body.get("custom_id")
        result = {"custom_id": name, "result": {"message": response}}
        anthropic_batch_results.read(result, answer)
    elif "usageMetadata" in response:
        name = text(response.get("responseId")) or json.dumps(body, sort_keys=True)
        gemini_batch.read_result(name, response, "", answer)


FORMAT = Format(
    name="vertex_batch_results",
    provider=VERTEX_AI,
    paths=(
        Path(
            r"/b/(?P<file>[^/]+/o/.+)/predictions[^/]*\.jsonl",
            "generate_content",
            example="/storage/v1/b/bucket/o/out/prediction-1/predictions.jsonl",
            is_retrieval=True,
            is_batch=True,
        ),
    ),
    request=vertex_batch.REQUEST,
    estimate=NoEstimate("every result has its counts"),
    usage_option=None,
    opens_with_usage=False,
    interest=Interest((b'"usageMetadata"', b'"usage"')),
    reader=lambda: read,
    # The formats of the answers in the lines look at them themselves.
    usage=UsageKeys(at=(), read=()),
    read_headers=None,
    read_request=None,
    framing=BatchLines,
)
