"""Gemini batches: who created them, and the results that stand in their state, or in a file.

A batch is an operation that is done one day. Its requests, and so its results, are in the operation
itself or in a file that it names. Results have the usage of any answer. Source: Gemini's API
reference (batch mode), and the types of google-genai 3.6.
"""

from tallyspan.answer import Answer, Json, items, mapping, text
from tallyspan.batch import Batch
from tallyspan.batch_format import of_state
from tallyspan.formats import gemini
from tallyspan.providers import GEMINI
from tallyspan.wire_format import Path

_RESULTS = ("inlinedResponses", "inlinedEmbedContentResponses")


def read(body: Json, answer: Answer) -> None:
    """Take what the operation says: its name, its file, or the results in it."""
    kind, _, batch_id = text(body.get("name")).rpartition("/")
    if kind != "batches" or not batch_id:
        return
    batch = answer.batch = Batch(batch_id)
    metadata = mapping(body.get("metadata"))
    model = text(metadata.get("model")).rpartition("/")[2]
    response = mapping(body.get("response")) or mapping(metadata.get("output"))
    file = text(response.get("responsesFile")).rpartition("/")[2]
    batch.files = (file,) if file else ()
    for key in _RESULTS:
        for number, each in enumerate(items(mapping(response.get(key)).get(key))):
            name = text(mapping(each.get("metadata")).get("key")) or f"#{number}"
            read_result(name, mapping(each.get("response")), model, answer)


def read_result(name: str, response: Json, model: str, answer: Answer) -> None:
    """Take the answer to one request; `model` is that of the batch, if it is known."""
    one = Answer()
    gemini.Reader().read(response, one)
    gemini.USAGE.name_unread(response, one)
    one.model = one.model or model
    is_vectors = "embedding" in response
    answer.add_result(name, one, "embeddings" if is_vectors else "generate_content")


FORMAT = of_state(
    "gemini_batch",
    GEMINI,
    (
        Path(
            r"/(?:models|tunedModels)/(?P<model>[^/:]+)"
            r":(?:batchGenerateContent|asyncBatchEmbedContent)",
            "generate_content",
            example="/v1beta/models/gemini-2.5-pro:batchGenerateContent",
            is_batch=True,
        ),
        Path(
            "(?<!/openai)/batches",
            "generate_content",
            "gcp.gemini",
            example="/v1beta/batches",
            is_retrieval=True,
            is_batch=True,
        ),
        Path(
            "(?<!/openai)/batches/(?P<id>[^/:]+)",
            "generate_content",
            "gcp.gemini",
            example="/v1beta/batches/b1",
            is_retrieval=True,
            is_batch=True,
        ),
    ),
    read,
    no_estimate="every result has its counts",
    lists="operations",
)
