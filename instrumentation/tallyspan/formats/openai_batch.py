"""OpenAI batches: `usage` of the whole batch when it is over; booked once, at the price of batches.

The batch has no usage when it is created: the answers to requests for its state have it. What it
used is no list of calls but their sum, of the batch's one model. Source: OpenAI's API types.
"""

from tallyspan.answer import Answer, Json, mapping, text
from tallyspan.formats.openai_responses import read_meters, read_usage
from tallyspan.framing import EVERYTHING
from tallyspan.providers import OPENAI
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import Format, NoEstimate, Path, RequestKeys

_OVER = {"completed", "expired", "cancelled", "failed"}


def read(body: Json, answer: Answer) -> None:
    """Take what a batch used, once nothing is to come any more."""
    status = text(body.get("status"))
    if body.get("object") != "batch" or status not in _OVER:
        return
    usage = mapping(body.get("usage"))
    counts = read_usage(usage)
    if counts is None or not (counts.input_tokens or counts.output_tokens):
        return
    answer.identify(body)
    answer.finished(status)
    answer.usage = counts
    read_meters(usage, answer)
    answer.service_tier = "batch"
    answer.is_background = True  # its usage comes with a later answer, so it is booked once


FORMAT = Format(
    name="openai_batch",
    provider=OPENAI,
    paths=(
        Path(
            "(?<!/messages)/batches/[^/]+",
            "chat",
            example="/v1/batches/batch_1",
            is_retrieval=True,
        ),
    ),
    request=RequestKeys(model="", stream="", user=(), call=frozenset()),
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
