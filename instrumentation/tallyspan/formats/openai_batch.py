"""OpenAI batches: who created them, their sum when they are over, and the results in their files.

The batch names the file that its results will be in, which is read at the path of any file. What a
batch used in all is in its state, of its one model; results have a usage and a model each, and a
service tier that is not the one that is billed. Requests that failed are in another file, without
usage. Groq, Mistral and Together have the same, mostly. Source: OpenAI's API types, and theirs.
"""

from tallyspan.answer import Answer, Json, count, mapping, text
from tallyspan.batch import Batch, Group, Item, Kind, amounts_of
from tallyspan.batch_format import of_state
from tallyspan.formats import openai_chat, openai_responses
from tallyspan.providers import OPENAI
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import Path

_OVER = {"completed", "expired", "cancelled", "failed"}
_FILES = ("output_file_id", "output_file", "error_file_id", "error_file")


def read(body: Json, answer: Answer) -> None:
    """Take what a batch says of itself."""
    body = mapping(body.get("job")) or body  # Together wraps what it has created
    batch_id = text(body.get("id"))
    if not batch_id or not (body.get("object") == "batch" or "input_file_id" in body):
        return
    batch = answer.batch = Batch(batch_id)
    batch.files = tuple(filter(None, (text(body.get(key)) for key in _FILES)))
    is_over = text(body.get("status")).lower() in _OVER
    usage = mapping(body.get("usage"))
    counts = openai_responses.read_usage(usage) or openai_chat.read_usage(usage)
    if is_over and counts is not None and (counts.input_tokens or counts.output_tokens):
        one = Answer()
        openai_responses.read_meters(usage, one)
        operation = "embeddings" if "embeddings" in text(body.get("endpoint")) else "chat"
        item = Item("", 0, batch_id, amounts_of(counts, one.meters))
        batch.total = Group(Kind(operation, text(body.get("model"))), [item], answer.unread)
        batch.requests = count(mapping(body.get("request_counts")).get("completed")) or 0


FORMAT = of_state(
    "openai_batch",
    OPENAI,
    (
        Path("(?<!/messages)/batches", "chat", example="/v1/batches", is_batch=True),
        Path("/batch/jobs", "chat", is_batch=True),
        Path(
            "(?<!/messages)/batches",
            "chat",
            example="/v1/batches",
            is_retrieval=True,
            is_batch=True,
        ),
        Path("/batch/jobs", "chat", is_retrieval=True, is_batch=True),
        Path(
            "/batch/jobs/(?P<id>[^/]+)",
            "chat",
            example="/v1/batch/jobs/b1",
            is_retrieval=True,
            is_batch=True,
        ),
        Path(
            "(?<!/messages)/batches/(?P<id>[^/]+)",
            "chat",
            example="/v1/batches/batch_1",
            is_retrieval=True,
            is_batch=True,
        ),
    ),
    read,
    no_estimate="a batch without usage is not over",
    lists="data",
    usage=UsageKeys(
        at=("usage",),
        read=(
            "input_tokens",
            "output_tokens",
            "input_tokens_details.cached_tokens",
            "input_tokens_details.cache_write_tokens",
            "input_tokens_details.cache_write_tokens_details.ttl_12h_tokens",
            "output_tokens_details.reasoning_tokens",
        ),
        harmless={
            "total_tokens": "input and output",
            "input_tokens_details.cache_write_tokens_details.ttl_30m_tokens": (
                "the usual lifetime: the rest of cache_write_tokens"
            ),
        },
    ),
)
