"""Bedrock Converse: `usage`, to whose input the cache is added; exception frames."""

from dataclasses import replace

from tallyspan.answer import Answer, Json, count, items, mapping, text, total
from tallyspan.framing import Interest
from tallyspan.providers import AWS_BEDROCK
from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan.wire_format import USER_KEYS, Format, NoEstimate, Path, RequestKeys


def read(body: Json, answer: Answer) -> None:
    """Take what a Converse answer, or one event of ConverseStream, says."""
    answer.finished(body.get("stopReason"))
    answer.error_type = text(body.get("failed")) or answer.error_type
    usage = mapping(body.get("usage"))
    if usage:
        take_counts(
            answer,
            bedrock_counts(
                uncached=usage.get("inputTokens"),
                output=usage.get("outputTokens"),
                cache_read=_first(usage, "cacheReadInputTokens", "cacheReadInputTokenCount"),
                cache_write=_first(usage, "cacheWriteInputTokens", "cacheWriteInputTokenCount"),
                cache_write_1h=total(
                    *(
                        count(part.get("inputTokens"))
                        for part in items(usage.get("cacheDetails"))
                        if part.get("ttl") == "1h"
                    )
                ),
            ),
        )
    answer.service_tier = text(mapping(body.get("serviceTier")).get("type")) or answer.service_tier


def bedrock_counts(
    uncached: object,
    output: object,
    cache_read: object = None,
    cache_write: object = None,
    cache_write_1h: object = None,
) -> Usage | None:
    """Return the counts of an input that leaves the cache out, as all are at Bedrock."""
    read_tokens, write_tokens = count(cache_read), count(cache_write)
    counts = Usage(
        input_tokens=total(count(uncached), read_tokens, write_tokens),
        output_tokens=count(output),
        cache_read_tokens=read_tokens,
        cache_write_tokens=write_tokens,
        cache_write_1h_tokens=count(cache_write_1h),
    )
    return counts or None


def take_counts(answer: Answer, usage: Usage | None) -> None:
    """Take the counts; what they leave out stays as another place of the answer has it."""
    if usage is not None and answer.usage is not None:
        counts = {name: getattr(usage, name) for name in TOKEN_FIELDS}
        usage = replace(answer.usage, **{n: v for n, v in counts.items() if v is not None})
    answer.usage = usage or answer.usage


def _first(usage: Json, *keys: str) -> object:
    return next((usage[key] for key in keys if key in usage), None)


FORMAT = Format(
    name="bedrock_converse",
    provider=AWS_BEDROCK,
    paths=(
        # An inference profile is named by its ARN, which has a slash of its own.
        Path(
            r"/model/(?P<model>arn:.+|[^/]+)/(?:converse|(?P<stream>converse-stream))",
            "chat",
            example="/model/us.amazon.nova-lite-v1:0/converse",
        ),
    ),
    request=RequestKeys(model="", stream="", user=USER_KEYS, call=frozenset({"messages"})),
    estimate=NoEstimate("the last frame of a stream has the counts; cut streams are not counted"),
    usage_option=None,
    opens_with_usage=False,
    interest=Interest((b'"usage"', b'"stopReason"', b'"failed"')),
    reader=lambda: read,
    read_headers=None,
    read_request=None,
)
