"""Span dialects: what each emitter's spans say, as one `Call`."""

from tallyspan_collector.dialects.otel_genai import read

NEEDLES = (b"gen_ai.", b"llm.", b"openinference.", b"langfuse.", b"traceloop.", b"ai.model.")
"""A scope without any of these bytes holds no LLM call and is not parsed."""

__all__ = ["NEEDLES", "read"]
