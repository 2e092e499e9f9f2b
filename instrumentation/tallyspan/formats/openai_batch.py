"""OpenAI batches: who created them, their sum when they are over, and the results in their files.

The batch names the file that its results will be in, which is read at the path of any file. What a
batch used in all is in its state, of its one model; results have a usage and a model each, and a
service tier that is not the one that is billed. Requests that failed are in another file, without
usage. Groq, Mistral and Together have the same, mostly. Source: OpenAI's API types, and theirs.
"""

from tallyspan.answer import Answer, Json, count, mapping, text
from tallyspan.batch import Batch, Group, Item, Kind, amounts_of
from tallyspan.formats import openai_chat, openai_responses
from tallyspan.framing import EVERYTHING
from tallyspan.providers import OPENAI
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import Format, NoEstimate, Path, RequestKeys

_OVER = {"completed", "expired", "cancelled", "failed"}
_FILES = ("output_file_id", "output_file", "error_file_id", "error_file")
_EMBEDDINGS = "embeddings"


def read(body: Json, answer: Answer) -> None:
    """Take what a batch says of itself, or one line of its results."""
    if "custom_id" in body and "response" in body:
        read_result(body, answer)
        return
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
        operation = _EMBEDDINGS if _EMBEDDINGS in text(body.get("endpoint")) else "chat"
        item = Item("", 0, batch_id, amounts_of(counts, one.meters))
        batch.total = Group(Kind(operation, text(body.get("model"))), [item], answer.unread)
        batch.requests = count(mapping(body.get("request_counts")).get("completed")) or 0


def read_result(line: Json, answer: Answer) -> None:
    """Take a line of the file: the answer to one request, if it was answered."""
    body = mapping(mapping(line.get("response")).get("body"))
    name = text(line.get("custom_id"))
    one = Answer()
    spoken = openai_responses if body.get("object") == "response" else openai_chat
    spoken.FORMAT.open_reader()(body, one)
    is_vectors = body.get("object") == "list"
    created_s = count(body.get("created")) or count(body.get("created_at"))
    answer.add_result(name, one, _EMBEDDINGS if is_vectors else "chat", created_s)


REQUEST = RequestKeys(model="", stream="", user=(), call=frozenset())
FORMAT = Format(
    name="openai_batch",
    provider=OPENAI,
    paths=(
        Path("(?<!/messages)/batches", "chat", example="/v1/batches", is_batch=True),
        Path("/batch/jobs", "chat", is_batch=True),
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
    request=REQUEST,
    estimate=NoEstimate("a batch without usage is not over"),
    usage_option=None,
    opens_with_usage=False,
    interest=EVERYTHING,
    reader=lambda: read,
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
    read_headers=None,
    read_request=None,
)
