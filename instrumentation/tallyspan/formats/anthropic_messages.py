"""Anthropic Messages: cache writes by lifetime; advisors and compactions as their own calls.

`input_tokens` leaves the cache out, so the three parts are added up. A stream has the input in
`message_start` and cumulative counts in each `message_delta`: a later value replaces an earlier
one, what it leaves out stays. The split of cache writes by lifetime and the tier come with
`message_start` only. Advisors and compactions are among the `iterations` and not in the counts of
the message. Source: Anthropic's API types and recordings.
"""

from tallyspan.answer import Answer, Json, Part, count, items, mapping, text, total
from tallyspan.formats.openai_chat import reported_cost
from tallyspan.framing import Interest
from tallyspan.providers import Provider
from tallyspan.usage import Usage
from tallyspan.wire_format import USER_KEYS, Estimate, Format, Path, RequestKeys, texts_under

ANTHROPIC = Provider("anthropic", (r"^api\.anthropic\.com",))

_OF_THE_MESSAGE = {"message", "fallback_message"}
"""Iterations whose counts are in the message's own usage."""


class Reader:
    """Reads one message, whole or event by event."""

    def __init__(self) -> None:
        self._usage: Json = {}

    def read(self, body: Json, answer: Answer) -> None:
        """Take what a message, or one event of its stream, says."""
        kind = body.get("type")
        message = mapping(body.get("message")) if kind == "message_start" else body
        if kind in {"message", "message_start"}:
            answer.identify(message)
        answer.finished(message.get("stop_reason"))
        answer.finished(mapping(body.get("delta")).get("stop_reason"))
        if kind == "error":
            answer.error_type = text(mapping(body.get("error")).get("type")) or "error"
        usage = mapping(message.get("usage"))
        if usage:
            self._usage |= {key: value for key, value in usage.items() if value is not None}
            answer.usage = read_usage(self._usage)
            answer.service_tier = tier(self._usage) or answer.service_tier
            answer.parts = parts(self._usage)
            # OpenRouter speaks this format as well, and its usage has the cost.
            answer.reported_cost_usd = reported_cost(self._usage) or answer.reported_cost_usd
            answer.billed(
                "web_search", mapping(self._usage.get("server_tool_use")).get("web_search_requests")
            )


def read_usage(usage: Json) -> Usage | None:
    """Return the counts of a `usage` object, the cache included in the input."""
    fresh = count(usage.get("input_tokens"))
    cache_read = count(usage.get("cache_read_input_tokens"))
    cache_write = count(usage.get("cache_creation_input_tokens"))
    split = mapping(usage.get("cache_creation"))
    counts = Usage(
        input_tokens=total(fresh, cache_read, cache_write),
        output_tokens=count(usage.get("output_tokens")),
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
        cache_write_1h_tokens=count(split.get("ephemeral_1h_input_tokens")),
        reasoning_tokens=count(mapping(usage.get("output_tokens_details")).get("thinking_tokens")),
    )
    return counts or None


def parts(usage: Json) -> list[Part]:
    """Return the iterations that were billed beside the message's own."""
    return [
        Part(text(each.get("type")), text(each.get("model")), counts)
        for each in items(usage.get("iterations"))
        if each.get("type") not in _OF_THE_MESSAGE and (counts := read_usage(each)) is not None
    ]


def tier(usage: Json) -> str:
    """Return the tier that was served; fast mode is priced like one of its own."""
    return "fast" if usage.get("speed") == "fast" else text(usage.get("service_tier"))


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
        prompt=("messages",), system=("system",), answer=texts_under("delta", "content_block")
    ),
    usage_option=None,
    opens_with_usage=True,
    interest=Interest((b'"message_start"', b'"message_delta"', b'"error"')),
    reader=lambda: Reader().read,
    read_headers=None,
    read_request=None,
)
