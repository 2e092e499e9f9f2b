"""Spans of Anthropic's SDKs and of the Claude API's own export. Input includes the cache.

Compaction is billed on top of the answer. Sources: anthropic-sdk-python lib/_tracing; Claude
platform docs, api/opentelemetry.
"""

from tallyspan_collector.dialects.otel_genai import extend
from tallyspan_collector.dialects.usage_object import CONDITIONS, HARMLESS, METERS, at, reasons

DIALECT = extend(
    name="anthropic",
    scopes=("com.anthropic.*",),
    services=("claude-platform",),
    keys=("anthropic.request.id",),
    added={
        "input_tokens": ("anthropic.usage.compaction.input_tokens",),
        "output_tokens": ("anthropic.usage.compaction.output_tokens",),
    },
    meters=at("anthropic.usage.", METERS),
    conditions=at("anthropic.usage.", CONDITIONS),
    usage=("anthropic.usage.*",),
    harmless=reasons("anthropic.usage.", HARMLESS),
    trust=1,
)
