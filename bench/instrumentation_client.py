"""One client under measurement: `instrumentation_client.py CLIENT PACKAGE URL`, led through stdin.

Each line `call N` or `stream N` makes N of them and is answered by one line of JSON: the median
time of one, the CPU time of the calling thread per one, and the CPU time per one that is spent
later and elsewhere (`later`: other threads, exporting the spans), all in microseconds. Spans are
exported between the measurements, never during them.
"""

import asyncio
import atexit
import gc
import importlib
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

BODY: dict[str, Any] = {
    "model": "gpt-5-mini",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Say some words. " * 20},
    ],
    "temperature": 0.2,
}
STREAMED = {**BODY, "stream": True, "stream_options": {"include_usage": True}}
INSTRUMENTORS = {
    "tallyspan": "tallyspan.instrumentor:TallyspanInstrumentor",
    "otel-httpx": "opentelemetry.instrumentation.httpx:HTTPXClientInstrumentor",
    "otel-genai-openai": "opentelemetry.instrumentation.genai.openai:OpenAIInstrumentor",
    "openllmetry": "opentelemetry.instrumentation.openai:OpenAIInstrumentor",
    "openinference": "openinference.instrumentation.openai:OpenAIInstrumentor",
}
ASIDE_MS = 3_600_000


def instrument(package: str, url: str) -> Callable[[], object]:
    """Switch the package on; return what exports the spans so far."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    exporter = OTLPSpanExporter(endpoint=url + "/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=ASIDE_MS))
    trace.set_tracer_provider(provider)
    module, _, name = INSTRUMENTORS[package].partition(":")
    getattr(importlib.import_module(module), name)().instrument(tracer_provider=provider)
    return provider.force_flush


def httpx_client(url: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return what makes a call, and what makes a streamed one, with plain httpx."""
    import httpx

    client = httpx.Client(base_url=url)
    path = "/v1/chat/completions"

    def stream() -> None:
        with client.stream("POST", path, json=STREAMED) as response:
            for _ in response.iter_lines():
                pass

    return lambda: client.post(path, json=BODY).json(), stream


def openai_client(url: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return the same two with the openai SDK."""
    import openai

    client = openai.OpenAI(api_key="none", base_url=url + "/v1", max_retries=0)

    def stream() -> None:
        for _ in client.chat.completions.create(**STREAMED):
            pass

    return lambda: client.chat.completions.create(**BODY), stream


def aiohttp_client(url: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return the same two with aiohttp, its event loop running while one is made."""
    import aiohttp

    loop = asyncio.new_event_loop()
    address = url + "/v1/chat/completions"

    async def open_session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    session = loop.run_until_complete(open_session())
    atexit.register(lambda: loop.run_until_complete(session.close()))

    async def call() -> None:
        async with session.post(address, json=BODY) as response:
            await response.json()

    async def stream() -> None:
        async with session.post(address, json=STREAMED) as response:
            async for _ in response.content:
                pass

    def running(make: Callable[[], Awaitable[None]]) -> Callable[[], object]:
        return lambda: loop.run_until_complete(make())

    return running(call), running(stream)


CLIENTS = {"httpx": httpx_client, "openai": openai_client, "aiohttp": aiohttp_client}


def measure(make: Callable[[], object], times: int) -> dict[str, float]:
    """Return the median wall time and the calling thread's CPU time of one, in microseconds."""
    took = []
    cpu = time.thread_time()
    for _ in range(times):
        started = time.perf_counter()
        make()
        took.append(time.perf_counter() - started)
    cpu = time.thread_time() - cpu
    return {"wall": statistics.median(took) * 1e6, "cpu": cpu / times * 1e6}


def main(client: str, package: str, url: str) -> None:
    """Measure what stdin asks for until it ends."""
    flush = instrument(package, url) if package in INSTRUMENTORS else lambda: None
    call, stream = CLIENTS[client](url)
    for line in sys.stdin:
        kind, _, times = line.partition(" ")
        gc.collect()
        cpu = time.process_time()
        sample = measure(call if kind == "call" else stream, int(times))
        flush()
        sample["later"] = (time.process_time() - cpu) / int(times) * 1e6 - sample["cpu"]
        print(json.dumps(sample), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
