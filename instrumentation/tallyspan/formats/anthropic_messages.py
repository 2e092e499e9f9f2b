"""Anthropic Messages: cache writes by lifetime; advisors, compactions, declined attempts as calls.

`input_tokens` leaves the cache out, so the three parts are added up. A stream has the input in
`message_start` and cumulative counts in each `message_delta`: a later value replaces an earlier
one, what it leaves out stays. The split of cache writes by lifetime and the tier come with
`message_start` only. Advisors and compactions are among the `iterations` and not in the counts of
the message. Where another model took over, the message's counts are those of the last attempt, and
an attempt that generated something is billed at its own model. A refusal with nothing generated is
free at Anthropic's own. Source: Anthropic's API types, its pricing page and recordings.
"""

import re

from tallyspan.answer import Answer, Json, Part, count, items, mapping, text, total
from tallyspan.formats import openai_chat
from tallyspan.formats.openai_chat import reported_cost
from tallyspan.framing import Interest
from tallyspan.providers import Provider
from tallyspan.usage import Usage
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import USER_KEYS, Estimate, Format, Path, RequestKeys, texts_under

ANTHROPIC = Provider("anthropic", (r"^api\.anthropic\.com",))

_ATTEMPTS = {"message", "fallback_message"}
"""Iterations of the models that answered, or were to; the others are not in the message's usage."""


class Reader:
    """Reads one message, whole or event by event.

    `sees_deltas`: of a stream it gets what shows that text was generated, and not usage alone.
    """

    def __init__(self, *, sees_deltas: bool = True) -> None:
        self._usage: Json = {}
        self._sees_deltas = sees_deltas
        self._has_output = False

    def read(self, body: Json, answer: Answer) -> None:
        """Take what a message, or one event of its stream, says."""
        kind = body.get("type")
        if kind in {"content_block_start", "content_block_delta"}:
            self._read_block(body, answer)
            return
        message = mapping(body.get("message")) if kind == "message_start" else body
        if kind in {"message", "message_start"}:
            answer.identify(message)
            self._has_output = any(map(_is_output, items(message.get("content"))))
        if kind == "error":
            answer.error_type = text(mapping(body.get("error")).get("type")) or "error"
        usage = mapping(message.get("usage"))
        if usage:
            self._read_usage(usage, answer)
        for reason in (message.get("stop_reason"), mapping(body.get("delta")).get("stop_reason")):
            answer.finished(reason)
            if reason == "refusal" and not self._has_generated(answer, is_whole=kind == "message"):
                answer.under("refusal", "before_output")

    def _has_generated(self, answer: Answer, *, is_whole: bool) -> bool:
        """Whether anything was generated; AWS counts a token of output where nothing was.

        Where several models tried, what others generated is billed as theirs.
        """
        if answer.parts and _last_attempt(self._usage).get("output_tokens") == 0:
            return False
        if is_whole or self._sees_deltas or answer.usage is None:
            return self._has_output
        return self._has_output or (answer.usage.output_tokens or 0) > 1

    def _read_block(self, body: Json, answer: Answer) -> None:
        block = mapping(body.get("content_block")) or mapping(body.get("delta"))
        self._has_output = self._has_output or _is_output(block)
        if block.get("type") == "fallback":
            answer.model = text(mapping(block.get("to")).get("model")) or answer.model

    def _read_usage(self, usage: Json, answer: Answer) -> None:
        self._usage |= {key: value for key, value in usage.items() if value is not None}
        merged = self._usage
        served = _served(merged)
        if served:
            merged = merged | {"cache_creation": _split(served, merged)}
            answer.model = text(served.get("model")) or answer.model
        answer.usage = read_usage(merged) or answer.usage
        answer.service_tier = tier(merged) or answer.service_tier
        answer.parts = parts(merged, answer.model)
        # OpenRouter speaks this format as well, and its usage has the cost.
        answer.reported_cost_usd = reported_cost(merged) or answer.reported_cost_usd
        answer.under("geo", merged.get("inference_geo"))
        credit = mapping(mapping(merged.get("fallback_credit")).get("status"))
        answer.under("fallback_credit", credit.get("type"))
        openai_chat.read_tools(merged, answer)


def _is_output(block: Json) -> bool:
    """Whether a content block, or what is added to one, is something that the model generated."""
    kind = block.get("type")
    if kind in {"text", "text_delta"}:
        return bool(block.get("text"))
    return kind not in {None, "fallback"}


def _served(usage: Json) -> Json:
    """Return the iteration of the model that took over and answered; empty: none took over."""
    attempts = [each for each in items(usage.get("iterations")) if each.get("type") in _ATTEMPTS]
    return next((each for each in reversed(attempts) if each["type"] == "fallback_message"), {})


def _split(served: Json, message: Json) -> object:
    """Return the cache writes by lifetime of the model that took over.

    Its iteration has them, or else the message does; but a stream begins with those of the model
    that declined, which do not add up to what was written.
    """
    split = served.get("cache_creation")
    if split is not None:
        return split
    of_message = mapping(message.get("cache_creation"))
    written = total(*map(count, of_message.values()))
    return of_message if written == count(message.get("cache_creation_input_tokens")) else None


def _last_attempt(usage: Json) -> Json:
    """Return the last iteration of a model that was to answer, whose counts the message has."""
    iterations = reversed(items(usage.get("iterations")))
    return next((each for each in iterations if each.get("type") in _ATTEMPTS), {})


def read_usage(usage: Json) -> Usage | None:
    """Return the counts of a `usage` object, the cache included in the input."""
    fresh = count(usage.get("input_tokens"))
    cache_read = count(usage.get("cache_read_input_tokens"))
    split = mapping(usage.get("cache_creation"))
    for_1h = count(split.get("ephemeral_1h_input_tokens"))
    cache_write = count(usage.get("cache_creation_input_tokens"))
    if cache_write is None:
        cache_write = total(for_1h, count(split.get("ephemeral_5m_input_tokens")))
    counts = Usage(
        input_tokens=None if fresh is None else total(fresh, cache_read, cache_write),
        output_tokens=count(usage.get("output_tokens")),
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
        cache_write_1h_tokens=for_1h,
        reasoning_tokens=count(mapping(usage.get("output_tokens_details")).get("thinking_tokens")),
    )
    return counts or None


def parts(usage: Json, model: str) -> list[Part]:
    """Return the iterations that were billed beside the message's own, which is of `model`.

    An attempt of another model is billed if it generated something. The earlier turns of the model
    that answered are in the message's counts.
    """
    iterations = items(usage.get("iterations"))
    own = {text(_last_attempt(usage).get("model")) or model, ""}
    result = []
    for each in iterations:
        kind, of_model, counts = text(each.get("type")), text(each.get("model")), read_usage(each)
        if kind in _ATTEMPTS:
            if of_model in own or counts is None or not counts.output_tokens:
                continue
            kind = "fallback_attempt"
        if counts is not None:
            result.append(Part(kind, of_model, counts))
    return result


def tier(usage: Json) -> str:
    """Return the tier that was served; a speed other than the usual is priced like one."""
    speed = text(usage.get("speed")).lower()
    return text(usage.get("service_tier")) if speed in openai_chat.USUAL_SPEEDS else speed


_COUNTS = (
    "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
    "cache_creation.ephemeral_1h_input_tokens", "cache_creation.ephemeral_5m_input_tokens",
    "output_tokens_details.thinking_tokens",
)  # fmt: skip
USAGE = UsageKeys(
    at=("usage", "message.usage"),
    read=(
        *_COUNTS,
        *(f"iterations[].{key}" for key in (*_COUNTS, "type", "model")),
        "service_tier", "speed", "inference_geo", "fallback_credit.status.type",
        *openai_chat.COST_KEYS, *openai_chat.TOOL_KEYS,
    ),
    harmless={
        **openai_chat.COST_HARMLESS,
        **openai_chat.TOOL_HARMLESS,
        "server_tool_use.web_fetch_requests": "free: only the tokens of what is fetched are billed",
        "fallback_credit.status.reason": "why nothing was credited",
        "fallback_credit.status.remove_to_redeem": "what would have been credited",
    },
    beside={"max_tokens": "a limit of the request"},
)  # fmt: skip

FORMAT = Format(
    name="anthropic_messages",
    provider=ANTHROPIC,
    paths=(
        Path("/v1/messages", "chat"),
        Path(
            r"/publishers/anthropic/models/(?!count-tokens)(?P<model>[^/:]+)"
            r":(?:rawPredict|(?P<stream>streamRawPredict))",
            "chat",
            example="/v1/projects/p/locations/l/publishers/anthropic/models/claude:rawPredict",
        ),
    ),
    request=RequestKeys(
        model="model", stream="stream", user=USER_KEYS, call=frozenset({"messages"})
    ),
    estimate=Estimate(
        prompt=("messages",),
        system=("system",),
        answer=texts_under("delta", "content_block", "content"),
    ),
    usage_option=None,
    opens_with_usage=True,
    interest=Interest(
        (
            b'"message_start"',
            b'"message_delta"',
            b'"error"',
            b'fallback"',
            b'tool_use"',
            b"redacted_",
        ),
        # Any of them shows that something was generated: a refusal before that is free.
        b'"content_block_delta"',
        re.compile(rb'"(?:text|thinking|partial_json)"\s*:\s*"[^"]'),
    ),
    reader=lambda: Reader().read,
    usage=USAGE,
    read_headers=None,
    read_request=None,
)
