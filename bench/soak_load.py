"""The calls that `soak.py` sends: of every third one the trace is split over two requests."""

import random
import time
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

MODEL, PROVIDER = "gpt-4o-2024-08-06", "openai"
SPANS = 20
OURS, OTHERS, AGENTS = "tallyspan", "opentelemetry.instrumentation.openai", "pydantic-ai"


def requests(chance: random.Random) -> tuple[list[bytes], list[tuple[int, int]]]:
    """Return calls, the other spans of their traces, and the tokens of each call."""
    both = ExportTraceServiceRequest(), ExportTraceServiceRequest()
    scopes = {}
    for request in both:
        scope_spans = request.resource_spans.add().scope_spans
        for name in (OURS, OTHERS, AGENTS):
            scope = scopes[id(request), name] = scope_spans.add()
            scope.scope.name = name
    calls, others = both
    tokens = []
    for _ in range(SPANS):
        call = scopes[id(calls), OURS].spans.add()
        call.trace_id, call.span_id = chance.randbytes(16), chance.randbytes(8)
        call.start_time_unix_nano = time.time_ns() - chance.randrange(3 * 86_400) * 10**9
        call.end_time_unix_nano = call.start_time_unix_nano + 10**9
        input_tokens, output_tokens = chance.randrange(1, 5000), chance.randrange(1, 900)
        tokens.append((input_tokens, output_tokens))
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": PROVIDER,
            "gen_ai.request.model": MODEL, "gen_ai.response.model": MODEL,
            "gen_ai.usage.input_tokens": input_tokens, "gen_ai.usage.output_tokens": output_tokens,
            "tallyspan.usage.source": "provider",
        }  # fmt: skip
        user = {"user.id": f"u{chance.randrange(200)}"}
        kind = chance.choice(("around", "beside", "agent")) if chance.random() < 1 / 3 else ""
        if kind == "beside":
            call.parent_span_id = bytes(7) + b"1"
            attributes["gen_ai.response.id"] = f"chatcmpl-{chance.randbytes(16).hex()}"
        if kind:
            name = AGENTS if kind == "agent" else OTHERS
            other = scopes[id(others), name].spans.add()
            other.CopyFrom(call)
            other.span_id = chance.randbytes(8)
            if kind == "agent":
                _add(other, user | {"gen_ai.operation.name": "invoke_agent"})
            else:
                _add(other, attributes)
            if kind != "beside":
                call.parent_span_id = other.span_id
        _add(call, attributes if kind == "agent" else attributes | user)
    return [each.SerializeToString() for each in both], tokens


def _add(span: Span, attributes: dict[str, Any]) -> None:
    for key, value in attributes.items():
        pair = span.attributes.add()
        pair.key = key
        if isinstance(value, int):
            pair.value.int_value = value
        else:
            pair.value.string_value = value
