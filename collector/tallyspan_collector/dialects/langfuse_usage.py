"""Langfuse's `usage_details`: disjoint buckets, input is the sum of all that start with `input`.

LangChain's handler makes them of what the provider's package reports; OpenAI's own usage object is
passed on as it is. Sources: langfuse `OtelIngestionProcessor.ts`; langfuse-python 5.0.4,
langchain/CallbackHandler.py.
"""

from collections.abc import Collection, Iterable, Mapping

from tallyspan.usage import TOKEN_FIELDS
from tallyspan_collector.dialects import values
from tallyspan_collector.dialects.langchain import LIFETIMES, TIERS
from tallyspan_collector.dialects.table import Attributes, Basis, Counted

USAGE = "langfuse.observation.usage_details"
_PARTS = {
    "cache_read_tokens": ("input_cached_tokens", "input_cache_read", "cache_read_input_tokens",
                          "input_cache_read_input_tokens"),
    "cache_write_tokens": ("input_cache_creation", "cache_creation_input_tokens",
                           "input_cache_creation_input_tokens", "input_cache_write"),
    "reasoning_tokens": ("output_reasoning", "output_reasoning_tokens"),
    "input_audio_tokens": ("input_audio", "input_audio_tokens"),
    "output_audio_tokens": ("output_audio", "output_audio_tokens"),
}  # fmt: skip
_BESIDE = ("cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
"""Parts that Langfuse keeps beside input and output; audio is summed with the rest."""
_LIFETIMES = {
    lifetime: (f"input_cache_creation_{lifetime}", f"input_cache_creation_ephemeral_{lifetime}",
               f"input_{name}")
    for lifetime, name in LIFETIMES.items()
}  # fmt: skip
_OF_WRITES = {lifetime: f"cache_creation_{name}" for lifetime, name in LIFETIMES.items()}
"""Lifetimes that repeat what is in `cache_creation_input_tokens`."""
_MODALITIES = {"AUDIO": "audio", "4": "audio", "IMAGE": "image", "2": "image"}
"""Google's modalities, by name and by number of the protocol buffer -> ours."""
_CACHED = "cached_modality_"
_GOOGLES = ("input_modality_", "output_modality_", _CACHED, "cached_content_token_count",
            "thoughts_token_count", "tool_use_prompt_token_count")  # fmt: skip
_OPENAI = {
    "input_tokens": ("prompt_tokens", "input_tokens"),
    "output_tokens": ("completion_tokens", "output_tokens"),
    "cache_read_tokens": ("prompt_tokens_details.cached_tokens",
                          "input_tokens_details.cached_tokens"),
    "cache_write_tokens": ("prompt_tokens_details.cache_write_tokens",
                           "input_tokens_details.cache_write_tokens"),
    "reasoning_tokens": ("completion_tokens_details.reasoning_tokens",
                         "output_tokens_details.reasoning_tokens"),
    "input_audio_tokens": ("prompt_tokens_details.audio_tokens",),
    "output_audio_tokens": ("completion_tokens_details.audio_tokens",),
}  # fmt: skip


def count(attributes: Attributes) -> Counted:
    """Return input and output as the sums of their buckets; cache and reasoning are beside them."""
    buckets = values.parse(attributes.get(USAGE))
    counts: dict[str, int | None] = dict.fromkeys(TOKEN_FIELDS)
    if not isinstance(buckets, Mapping):
        return Counted(counts)
    if any(isinstance(value, Mapping) for value in buckets.values()) or "prompt_tokens" in buckets:
        return _as_openai(buckets, counts)
    by_bucket = {str(key): values.tokens(value) for key, value in buckets.items()}
    if -1 in by_bucket.values():
        counts["input_tokens"] = -1
        return Counted(counts)
    tier = tier_of(by_bucket)
    if tier:
        return _of_tier(by_bucket, counts, tier)
    if any(key.startswith(_GOOGLES) for key in by_bucket):
        return _as_google(by_bucket, counts)
    taken = {_OF_WRITES["5m"], _OF_WRITES["1h"], *_LIFETIMES["5m"], *_LIFETIMES["1h"]}
    for name, keys in _PARTS.items():
        key = next((key for key in keys if by_bucket.get(key) is not None), "")
        counts[name] = by_bucket.get(key)
        taken |= {key} if name in _BESIDE else set()
    for name, start in (("input_tokens", "input"), ("output_tokens", "output")):
        counts[name] = _sum(by_bucket, start, taken)
    added = _add_lifetimes(by_bucket, counts)
    if counts["input_tokens"] is None and (
        counts["cache_read_tokens"] is not None or counts["cache_write_tokens"] is not None
    ):
        counts["input_tokens"] = 0
    if counts["output_tokens"] is None and counts["reasoning_tokens"] is not None:
        counts["output_tokens"] = 0
    return Counted(counts, by_bucket.get("total"), (added, 0))


def _add_lifetimes(by_bucket: Mapping[str, int | None], counts: dict[str, int | None]) -> int:
    """Take the lifetimes of cache writes; return what comes on top of the input because of them.

    Where the writes are reported as well, the lifetimes are in them, but each bucket was taken off
    the input.
    """
    by_lifetime = {
        lifetime: _first(by_bucket, (*keys, _OF_WRITES[lifetime]))
        for lifetime, keys in _LIFETIMES.items()
    }
    counts["cache_write_1h_tokens"] = by_lifetime["1h"]
    present = [count for count in by_lifetime.values() if count is not None]
    if present and not counts["cache_write_tokens"]:
        counts["cache_write_tokens"] = sum(present)
        return 0
    return sum(by_bucket.get(key) or 0 for keys in _LIFETIMES.values() for key in keys)


def tier_of(by_bucket: Mapping[str, object]) -> str:
    """Return the service tier that the names of LangChain's parts begin with."""
    return next((tier for tier in TIERS if f"input_{tier}" in by_bucket), "")


def _of_tier(
    by_bucket: Mapping[str, int | None], counts: dict[str, int | None], tier: str
) -> Counted:
    """Return the counts of a call served in a tier: its parts are input and output.

    The handler takes some of them off `input` and `output` and some not, so these are not read.
    """
    read, reasoning = f"input_{tier}_cache_read", f"output_{tier}_reasoning"
    counts["input_tokens"] = (by_bucket[f"input_{tier}"] or 0) + (by_bucket.get(read) or 0)
    counts["cache_read_tokens"] = by_bucket.get(read)
    counts["cache_write_tokens"] = by_bucket.get(f"input_{tier}_cache_creation")
    if f"output_{tier}" in by_bucket:
        counts["output_tokens"] = (by_bucket[f"output_{tier}"] or 0) + (
            by_bucket.get(reasoning) or 0
        )
        counts["reasoning_tokens"] = by_bucket.get(reasoning)
    for name in ("input_audio_tokens", "output_audio_tokens"):
        counts[name] = _first(by_bucket, _PARTS[name])
    total = by_bucket.get("total")
    return Counted(counts, total, basis=Basis.INCLUSIVE, is_reasoning_outside=False)


def _as_google(by_bucket: Mapping[str, int | None], counts: dict[str, int | None]) -> Counted:
    """Return Google's own usage object: the cache was taken off the input if it has modalities."""
    cached = [count for key, count in by_bucket.items() if count and key.startswith(_CACHED)]
    for name, start in (("input_tokens", "input"), ("output_tokens", "output")):
        counts[name] = _sum(by_bucket, start, set())
    if cached:
        counts["input_tokens"] = (counts["input_tokens"] or 0) + sum(cached)
    content = by_bucket.get("cached_content_token_count")
    counts["cache_read_tokens"] = sum(cached) if cached else content
    counts["reasoning_tokens"] = by_bucket.get("thoughts_token_count")
    for key, value in by_bucket.items():
        start, _, modality = key.partition("_modality_")
        kind = _MODALITIES.get(modality.upper())
        if kind is None or not value:
            continue
        names = [f"{'output' if start == 'output' else 'input'}_{kind}_tokens"]
        names += ["cache_read_audio_tokens"] if start == "cached" and kind == "audio" else []
        for name in names:
            counts[name] = (counts[name] or 0) + value
    added = by_bucket.get("tool_use_prompt_token_count") or 0
    total = by_bucket.get("total")
    return Counted(counts, total, (added, 0), Basis.INCLUSIVE, is_reasoning_outside=True)


def _sum(by_bucket: Mapping[str, int | None], start: str, taken: Collection[str]) -> int | None:
    own = [
        count
        for key, count in by_bucket.items()
        if count is not None and key not in taken and _is_part(key, start)
    ]
    return sum(own) if own else None


def _first(by_bucket: Mapping[str, int | None], keys: Iterable[str]) -> int | None:
    for key in keys:
        if (count := by_bucket.get(key)) is not None:
            return count
    return None


def _as_openai(buckets: Mapping[str, object], counts: dict[str, int | None]) -> Counted:
    """Return OpenAI's own usage object, which Langfuse's wrapper of its SDK passes on: nested."""
    places = values.places(buckets)
    for name, keys in _OPENAI.items():
        candidates = (values.tokens(places.get(key)) for key in keys)
        counts[name] = next((count for count in candidates if count is not None), None)
    total = values.tokens(places.get("total_tokens"))
    return Counted(counts, total, basis=Basis.INCLUSIVE, is_reasoning_outside=False)


def _is_part(key: str, start: str) -> bool:
    if key.endswith("_input_tokens") and not key.startswith("input"):
        return start == "input"
    return key.startswith((start, {"input": "prompt", "output": "completion"}[start]))
