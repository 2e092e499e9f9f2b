"""Where counts stand in a provider's own usage object, for emitters that pass it on as it came.

The keys are OpenAI's and Anthropic's, and those of who speaks their formats; the formats of our
own instrumentation read the same (`tallyspan/formats/openai_chat.py`, `anthropic_messages.py`).
Input and output are left out: emitters have names of their own for these.
"""

from collections.abc import Mapping

from tallyspan_collector.dialects import values
from tallyspan_collector.dialects.table import Attributes, Names
from tallyspan_collector.read.call import Draft

Table = Mapping[str, Names]

TOKENS: Table = {
    "cache_read_tokens": ("prompt_tokens_details.cached_tokens",
                          "input_tokens_details.cached_tokens", "cache_read_input_tokens"),
    "cache_write_tokens": ("prompt_tokens_details.cache_write_tokens",
                           "input_tokens_details.cache_write_tokens",
                           "prompt_tokens_details.cache_creation_tokens",
                           "cache_creation_input_tokens"),
    "cache_write_1h_tokens": ("cache_creation.ephemeral_1h_input_tokens",),
    "cache_read_audio_tokens": ("prompt_tokens_details.cached_tokens_details.audio_tokens",
                                "input_tokens_details.cached_tokens_details.audio_tokens"),
    "reasoning_tokens": ("completion_tokens_details.reasoning_tokens",
                         "output_tokens_details.reasoning_tokens",
                         "output_tokens_details.thinking_tokens"),
    "input_audio_tokens": ("prompt_tokens_details.audio_tokens",
                           "input_tokens_details.audio_tokens"),
    "output_audio_tokens": ("completion_tokens_details.audio_tokens",
                            "output_tokens_details.audio_tokens"),
    "input_image_tokens": ("prompt_tokens_details.image_tokens",
                           "input_tokens_details.image_tokens"),
    "output_image_tokens": ("completion_tokens_details.image_tokens",
                            "output_tokens_details.image_tokens"),
}  # fmt: skip
CACHE_WRITE_5M: Names = ("cache_creation.ephemeral_5m_input_tokens",)
METERS: Table = {
    "cache_write_12h_tokens": ("prompt_tokens_details.cache_write_tokens_details.ttl_12h_tokens",
                               "input_tokens_details.cache_write_tokens_details.ttl_12h_tokens"),
    "cache_read_image_tokens": ("prompt_tokens_details.cached_tokens_details.image_tokens",
                                "input_tokens_details.cached_tokens_details.image_tokens"),
    "input_video_tokens": ("prompt_tokens_details.video_tokens",
                           "input_tokens_details.video_tokens"),
    "input_document_tokens": ("prompt_tokens_details.file_tokens",),
    "output_video_tokens": ("completion_tokens_details.video_tokens",),
    "web_search": ("server_tool_use.web_search_requests",
                   "server_tool_use_details.web_search_requests", "num_search_queries"),
    "seconds": ("prompt_audio_seconds",),
}  # fmt: skip
CONDITIONS: Table = {"geo": ("inference_geo",), "fallback_credit": ("fallback_credit.status.type",)}
SERVICE_TIER: Names = ("service_tier",)
SPEED = "speed"
"""Anthropic's fast mode, which is priced like a tier of its own."""
PICOUSD_OF_TICK = 100
"""xAI's ticks are 10^-10 USD."""
REFINED: Names = (SPEED, "cost", "cost.*", "cost_in_usd_ticks", "is_byok", "cost_details.*")
"""What `refine` reads, as patterns: OpenRouter's costs, Perplexity's and xAI's are bills."""

_REST = "the rest of a count whose other parts are read"
HARMLESS: Mapping[str, str] = {
    "*.text_tokens": _REST,
    "*.ttl_30m_tokens": "the usual lifetime of what is written to the cache, and so its price",
    "*_prediction_tokens": "predicted output, accepted or rejected, is part of the output and "
    "billed as such",
    "prompt_cache_miss_tokens": _REST,
    "server_tool_use.web_fetch_requests": "free: only the tokens of what is fetched are billed",
    "fallback_credit.status.reason": "why nothing was credited",
    "fallback_credit.status.remove_to_redeem": "what would have been credited",
}
AGAIN: Mapping[str, str] = dict.fromkeys(
    ("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens"),
    "the emitter has it under a name of its own",
)
"""Keys that an emitter with names of its own for input and output only repeats."""


def at(start: str, table: Table) -> dict[str, Names]:
    """Return the table with the start of a name before each key."""
    return {name: under(start, keys) for name, keys in table.items()}


def joined(*tables: Table) -> dict[str, Names]:
    """Return one table with the names of all, those of the first before those of the next."""
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: tuple(key for table in tables for key in table.get(name, ())) for name in names}


def under(start: str, keys: Names) -> Names:
    """Return the keys with the start of a name before each."""
    return tuple(start + key for key in keys)


def reasons(start: str, *tables: Mapping[str, str]) -> dict[str, str]:
    """Return patterns of harmless keys, with the start of a name before each, and why."""
    return {start + key: why for table in tables for key, why in table.items()}


def refine(draft: Draft, attributes: Attributes, start: str) -> None:
    """Take fast mode as the tier, and what a provider says that it billed (`REFINED`)."""
    if values.text(attributes.get(start + SPEED)).lower() == "fast":
        draft["service_tier"] = "fast"
    bill: int | None = None
    if (total := attributes.get(f"{start}cost.total_cost")) is not None:
        bill = values.picousd(total)
    elif (ticks := attributes.get(f"{start}cost_in_usd_ticks")) is not None:
        bill = values.picousd(ticks, PICOUSD_OF_TICK)
    elif (is_byok := attributes.get(f"{start}is_byok")) is not None:
        bill = _of_openrouter(attributes, start, is_byok=str(is_byok).lower() == "true")
    if bill is not None:
        draft["reported_cost_picousd"] = bill


def _of_openrouter(attributes: Attributes, start: str, *, is_byok: bool) -> int | None:
    """Return its bill; with a key of one's own (BYOK) that is its fee and the other's bill."""
    fee = values.picousd(attributes.get(f"{start}cost"))
    upstream = attributes.get(f"{start}cost_details.upstream_inference_cost")
    others = values.picousd(upstream) if is_byok else 0
    return None if fee is None or others is None else fee + others
