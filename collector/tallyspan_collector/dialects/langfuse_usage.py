"""Langfuse's `usage_details`: disjoint buckets, input is the sum of all that start with `input`.

LangChain's handler makes them of what the provider's package reports; OpenAI's own usage object is
passed on as it is. Sources: langfuse `OtelIngestionProcessor.ts`; langfuse-python 5.0.4,
langchain/CallbackHandler.py.
"""

from collections.abc import Collection, Iterable, Mapping

from tallyspan.usage import TOKEN_FIELDS
from tallyspan_collector.dialects import usage_object, values
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
_MODALITIES = {"IMAGE": "image", "VIDEO": "video", "AUDIO": "audio", "DOCUMENT": "document",
               "2": "image", "3": "video", "4": "audio", "5": "document"}  # fmt: skip
"""Google's modalities, by name and by number of the protocol buffer -> ours."""
_TEXT = ("TEXT", "1", "MODALITY_UNSPECIFIED", "0")
"""Those that a price without modality is for."""
_CACHED = "cached_modality_"
_GOOGLES_OWN = ("cached_content_token_count", "thoughts_token_count",
                "tool_use_prompt_token_count")  # fmt: skip
_GOOGLES = ("input_modality_", "output_modality_", _CACHED, *_GOOGLES_OWN)
_AS_IT_CAME = usage_object.joined(
    {
        "input_tokens": ("prompt_tokens", "input_tokens"),
        "output_tokens": ("completion_tokens", "output_tokens"),
    },
    usage_object.TOKENS,
)
_ANTHROPICS = frozenset({"cache_read_input_tokens", "cache_creation_input_tokens"})
_WORDS = frozenset({"inference_geo", "service_tier", "speed"})
"""Keys of Anthropic's usage object that are no counts."""
COUNTED = (
    "input", "output", "prompt", "completion", "total", "total_tokens",
    *(name for names in (*_PARTS.values(), *_LIFETIMES.values(), *_AS_IT_CAME.values())
      for name in names),
    *_OF_WRITES.values(),
    *usage_object.CACHE_WRITE_5M,
    *(part for tier in TIERS for part in (f"input_{tier}", f"input_{tier}_cache_read",
      f"input_{tier}_cache_creation", f"output_{tier}", f"output_{tier}_reasoning")),
    *(f"{side}_modality_{name}" for side in ("input", "output", "cached")
      for modality in (*_MODALITIES, *_TEXT) for name in {modality, modality.lower()}),
    *_GOOGLES_OWN,
)  # fmt: skip
"""The buckets whose class is told. Others count as input or output, at its plain price."""


def count(attributes: Attributes) -> Counted:
    """Return input and output as the sums of their buckets; cache and reasoning are beside them."""
    buckets = values.parse(attributes.get(USAGE))
    counts: dict[str, int | None] = dict.fromkeys(TOKEN_FIELDS)
    if not isinstance(buckets, Mapping):
        return Counted(counts)
    if any(isinstance(value, Mapping) for value in buckets.values()) or "prompt_tokens" in buckets:
        return _as_it_came(buckets, counts)
    by_bucket = {
        str(key): values.tokens(value) for key, value in buckets.items() if key not in _WORDS
    }
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
    meters: dict[str, int] = {}
    for key, value in by_bucket.items():
        start, _, modality = key.partition("_modality_")
        kind = _MODALITIES.get(modality.upper())
        if kind is None or not value:
            continue
        names = [f"{'output' if start == 'output' else 'input'}_{kind}_tokens"]
        names += [f"cache_read_{kind}_tokens"] if start == "cached" else []
        for name in names:
            of_kind = counts if name in counts else meters
            of_kind[name] = (of_kind.get(name) or 0) + value
    tools = by_bucket.get("tool_use_prompt_token_count") or 0
    total = by_bucket.get("total")
    return Counted(
        counts, total, (tools, 0), Basis.INCLUSIVE, is_reasoning_outside=True, meters=meters
    )


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


def _as_it_came(buckets: Mapping[str, object], counts: dict[str, int | None]) -> Counted:
    """Return a provider's own usage object, which Langfuse's wrapper of OpenAI's SDK passes on."""
    places = values.places(buckets)
    for name, keys in _AS_IT_CAME.items():
        candidates = (values.tokens(places.get(key)) for key in keys)
        counts[name] = next((count for count in candidates if count is not None), None)
    total = values.tokens(places.get("total_tokens"))
    basis = Basis.INCLUSIVE if _ANTHROPICS.isdisjoint(buckets) else Basis.EXCLUSIVE
    return Counted(counts, total, basis=basis, is_reasoning_outside=False)


def _is_part(key: str, start: str) -> bool:
    if key.endswith("_input_tokens") and not key.startswith("input"):
        return start == "input"
    return key.startswith((start, {"input": "prompt", "output": "completion"}[start]))
