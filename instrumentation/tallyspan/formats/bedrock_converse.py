"""Bedrock Converse: `usage`, to whose input the cache is added; guardrails; exception frames."""

from dataclasses import replace

from tallyspan.answer import Answer, Json, count, items, mapping, text, total
from tallyspan.framing import Interest
from tallyspan.providers import AWS_BEDROCK
from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan.usage_keys import UsageKeys, leave_unread
from tallyspan.wire_format import USER_KEYS, Format, NoEstimate, Path, RequestKeys

_POLICIES = {
    "contentPolicyUnits": "guardrail_content_units",
    "contentPolicyImageUnits": "guardrail_image_units",
    "topicPolicyUnits": "guardrail_topic_units",
    "sensitiveInformationPolicyUnits": "guardrail_sensitive_units",
    "contextualGroundingPolicyUnits": "guardrail_grounding_units",
    "automatedReasoningPolicyUnits": "guardrail_reasoning_units",
}
"""What a guardrail's usage calls its units -> meters."""
_LIFETIMES = {None, "5m", "1h"}
"""Of cache writes, that have a price of their own; 5m is the usual one."""
_GUARDRAIL = UsageKeys(
    at=("guardrail",),
    read=tuple(_POLICIES),
    harmless={
        "wordPolicyUnits": "words are checked for nothing",
        "sensitiveInformationPolicyFreeUnits": "patterns are checked for nothing",
        "automatedReasoningPolicies": "billed by automatedReasoningPolicyUnits",
    },
)


def read(body: Json, answer: Answer) -> None:
    """Take what a Converse answer, or one event of ConverseStream, says."""
    answer.finished(body.get("stopReason"))
    answer.error_type = text(body.get("failed")) or answer.error_type
    usage = mapping(body.get("usage"))
    if usage:
        lifetimes = items(usage.get("cacheDetails"))
        if any(part.get("ttl") not in _LIFETIMES and part.get("inputTokens") for part in lifetimes):
            leave_unread(answer, "usage.cacheDetails[].ttl")
        if "refusal" in answer.finish_reasons and (count(usage.get("outputTokens")) or 0) <= 1:
            answer.under("refusal", "before_output")  # AWS counts a token where nothing was
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
                        for part in lifetimes
                        if part.get("ttl") == "1h"
                    )
                ),
            ),
        )
    answer.service_tier = (
        text(mapping(body.get("serviceTier")).get("type"))
        or tier_of(text(mapping(body.get("performanceConfig")).get("latency")))
        or answer.service_tier
    )
    read_trace(mapping(body.get("trace")), answer)


def tier_of(latency: str) -> str:
    """Return the tier of answers that come sooner at a price of their own; empty: the usual."""
    return latency if latency != "standard" else ""


def read_trace(trace: Json, answer: Answer) -> None:
    """Take the units that guardrails checked, and the model that a router of prompts chose."""
    routed = text(mapping(trace.get("promptRouter")).get("invokedModelId"))
    answer.model = routed.rpartition("/")[2] or answer.model
    guardrail = mapping(trace.get("guardrail"))
    assessments = [
        *mapping(guardrail.get("inputAssessment")).values(),
        *(
            each
            for listed in mapping(guardrail.get("outputAssessments")).values()
            for each in items(listed)
        ),
    ]
    units: dict[str, int] = {}
    for assessment in assessments:
        usage = mapping(mapping(mapping(assessment).get("invocationMetrics")).get("usage"))
        _GUARDRAIL.name_unread({"guardrail": usage}, answer)
        for key, meter in _POLICIES.items():
            units[meter] = units.get(meter, 0) + (count(usage.get(key)) or 0)
    for meter, amount in units.items():
        answer.billed(meter, amount)


def bedrock_counts(
    uncached: object,
    output: object,
    cache_read: object = None,
    cache_write: object = None,
    cache_write_1h: object = None,
) -> Usage | None:
    """Return the counts of an input that leaves the cache out, as all are at Bedrock."""
    fresh, read_tokens, write_tokens = count(uncached), count(cache_read), count(cache_write)
    counts = Usage(
        input_tokens=None if fresh is None else total(fresh, read_tokens, write_tokens),
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


USAGE = UsageKeys(
    at=("usage",),
    read=(
        "inputTokens", "outputTokens", "cacheReadInputTokens", "cacheReadInputTokenCount",
        "cacheWriteInputTokens", "cacheWriteInputTokenCount",
        "cacheDetails[].ttl", "cacheDetails[].inputTokens",
    ),
    harmless={
        "totalTokens": "input and output",
        "pydantic_ai_gateway": "what a gateway takes the cost for: an estimate of its own",
    },
    beside={"serviceTier": "the tier"},
)  # fmt: skip

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
    usage=USAGE,
    read_headers=None,
    read_request=None,
)
