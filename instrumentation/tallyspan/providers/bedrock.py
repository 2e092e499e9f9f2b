"""Amazon Bedrock: Converse, and InvokeModel with each vendor's own body.

Input leaves the cache out everywhere here, so the parts are added up. InvokeModel states counts in
response headers for every vendor; streams end with `amazon-bedrock-invocationMetrics`.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import replace

from tallyspan.answer import Answer, Json, count, items, mapping, text, total
from tallyspan.framing import Interest
from tallyspan.providers import anthropic_messages, openai_chat
from tallyspan.usage import TOKEN_FIELDS, Usage

INTEREST_CONVERSE = Interest((b'"usage"', b'"stopReason"', b'"failed"'))
_HEADER = "x-amzn-bedrock-{}-token-count"
_PACKED = re.compile(rb'"bytes"\s*:\s*"([^"]*)"')


class _Packed(Interest):
    """Interest in the events of InvokeModel, which are base64 inside JSON."""

    def is_in(self, data: bytes) -> bool:
        packed = _PACKED.search(data)
        return packed is None or super().is_in(base64.b64decode(packed[1]))


INTEREST_INVOKE = _Packed(
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
)


def read_converse(body: Json, answer: Answer) -> None:
    """Take what a Converse answer, or one event of ConverseStream, says."""
    answer.finished(body.get("stopReason"))
    answer.error_type = text(body.get("failed")) or answer.error_type
    usage = mapping(body.get("usage"))
    if usage:
        _take(
            answer,
            _usage(
                fresh=usage.get("inputTokens"),
                made=usage.get("outputTokens"),
                cache_read=_either(usage, "cacheReadInputTokens", "cacheReadInputTokenCount"),
                cache_write=_either(usage, "cacheWriteInputTokens", "cacheWriteInputTokenCount"),
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


class InvokeReader:
    """Reads an InvokeModel answer or its stream, whichever vendor's model it is."""

    def __init__(self) -> None:
        self._anthropic = anthropic_messages.Reader()

    def read(self, body: Json, answer: Answer) -> None:
        """Take what a body, or one chunk of a stream, says."""
        if "bytes" in body:
            self.read(mapping(json.loads(base64.b64decode(text(body["bytes"])))), answer)
            return
        if text(body.get("type")).startswith(("message", "content_block")):
            self._anthropic.read(body, answer)
        elif "prompt_tokens" in mapping(body.get("usage")):  # Mistral, OpenAI, Qwen and others
            openai_chat.read(body, answer)
        elif "failed" in body or "usage" in body or "stopReason" in body:
            read_converse(body, answer)
        elif "inputTextTokenCount" in body:
            made = total(*(count(each.get("tokenCount")) for each in items(body.get("results"))))
            said = body.get("totalOutputTextTokenCount")
            _take(answer, _usage(body["inputTextTokenCount"], said if made is None else made))
        elif "prompt_token_count" in body or "generation_token_count" in body:
            _take(
                answer, _usage(body.get("prompt_token_count"), body.get("generation_token_count"))
            )
        elif "metadata" in body:
            read_converse(mapping(body["metadata"]), answer)
        metrics = mapping(body.get("amazon-bedrock-invocationMetrics"))
        if metrics:
            stated, answer.usage = answer.usage, None
            _take(
                answer,
                _usage(
                    metrics.get("inputTokenCount"),
                    metrics.get("outputTokenCount"),
                    metrics.get("cacheReadInputTokenCount"),
                    metrics.get("cacheWriteInputTokenCount"),
                ),
            )
            _take(answer, stated)


def read_headers(headers: Mapping[str, str], answer: Answer) -> None:
    """Take the counts that InvokeModel states in its headers; a body that states them wins."""
    stated = {
        name: int(value)
        for name in ("input", "output", "cache-read-input", "cache-write-input")
        if (value := headers.get(_HEADER.format(name), "")).isdigit()
    }
    if stated:
        _take(
            answer,
            _usage(
                stated.get("input"),
                stated.get("output"),
                stated.get("cache-read-input"),
                stated.get("cache-write-input"),
            ),
        )
    answer.service_tier = headers.get("x-amzn-bedrock-service-tier", "") or answer.service_tier


def _usage(
    fresh: object,
    made: object,
    cache_read: object = None,
    cache_write: object = None,
    cache_write_1h: object = None,
) -> Usage | None:
    read, write = count(cache_read), count(cache_write)
    found = Usage(
        input_tokens=total(count(fresh), read, write),
        output_tokens=count(made),
        cache_read_tokens=read,
        cache_write_tokens=write,
        cache_write_1h_tokens=count(cache_write_1h),
    )
    return found or None


def _take(answer: Answer, said: Usage | None) -> None:
    """Take the counts; what they leave out stays as another place stated it."""
    if said is not None and answer.usage is not None:
        counts = {name: getattr(said, name) for name in TOKEN_FIELDS}
        said = replace(answer.usage, **{n: v for n, v in counts.items() if v is not None})
    answer.usage = said or answer.usage


def _either(usage: Json, *names: str) -> object:
    return next((usage[name] for name in names if name in usage), None)
