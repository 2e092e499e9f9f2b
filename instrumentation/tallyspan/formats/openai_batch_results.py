"""Results of batches in OpenAI's form: a file of lines, an answer to one request a line.

Files of any kind are read at this path: what is no list of results is not looked at. Groq, Mistral
and Together have such files too.
"""

from tallyspan.answer import Answer, Json, count, mapping, text
from tallyspan.batch_format import of_results
from tallyspan.formats import openai_chat, openai_responses
from tallyspan.providers import OPENAI
from tallyspan.wire_format import Path


def read(line: Json, answer: Answer) -> None:
    """Take a line: the answer to one request, if it was answered."""
    if "custom_id" not in line or "response" not in line:
        return
    body = mapping(mapping(line.get("response")).get("body"))
    one = Answer()
    spoken = openai_responses if body.get("object") == "response" else openai_chat
    spoken.FORMAT.open_reader()(body, one)
    operation = "embeddings" if body.get("object") == "list" else "chat"
    created_s = count(body.get("created")) or count(body.get("created_at"))
    answer.add_result(text(line.get("custom_id")), one, operation, created_s)


FORMAT = of_results(
    "openai_batch_results",
    OPENAI,
    Path(
        "/files/(?P<file>[^/]+)/content",
        "chat",
        example="/v1/files/file-1/content",
        is_retrieval=True,
        is_batch=True,
    ),
    read,
    b'"custom_id"',
)
