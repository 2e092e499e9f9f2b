"""Results of batches in OpenAI's form: a file of lines, an answer to one request a line.

Files of any kind are read at this path: what is no list of results is not looked at. Groq, Mistral
and Together have such files too.
"""

from tallyspan.answer import Answer, Json
from tallyspan.formats import openai_batch
from tallyspan.framing import Interest
from tallyspan.framing.batch_lines import BatchLines
from tallyspan.providers import OPENAI
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import Format, NoEstimate, Path


def read(body: Json, answer: Answer) -> None:
    """Take one line."""
    if "custom_id" in body and "response" in body:
        openai_batch.read_result(body, answer)


FORMAT = Format(
    name="openai_batch_results",
    provider=OPENAI,
    paths=(
        Path(
            "/files/(?P<file>[^/]+)/content",
            "chat",
            example="/v1/files/file-1/content",
            is_retrieval=True,
            is_batch=True,
        ),
    ),
    request=openai_batch.REQUEST,
    estimate=NoEstimate("every result has its counts"),
    usage_option=None,
    opens_with_usage=False,
    interest=Interest((b'"custom_id"',)),
    reader=lambda: read,
    # The formats of the answers in the lines look at them themselves.
    usage=UsageKeys(at=(), read=()),
    read_headers=None,
    read_request=None,
    framing=BatchLines,
)
