"""Langfuse SDKs, and so LibreChat. Source: langfuse `OtelIngestionProcessor.ts`; measured spans.

`usage_details` are disjoint buckets: input is the sum of all that start with `input`. LangChain's
handler makes them of what the provider's package reports.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from tallyspan.usage import TOKEN_FIELDS
from tallyspan_collector.dialects import librechat, values
from tallyspan_collector.dialects.langchain import LIFETIMES, TIERS
from tallyspan_collector.dialects.otel_genai import extend
from tallyspan_collector.dialects.table import Attributes, Basis, Counted, Loss
from tallyspan_collector.read.call import Draft

_O = "langfuse.observation."
_OM = "langfuse.observation.metadata."
_TM = "langfuse.trace.metadata."
_USAGE = f"{_O}usage_details"
_OF_GOOGLE = frozenset({Loss.THOUGHTS, Loss.VISIBLE_OUTPUT})
"""Streams lack the thoughts. Source: LibreChat packages/api/src/agents/usage.ts."""
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
_NS_PER_US = 1_000
_CACHED = "cached_modality_"
_GOOGLES_OWN = ("cached_content_token_count", "thoughts_token_count",
                "tool_use_prompt_token_count")  # fmt: skip
_GOOGLES = ("input_modality_", "output_modality_", _CACHED, *_GOOGLES_OWN)
_REFUSED = re.compile(r"Error code: ([345]\d\d)\b")
"""How the messages of OpenAI's and Anthropic's SDKs begin."""
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


_COUNTED = (
    "input", "output", "prompt", "completion", "total", "total_tokens",
    *(name for names in (*_PARTS.values(), *_LIFETIMES.values(), *_OPENAI.values())
      for name in names),
    *_OF_WRITES.values(),
    *(part for tier in TIERS for part in (f"input_{tier}", f"input_{tier}_cache_read",
      f"input_{tier}_cache_creation", f"output_{tier}", f"output_{tier}_reasoning")),
    *(f"{side}_modality_{name}" for side in ("input", "output", "cached") for name in _MODALITIES),
    *_GOOGLES_OWN,
)  # fmt: skip
"""The buckets whose class is told. Others count as input or output, at its plain price."""


def count(attributes: Attributes) -> Counted:
    """Return input and output as the sums of their buckets; cache and reasoning are beside them."""
    buckets = values.parse(attributes.get(_USAGE))
    counts: dict[str, int | None] = dict.fromkeys(TOKEN_FIELDS)
    if not isinstance(buckets, Mapping):
        return Counted(counts)
    if any(isinstance(value, Mapping) for value in buckets.values()) or "prompt_tokens" in buckets:
        return _as_openai(buckets, counts)
    by_bucket = {str(key): values.tokens(value) for key, value in buckets.items()}
    if -1 in by_bucket.values():
        counts["input_tokens"] = -1
        return Counted(counts)
    tier = _tier(by_bucket)
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


def _tier(by_bucket: Mapping[str, object]) -> str:
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


def refine(draft: Draft, attributes: Attributes) -> None:
    """Put right what the buckets alone do not tell, and what LibreChat keeps in other fields."""
    buckets = values.parse(attributes.get(_USAGE))
    if isinstance(buckets, Mapping):
        draft["service_tier"] = draft["service_tier"] or _tier(buckets)
    level = values.text(attributes.get(f"{_O}level"))
    if level == "ERROR":
        draft["is_error"] = True
        message = values.text(attributes.get(f"{_O}status_message"))
        draft["error_type"] = draft["error_type"] or (message.partition(":")[0][:64] or "error")
        if (refused := _REFUSED.match(message)) and not draft["http_status"]:
            draft["http_status"] = int(refused[1])
            draft["usage_source"] = "estimated" if draft["usage"] else "unknown"
    first_chunk = _first_chunk(draft["start_time_ns"], attributes.get(f"{_O}completion_start_time"))
    draft["time_to_first_chunk_us"] = first_chunk
    draft["is_stream"] = draft["is_stream"] or first_chunk is not None
    if librechat.is_librechat(attributes):
        librechat.refine(draft, attributes)


def _first_chunk(start_time_ns: int, value: object) -> int | None:
    """Return microseconds from the start to the moment in the value; None: it holds no moment."""
    stamp = values.text(value)
    if stamp.startswith('"'):
        try:
            stamp = str(json.loads(stamp))
        except ValueError:
            return None
    try:
        at = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    if at.tzinfo is None:
        return None
    us = round(at.timestamp() * 1_000_000) - start_time_ns // _NS_PER_US
    return us if us >= 0 else None


DIALECT = extend(
    name="langfuse",
    scopes=("langfuse-sdk*",),
    keys=(f"{_O}*",),
    operation=(f"{_O}type",),
    calls={"generation": "chat", "embedding": "embeddings"},
    wrappers=frozenset({"chain", "span", "event", "retriever", "evaluator", "guardrail"}),
    texts={
        "provider_name": (
            f"{_OM}__invoked_provider", f"{_OM}resolvedProvider", f"{_OM}ls_provider",
        ),
        "request_model": (
            f"{_OM}ls_model_name", f"{_OM}model", f"{_OM}__invoked_model", f"{_O}model.name",
        ),
        "response_model": (f"{_O}model.name",),
        "user_id": (
            "user.id", "langfuse.user.id", f"{_OM}user_id", f"{_OM}langfuse_user_id",
            f"{_TM}user_id", f"{_TM}langfuse_user_id", f"{_O}model.parameters#user",
        ),
        "conversation_id": (
            "session.id", "langfuse.session.id", f"{_OM}thread_id", f"{_OM}langfuse_session_id",
            f"{_TM}thread_id",
        ),
        "agent_id": (f"{_OM}agentId", f"{_TM}agentId"),
        "agent_name": (f"{_OM}agentName", f"{_TM}agentName"),
        "department": (f"{_TM}department", f"{_OM}department", f"{_TM}team", f"{_OM}team"),
        "endpoint_id": (f"{_TM}librechat.endpoint",),
        "tenant": (f"{_TM}librechat.tenant.id",),
    },
    claimed_cost=(f"{_O}cost_details",),
    tags=("tallyspan.tag.", f"{_TM}librechat.user."),
    basis={"": Basis.EXCLUSIVE},
    reasoning_outside=frozenset({""}),
    whole_totals=frozenset({""}),
    losses={
        # LangChain's handler takes parts off that Bedrock, xAI and Google report beside the whole
        "aws.bedrock": frozenset({Loss.UNCACHED_INPUT}),
        "x_ai": frozenset({Loss.VISIBLE_OUTPUT}),
        "gcp.gemini": _OF_GOOGLE,
        "gcp.vertex_ai": _OF_GOOGLE,
    },
    usage=(f"{_USAGE}#*",),
    harmless={
        f"{_USAGE}#*_prediction_tokens": "part of the output and billed as such",
        f"{_USAGE}#*_text*": "the rest of a count whose other parts are read",
    },
    count=count,
    counted=tuple(f"{_USAGE}#{bucket}" for bucket in _COUNTED),
    refine=refine,
    trust=4,
)  # fmt: skip
