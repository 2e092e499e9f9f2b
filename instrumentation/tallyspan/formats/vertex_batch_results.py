"""Results of Vertex batches, as they are read from Cloud Storage: an answer a line.

Gemini's lines have no name: the answer's id is it, or the line itself, of which only a hash is
kept. Claude's have the name of the request. Source: Vertex AI's documentation (batch predictions).
"""

import json

from tallyspan.answer import Answer, Json, mapping, text
from tallyspan.batch_format import of_results
from tallyspan.formats import anthropic_batch_results, gemini_batch
from tallyspan.providers import VERTEX_AI
from tallyspan.wire_format import Path


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


FORMAT = of_results(
    "vertex_batch_results",
    VERTEX_AI,
    Path(
        r"/b/(?P<file>[^/]+/o/.+)/predictions[^/]*\.jsonl",
        "generate_content",
        example="/storage/v1/b/bucket/o/out/prediction-1/predictions.jsonl",
        is_retrieval=True,
        is_batch=True,
    ),
    read,
    b'"usageMetadata"',
    b'"usage"',
)
