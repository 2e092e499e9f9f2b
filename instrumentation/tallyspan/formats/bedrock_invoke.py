"""Bedrock InvokeModel: each vendor's own fields, headers, `invocationMetrics`; exception frames.

Input leaves the cache out everywhere here, so the parts are added up. Response headers have counts
for every vendor; streams end with `amazon-bedrock-invocationMetrics`.
"""

import base64
import json
import re
from collections.abc import Mapping

from tallyspan.answer import Answer, Json, count, items, mapping, text, total
from tallyspan.formats import anthropic_messages, bedrock_converse, openai_chat
from tallyspan.formats.bedrock_converse import bedrock_counts, take_counts
from tallyspan.framing import Interest
from tallyspan.providers import AWS_BEDROCK
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import USER_KEYS, Format, NoEstimate, Path, RequestKeys

_HEADER = "x-amzn-bedrock-{}-token-count"
_PACKED = re.compile(rb'"bytes"\s*:\s*"([^"]*)"')

_INVOCATION = "amazon-bedrock-invocationMetrics"
_METRICS = UsageKeys(
    at=(_INVOCATION,),
    read=(
        "inputTokenCount", "outputTokenCount", "cacheReadInputTokenCount",
        "cacheWriteInputTokenCount",
    ),
    harmless={
        "invocationLatency": "a time, and nobody bills it",
        "firstByteLatency": "a time, and nobody bills it",
    },
)  # fmt: skip
_AT_THE_ROOT = UsageKeys(
    at=("usage", "."),
    read=(
        "inputTextTokenCount", "totalOutputTextTokenCount", "results[].tokenCount",
        "prompt_token_count", "generation_token_count",
    ),
)  # fmt: skip


class _Packed(Interest):
    """Interest in the events of InvokeModel, which are base64 inside JSON."""

    def is_in(self, data: bytes) -> bool:
        packed = _PACKED.search(data)
        return packed is None or super().is_in(base64.b64decode(packed[1]))


class Reader:
    """Reads an InvokeModel answer or its stream, whichever vendor's model it is."""

    def __init__(self) -> None:
        self._anthropic = anthropic_messages.Reader(sees_deltas=False)

    def read(self, body: Json, answer: Answer) -> None:
        """Take what a body, or one chunk of a stream, says."""
        if "bytes" in body:
            self.read(mapping(json.loads(base64.b64decode(text(body["bytes"])))), answer)
            return
        if text(body.get("type")).startswith(("message", "content_block")):
            self._anthropic.read(body, answer)
            anthropic_messages.USAGE.name_unread(body, answer)
        elif "prompt_tokens" in mapping(body.get("usage")):  # Mistral, OpenAI, Qwen and others
            openai_chat.read(body, answer)
            openai_chat.USAGE.name_unread(body, answer)
        elif "failed" in body or "usage" in body or "stopReason" in body:
            bedrock_converse.read(body, answer)
            bedrock_converse.USAGE.name_unread(body, answer)
        elif "metadata" in body:
            bedrock_converse.read(mapping(body["metadata"]), answer)
            bedrock_converse.USAGE.name_unread(mapping(body["metadata"]), answer)
        else:
            _read_root(body, answer)
            _AT_THE_ROOT.name_unread(body, answer)
        bedrock_converse.read_trace(mapping(body.get("amazon-bedrock-trace")), answer)
        metrics = mapping(body.get(_INVOCATION))
        if metrics:
            _METRICS.name_unread({_INVOCATION: metrics}, answer)
            of_vendor, answer.usage = answer.usage, None
            take_counts(
                answer,
                bedrock_counts(
                    metrics.get("inputTokenCount"),
                    metrics.get("outputTokenCount"),
                    metrics.get("cacheReadInputTokenCount"),
                    metrics.get("cacheWriteInputTokenCount"),
                ),
            )
            take_counts(answer, of_vendor)


def _read_root(body: Json, answer: Answer) -> None:
    """Take the counts of vendors that have them among all other keys."""
    if "inputTextTokenCount" in body:  # Titan
        of_results = (count(each.get("tokenCount")) for each in items(body.get("results")))
        output = total(*of_results)
        so_far = body.get("totalOutputTextTokenCount")
        take_counts(
            answer,
            bedrock_counts(body["inputTextTokenCount"], so_far if output is None else output),
        )
    elif "prompt_token_count" in body or "generation_token_count" in body:  # Llama
        take_counts(
            answer,
            bedrock_counts(body.get("prompt_token_count"), body.get("generation_token_count")),
        )


def read_headers(headers: Mapping[str, str], answer: Answer) -> None:
    """Take the counts that InvokeModel has in its headers; a body that has them wins."""
    counts = {
        name: int(value)
        for name in ("input", "output", "cache-read-input", "cache-write-input")
        if (value := headers.get(_HEADER.format(name), "")).isdigit()
    }
    if counts:
        take_counts(
            answer,
            bedrock_counts(
                counts.get("input"),
                counts.get("output"),
                counts.get("cache-read-input"),
                counts.get("cache-write-input"),
            ),
        )
    latency = headers.get("x-amzn-bedrock-performanceconfig-latency", "")
    answer.service_tier = (
        headers.get("x-amzn-bedrock-service-tier", "")
        or bedrock_converse.tier_of(latency)
        or answer.service_tier
    )


FORMAT = Format(
    name="bedrock_invoke",
    provider=AWS_BEDROCK,
    paths=(
        Path(
            r"/model/(?P<model>arn:.+|[^/]+)/(?:invoke|(?P<stream>invoke-with-response-stream))",
            "chat",
            example="/model/amazon.titan-text-lite-v1/invoke",
        ),
    ),
    request=RequestKeys(
        model="",
        stream="",
        user=USER_KEYS,
        call=frozenset({"messages", "prompt", "inputText", "input", "inputs", "texts"}),
    ),
    estimate=NoEstimate("the last frame of a stream has the counts; cut streams are not counted"),
    usage_option=None,
    opens_with_usage=False,
    interest=_Packed(
        (
            b"oken_count",  # Llama
            b"okenCount",  # Titan, and the metrics at the end for everybody
            b'"usage"',
            b'"message_start"',
            b'"message_delta"',
            b'top_reason"',
            b'topReason"',
            b'"finish_reason"',
            b'"error"',
        )
    ),
    reader=lambda: Reader().read,
    # The reader unpacks events and tells the vendors apart, so it names what it does not read.
    usage=UsageKeys(at=(), read=()),
    read_headers=read_headers,
    read_request=None,
)
