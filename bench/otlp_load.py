"""OTLP load: requests made beforehand, each time with trace ids nobody has seen, N in flight."""

import asyncio
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
MARK = b"\xf5TALLYS"
"""First bytes of every trace id of a prepared request; sending replaces them."""
MODELS = (
    ("openai", "gpt-4o", "gpt-4o-2024-08-06", "api.openai.com"),
    ("openai", "gpt-4o-mini", "gpt-4o-mini-2024-07-18", "api.openai.com"),
    ("openai", "gpt-4.1", "gpt-4.1-2025-04-14", "api.openai.com"),
    ("anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "api.anthropic.com"),
    ("anthropic", "claude-haiku-4-5", "claude-haiku-4-5-20251001", "api.anthropic.com"),
    ("gcp.gemini", "gemini-2.5-flash", "gemini-2.5-flash", "generativelanguage.googleapis.com"),
)


@dataclass
class Sent:
    """What was acknowledged: spans, requests, refusals, and how long each acknowledgement took."""

    spans: int = 0
    requests: int = 0
    refused: int = 0
    seconds: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Return the milliseconds that this share of acknowledgements took at most."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3


def prepare(spans: int, genai_share: float, seed: int, start_ns: int) -> bytes:
    """Return a request of so many spans, the given share of them LLM calls, the rest HTTP."""
    chance = random.Random(seed)
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    for key, named in {
        "service.name": f"svc-{seed % 8}",
        "service.version": "1.4.2",
        "deployment.environment.name": "production",
        "host.name": f"node-{seed % 8}",
        "telemetry.sdk.language": "python",
    }.items():
        _put(resource.resource.attributes, key, named)
    scopes = []
    for name in ("opentelemetry.instrumentation.openai_v2", "opentelemetry.instrumentation.httpx"):
        scope = resource.scope_spans.add()
        scope.scope.name, scope.scope.version = name, "2.4b0"
        scopes.append(scope)
    for number in range(spans):
        is_call = chance.random() < genai_share
        span = scopes[0 if is_call else 1].spans.add()
        span.trace_id = MARK + chance.randbytes(9)
        span.span_id, span.parent_span_id = chance.randbytes(8), chance.randbytes(8)
        span.kind = 3  # type: ignore[assignment]  # the enum is an int
        span.start_time_unix_nano = start_ns + number * 10**6
        span.end_time_unix_nano = span.start_time_unix_nano + chance.randrange(10**8, 5 * 10**9)
        attributes = _call(chance) if is_call else _http(chance)
        span.name = "chat" if is_call else "GET"
        for key, value in attributes.items():
            _put(span.attributes, key, value)
    return request.SerializeToString()


CALLS_A_TRACE = 4


def five_a_trace(spans: int, seed: int, start_ns: int) -> bytes:
    """Return a request of LLM calls of which five are beside each other in a trace."""
    request = ExportTraceServiceRequest.FromString(prepare(spans, 1.0, seed, start_ns))
    calls = request.resource_spans[0].scope_spans[0].spans
    for number, call in enumerate(calls):
        first = calls[number - number % (CALLS_A_TRACE + 1)]
        call.trace_id, call.parent_span_id = first.trace_id, first.parent_span_id
    return request.SerializeToString()


def agents(spans: int, seed: int, start_ns: int) -> bytes:
    """Return a request of agents' traces: a wrapper, and four LLM calls that have its user."""
    request = ExportTraceServiceRequest.FromString(prepare(spans, 1.0, seed, start_ns))
    of_calls, others = request.resource_spans[0].scope_spans
    calls = of_calls.spans
    for first in range(0, spans, CALLS_A_TRACE + 1):
        agent, inside = calls[first], calls[first + 1 : first + 1 + CALLS_A_TRACE]
        agent.kind, agent.parent_span_id = 1, b""  # type: ignore[assignment]  # the enum is an int
        agent.name = "invoke_agent"
        named = {pair.key: pair for pair in agent.attributes}
        del agent.attributes[:]
        agent.attributes.extend(named[key] for key in _OF_AGENTS)
        _put(agent.attributes, "gen_ai.operation.name", "invoke_agent")
        for call in inside:
            call.trace_id, call.parent_span_id = agent.trace_id, agent.span_id
            own = [pair for pair in call.attributes if pair.key not in _OF_AGENTS]
            del call.attributes[:]
            call.attributes.extend(own)
    others.scope.name = "agents"
    others.spans.extend(calls[:: CALLS_A_TRACE + 1])
    for place in range(
        (spans - 1) // (CALLS_A_TRACE + 1) * (CALLS_A_TRACE + 1), -1, -CALLS_A_TRACE - 1
    ):
        del calls[place]
    return request.SerializeToString()


_OF_AGENTS = ("gen_ai.agent.name", "gen_ai.conversation.id", "user.id")
LOADS: dict[str, Callable[[int, int, int], bytes]] = {
    "genai": lambda spans, seed, start_ns: prepare(spans, 1.0, seed, start_ns),
    "mixed": lambda spans, seed, start_ns: prepare(spans, 0.5, seed, start_ns),
    "five_a_trace": five_a_trace,
    "agents": agents,
}
"""By name: a request of so many spans, by a seed and the time of its first."""


def _call(chance: random.Random) -> dict[str, object]:
    provider, model, answered, host = chance.choice(MODELS)
    input_tokens = int(chance.lognormvariate(6.5, 1.2)) + 1
    output_tokens = int(chance.lognormvariate(5.0, 1.0)) + 1
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        "gen_ai.response.model": answered,
        "gen_ai.response.id": f"chatcmpl-{chance.getrandbits(128):032x}",
        "gen_ai.request.max_tokens": chance.choice([256, 1024, 4096]),
        "gen_ai.request.temperature": chance.choice([0.0, 0.2, 0.7]),
        "gen_ai.request.top_p": 1.0,
        "gen_ai.request.stream": chance.random() < 0.5,
        "gen_ai.response.finish_reasons": [chance.choice(["stop", "stop", "length"])],
        "gen_ai.usage.input_tokens": input_tokens,
        "gen_ai.usage.output_tokens": output_tokens,
        "gen_ai.usage.cache_read.input_tokens": input_tokens // 3,
        "gen_ai.usage.cache_creation.input_tokens": input_tokens // 9,
        "gen_ai.usage.reasoning.output_tokens": output_tokens // 2,
        "gen_ai.response.time_to_first_chunk": chance.random(),
        "gen_ai.conversation.id": f"conv_{chance.getrandbits(64):016x}",
        "gen_ai.agent.name": chance.choice(["router", "researcher", "writer"]),
        "gen_ai.output.type": "text",
        "server.address": host,
        "server.port": 443,
        "openai.response.service_tier": "default",
        "app.team": chance.choice(["search", "support", "growth"]),
        "user.id": f"u{chance.randrange(50_000):06d}",
        "tallyspan.department": chance.choice(["Support", "Sales", "R&D"]),
    }


def _http(chance: random.Random) -> dict[str, object]:
    return {
        "http.request.method": "GET",
        "url.full": f"https://orders.internal/api/v2/orders/{chance.randrange(10**7)}",
        "http.response.status_code": chance.choice([200, 200, 404]),
        "server.address": "orders.internal",
        "server.port": 8443,
        "network.peer.address": f"127.0.0.{chance.randrange(1, 255)}",
        "user_agent.original": "python-httpx/0.28.1",
    }


def _put(attributes: Any, key: str, value: object) -> None:
    pair = attributes.add()
    pair.key = key
    match value:
        case bool():
            pair.value.bool_value = value
        case int():
            pair.value.int_value = value
        case float():
            pair.value.double_value = value
        case list():
            for item in value:
                pair.value.array_value.values.add().string_value = item
        case _:
            pair.value.string_value = str(value)


async def send(
    address: str, requests: list[bytes], spans: int, in_flight: int, seconds: float
) -> Sent:
    """Keep so many requests in flight for so long, at least one from each sender.

    A refused one is sent again after 50 ms.
    """
    sent = Sent()
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(4)]
    calls = [channel.unary_unary(EXPORT) for channel in channels]

    async def sender(number: int) -> None:
        call = calls[number % len(calls)]
        turn = number
        while True:
            body = requests[turn % len(requests)].replace(MARK, os.urandom(len(MARK)))
            turn += 1
            while True:
                started = time.perf_counter()
                try:
                    await call(body, timeout=60)
                except grpc.RpcError:
                    sent.refused += 1
                    await asyncio.sleep(0.05)
                    continue
                break
            sent.seconds.append(time.perf_counter() - started)
            sent.requests += 1
            sent.spans += spans
            if time.monotonic() >= until:
                return

    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    until = time.monotonic() + seconds
    await asyncio.gather(*(sender(number) for number in range(in_flight)))
    for channel in channels:
        await channel.close()
    return sent


def cpu_and_memory(pid: int) -> tuple[float, float]:
    """Return CPU seconds used so far and resident MB of one process, its children left out."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    tick = os.sysconf("SC_CLK_TCK")
    return (int(fields[11]) + int(fields[12])) / tick, int(fields[21]) * 4096 / 1e6
