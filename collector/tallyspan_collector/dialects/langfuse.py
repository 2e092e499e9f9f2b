"""Langfuse SDKs, and so LibreChat. Source: langfuse `OtelIngestionProcessor.ts`; measured spans."""

import json
import re
from collections.abc import Mapping
from datetime import datetime

from tallyspan_collector.dialects import librechat, usage_object, values
from tallyspan_collector.dialects.langfuse_usage import COUNTED, USAGE, count, tier_of
from tallyspan_collector.dialects.otel_genai import extend
from tallyspan_collector.dialects.table import Attributes, Basis, Loss
from tallyspan_collector.read.call import ABORTED, Draft

_O = "langfuse.observation."
_OM = "langfuse.observation.metadata."
_TM = "langfuse.trace.metadata."
_OF_GOOGLE = frozenset({Loss.THOUGHTS, Loss.VISIBLE_OUTPUT})
"""Streams lack the thoughts. Source: LibreChat packages/api/src/agents/usage.ts."""
_NS_PER_US = 1_000
_REFUSED = re.compile(
    r"(?:Error code: |(?:\w*Error: )+|\[GoogleGenerativeAI Error\]: .{0,300}?\["
    r"|(?=\d{3} (?:\{|status code)))([345]\d\d)\b"
)
"""How the messages of OpenAI's, Anthropic's and Google's SDKs begin, in Python and JavaScript."""
_ABORTED = re.compile(
    r"(?:\w*Error: )*(?:\w*AbortError\b|Request (?:was )?aborted\b|Abort(?:ed)?\Z"
    r"|(?:This|The) (?:operation|user|request) (?:was )?aborted\b|canceled\Z)"
)
"""How those of SDKs begin whose application gave the call up; the provider bills it."""
_BEFORE_THE_NAME = re.compile(r"Error: (?=\w+: )")
"""LangChain.js puts it there."""
_PARAMETERS = f"{_O}model.parameters#"
_IN_USAGE = f"{USAGE}#"


def refine(draft: Draft, attributes: Attributes) -> None:
    """Put right what the buckets alone do not tell, and what LibreChat keeps in other fields."""
    buckets = values.parse(attributes.get(USAGE))
    if isinstance(buckets, Mapping):
        draft["service_tier"] = tier_of(buckets) or draft["service_tier"]
        usage_object.refine(draft, attributes, _IN_USAGE)
    level = values.text(attributes.get(f"{_O}level"))
    if level == "ERROR":
        draft["is_error"] = True
        message = values.text(attributes.get(f"{_O}status_message"))
        draft["error_type"] = draft["error_type"] or _error_type(message)
        if (refused := _REFUSED.match(message)) and not draft["http_status"]:
            draft["http_status"] = int(refused[1])
            draft["usage_source"] = "estimated" if draft["usage"] else "unknown"
    first_chunk = _first_chunk(draft["start_time_ns"], attributes.get(f"{_O}completion_start_time"))
    draft["time_to_first_chunk_us"] = first_chunk
    draft["is_stream"] = draft["is_stream"] or first_chunk is not None
    if librechat.is_librechat(attributes):
        librechat.refine(draft, attributes)


def _error_type(message: str) -> str:
    """Return what the error is called in a status message: its name, as far as it begins so."""
    if _ABORTED.match(message):
        return ABORTED
    return _BEFORE_THE_NAME.sub("", message, count=1).partition(":")[0][:64] or "error"


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
            f"{_TM}user_id", f"{_TM}langfuse_user_id", f"{_PARAMETERS}user",
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
        "service_tier": (f"{_IN_USAGE}service_tier", f"{_PARAMETERS}service_tier"),
    },
    meters=usage_object.at(_IN_USAGE, usage_object.METERS),
    conditions={
        "geo": (f"{_IN_USAGE}inference_geo", f"{_PARAMETERS}inference_geo", f"{_OM}inference_geo"),
    },
    quoted=(_OM, _TM),  # by the Python SDK
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
    usage=(f"{_IN_USAGE}*",),
    harmless={
        f"{_IN_USAGE}*_text*": "the rest of a count whose other parts are read",
        **usage_object.reasons(_IN_USAGE, usage_object.HARMLESS),
    },
    count=count,
    counted=usage_object.under(_IN_USAGE, (*COUNTED, *usage_object.REFINED)),
    refine=refine,
    trust=4,
)  # fmt: skip
