"""Langfuse SDKs, and so LibreChat. Source: langfuse `OtelIngestionProcessor.ts`; measured spans.

`usage_details` are disjoint buckets: input is the sum of all that start with `input`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.dialects import librechat, values
from tallyspan_collector.dialects.otel_genai import extend
from tallyspan_collector.dialects.table import Attributes, Counted
from tallyspan_collector.read.call import Draft, Flag

_O = "langfuse.observation."
_OM = "langfuse.observation.metadata."
_TM = "langfuse.trace.metadata."
_USAGE = f"{_O}usage_details"
_PARTS = {
    "cache_read_tokens": ("input_cached_tokens", "input_cache_read", "cache_read_input_tokens",
                          "input_cache_read_input_tokens"),
    "cache_write_tokens": ("input_cache_creation", "cache_creation_input_tokens",
                           "input_cache_creation_input_tokens", "input_cache_write"),
    "cache_write_1h_tokens": ("input_cache_creation_1h", "input_cache_creation_ephemeral_1h"),
    "reasoning_tokens": ("output_reasoning", "output_reasoning_tokens"),
    "input_audio_tokens": ("input_audio", "input_audio_tokens"),
    "output_audio_tokens": ("output_audio", "output_audio_tokens"),
}  # fmt: skip
_FIVE_MINUTES = ("input_cache_creation_5m", "input_cache_creation_ephemeral_5m")
_NS_PER_US = 1_000
_REFUSED = re.compile(r"Error code: ([345]\d\d)\b")
"""How the messages of OpenAI's and Anthropic's SDKs begin."""
_BEDROCK, _GOOGLE = "aws.bedrock", frozenset({"gcp.vertex_ai", "gcp.gemini"})
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
    "input", "output", "prompt", "completion", "total", "total_tokens", *_FIVE_MINUTES,
    *(bucket for table in (_PARTS, _OPENAI) for buckets in table.values() for bucket in buckets),
)  # fmt: skip
"""The buckets whose class is told. Others count as input or output, at its plain price."""


def count(attributes: Attributes) -> Counted:
    """Return input and output as the sums of their buckets, with two repairs for Langfuse."""
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
    for name, keys in _PARTS.items():
        counts[name] = _first(by_bucket, keys)
    five = _first(by_bucket, _FIVE_MINUTES)
    hour = counts["cache_write_1h_tokens"]
    if counts["cache_write_tokens"] is None and (five is not None or hour is not None):
        counts["cache_write_tokens"] = (five or 0) + (hour or 0)
    for name, start in (("input_tokens", "input"), ("output_tokens", "output")):
        # Anthropic's own two names are buckets of the input as well
        own = [v for key, v in by_bucket.items() if v is not None and _is_part(key, start)]
        counts[name] = sum(own) if own else None
    return Counted(counts, by_bucket.get("total"), is_settled=True)


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
    return Counted(counts, values.tokens(places.get("total_tokens")))


def _is_part(key: str, start: str) -> bool:
    if key.endswith("_input_tokens") and not key.startswith("input"):
        return start == "input"
    return key.startswith((start, {"input": "prompt", "output": "completion"}[start]))


def refine(draft: Draft, attributes: Attributes) -> None:
    """Put right what the buckets alone do not tell, and what LibreChat keeps in other fields."""
    if draft["provider_name"] in _GOOGLE or draft["provider_name"] == _BEDROCK:
        _repair(draft, values.parse(attributes.get(_USAGE)))
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


def _repair(draft: Draft, buckets: object) -> None:
    """Conclude from the total a count that is reported wrongly for two providers.

    Bedrock with a cache: input clamped at 0 (LibreChat agents before 2026-07-12). Google's streams:
    output without thinking. Source: LibreChat packages/api/src/agents/usage.ts.
    """
    total = values.tokens(buckets.get("total")) if isinstance(buckets, Mapping) else None
    usage: Usage = draft["usage"]
    input_tokens, output_tokens = usage.input_tokens, usage.output_tokens
    if not total or input_tokens is None or output_tokens is None:
        return
    gap = total - input_tokens - output_tokens
    if gap <= 0:
        return
    if draft["provider_name"] in _GOOGLE:
        draft["usage"] = replace(usage, output_tokens=output_tokens + gap)
    elif usage.cache_read_tokens:
        draft["usage"] = replace(usage, input_tokens=input_tokens + gap)
    else:
        return
    draft["quality_flags"] = (*draft["quality_flags"], Flag.TOTAL_REPAIRED)


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
