"""OpenAI Responses: usage always comes, in the object itself or in the event that ends the stream.

`input_tokens` includes cached and written tokens, `output_tokens` includes reasoning. A background
request answers `status: queued` with `usage: null`; its usage is in a later answer.
"""

import re

from tallyspan.answer import Answer, Json, count, mapping, text
from tallyspan.providers.openai_chat import reported_cost
from tallyspan.usage import Usage

INTERESTING = re.compile(rb'"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed)|error)"')

INTERESTING_MEDIA = re.compile(
    rb'"type"\s*:\s*"(?:image_generation\.completed|image_edit\.completed'
    rb'|transcript\.text\.done|speech\.audio\.done|error)"'
)
"""Streams of images and sound say their usage in the same shape, in events of their own."""


def read(body: Json, answer: Answer) -> None:
    """Take what a response object, or an event that holds one, says."""
    response = mapping(body.get("response")) or body
    answer.identify(response)
    answer.service_tier = text(response.get("service_tier")) or answer.service_tier
    usage = mapping(response.get("usage"))
    if usage:
        answer.usage = read_usage(usage) or answer.usage
        answer.reported_cost_usd = reported_cost(usage) or answer.reported_cost_usd
    status = text(response.get("status"))
    if status in {"completed", "incomplete", "failed"}:
        reason = text(mapping(response.get("incomplete_details")).get("reason"))
        answer.finished(reason or status)
    error = mapping(response.get("error"))
    if error or body.get("type") == "error":
        answer.error_type = text(error.get("code")) or text(body.get("code")) or "error"


def read_usage(usage: Json) -> Usage | None:
    """Return the counts of a `usage` object; None if it states none."""
    given = mapping(usage.get("input_tokens_details") or usage.get("input_token_details"))
    made = mapping(usage.get("output_tokens_details"))
    found = Usage(
        input_tokens=count(usage.get("input_tokens")),
        output_tokens=count(usage.get("output_tokens")),
        cache_read_tokens=count(given.get("cached_tokens")),
        cache_write_tokens=count(given.get("cache_write_tokens")),
        reasoning_tokens=count(made.get("reasoning_tokens")),
        input_audio_tokens=count(given.get("audio_tokens")),
        input_image_tokens=count(given.get("image_tokens")),
        output_audio_tokens=count(made.get("audio_tokens")),
        output_image_tokens=count(made.get("image_tokens")),
    )
    return found or None
