"""OpenTelemetry GenAI conventions, from 1.26 to today's: every name a version has had is taken.

Input includes cache reads and writes (1.40 and later say so). An emitter that reports less input
than cache can only mean it without: then the parts are added up.
"""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from tallyspan import semconv
from tallyspan.answer import amount, count
from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.call import CALL_OPERATIONS, Call
from tallyspan_collector.otlp import Span

PROVIDERS = {
    "openai.chat": "openai",
    "openai.responses": "openai",
    "azure": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "az.ai.openai": "azure.ai.openai",
    "az.ai.inference": "azure.ai.inference",
    "anthropic.messages": "anthropic",
    "aws": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "amazon-bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "google_genai": "gcp.gemini",
    "google.generative-ai": "gcp.gemini",
    "gcp.gen_ai": "gcp.gemini",
    "vertexai": "gcp.vertex_ai",
    "vertex_ai": "gcp.vertex_ai",
    "google.vertex": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "xai": "x_ai",
}
"""Spellings of `gen_ai.provider.name` and the older `gen_ai.system`, folded into today's names."""

TOKEN_ALIASES: dict[str, tuple[str, ...]] = {
    "input_tokens": ("gen_ai.usage.prompt_tokens",),
    "output_tokens": ("gen_ai.usage.completion_tokens",),
    "cache_read_tokens": ("gen_ai.usage.cache_read_input_tokens",),
    "cache_write_tokens": (
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
    ),
    "cache_write_1h_tokens": ("anthropic.usage.cache_creation.ephemeral_1h_input_tokens",),
    "reasoning_tokens": ("gen_ai.usage.reasoning_tokens",),
}
"""Older or vendors' names of a count, behind the current one."""

_TIERS = ("openai.response.service_tier", "anthropic.response.service_tier")
_PLAIN_DECIMAL = re.compile(r"\d{1,6}(?:\.\d{1,30})?$")


def read(span: Span) -> Call | None:
    """Return the call the span is, or None: another operation, a wrapper, no GenAI span at all."""
    said = span.attributes
    operation = _text(said, semconv.OPERATION)
    provider = _text(said, semconv.PROVIDER, "gen_ai.system")
    model = _text(said, semconv.REQUEST_MODEL)
    response_model = _text(said, semconv.RESPONSE_MODEL)
    if operation not in CALL_OPERATIONS or not (provider or model or response_model):
        return None
    usage = read_usage(said)
    error_type = _text(said, semconv.ERROR_TYPE)
    server = _text(said, semconv.SERVER_ADDRESS)
    status = count(said.get(semconv.HTTP_STATUS)) or 0
    reasons = said.get(semconv.FINISH_REASONS)
    return Call(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        start_time_ns=span.start_time_ns,
        end_time_ns=max(span.end_time_ns, span.start_time_ns),
        provider_name=PROVIDERS.get(provider.lower(), provider.lower()),
        operation_name=operation,
        request_model=model,
        response_model=response_model,
        endpoint_id=_text(said, semconv.ENDPOINT_ID) or server,
        server_address=server,
        service_name=_text(span.resource, "service.name"),
        service_tier=_text(said, semconv.SERVICE_TIER, *_TIERS),
        user_id=_text(said, semconv.USER_ID, "enduser.id"),
        department=_text(said, semconv.DEPARTMENT)
        or _text(span.resource, semconv.DEPARTMENT, "department"),
        agent_id=_text(said, semconv.AGENT_ID),
        agent_name=_text(said, semconv.AGENT_NAME),
        conversation_id=_text(said, semconv.CONVERSATION_ID, "session.id"),
        tags={
            key.removeprefix(semconv.TAG_PREFIX): str(value)
            for key, value in said.items()
            if key.startswith(semconv.TAG_PREFIX)
        },
        units={
            key.removeprefix(semconv.UNITS_PREFIX): units
            for key, value in said.items()
            if key.startswith(semconv.UNITS_PREFIX) and (units := amount(value)) is not None
        },
        part=_text(said, semconv.CALL_PART),
        same_call_id=_text(said, semconv.CALL_ID),
        is_stream=said.get(semconv.REQUEST_STREAM) is True,
        is_error=bool(error_type) or span.is_error,
        error_type=error_type,
        http_status=status,
        finish_reason=str(reasons[0]) if isinstance(reasons, list) and reasons else "",
        usage=usage,
        usage_source=_text(said, semconv.USAGE_SOURCE) or ("provider" if usage else "unknown"),
        reported_cost_picousd=_picousd(said.get(semconv.REPORTED_COST_USD)),
        time_to_first_chunk_us=_microseconds(said.get(semconv.TIME_TO_FIRST_CHUNK)),
        response_id=_text(said, semconv.RESPONSE_ID),
        scope_name=span.scope_name,
    )


def read_usage(said: Mapping[str, object]) -> Usage:
    """Return the counts, cache included in the input; what is no plausible count is not stated."""
    counts = {field: _tokens(said, field) for field in TOKEN_FIELDS}
    cache = (counts["cache_read_tokens"] or 0) + (counts["cache_write_tokens"] or 0)
    given = counts["input_tokens"]
    if given is not None and cache > given:
        counts["input_tokens"] = given + cache
    return Usage(**counts)


def _tokens(said: Mapping[str, object], field: str) -> int | None:
    for name in (semconv.USAGE_ATTRIBUTES[field], *TOKEN_ALIASES.get(field, ())):
        value = said.get(name)
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value)
        tokens = count(value)
        if tokens is not None:
            return tokens
    return None


def _text(said: Mapping[str, object], *names: str) -> str:
    for name in names:
        value = said.get(name)
        if value is not None and value != "":
            return str(value)
    return ""


def _picousd(value: object) -> int | None:
    if not isinstance(value, str) or not _PLAIN_DECIMAL.match(value):
        return None
    try:
        return int((Decimal(value) * 10**12).to_integral_value())
    except InvalidOperation:
        return None


def _microseconds(seconds: object) -> int | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        return None
    return int(min(seconds, 1e9) * 1_000_000)
