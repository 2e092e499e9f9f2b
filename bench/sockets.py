"""What a message on a WebSocket costs the thread that reads it, with us and without, in one run.

    python bench/sockets.py [--rounds 20] [--messages 2000]

A server on loopback sends a response of OpenAI Realtime: many messages with sound, and the events
around them. The client of websockets with asyncio reads it in this thread, in turn with and
without our instrumentation. Printed is CPU time of this thread by message, the median of the
rounds: without us, and what we add to it. What is read later, by the thread that reads answers, is
`.later`, by response. `.hostile` is what a message of 100 MB costs us, in all threads.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from websockets.asyncio.client import connect
from websockets.sync.server import ServerConnection, serve

import tallyspan
from tallyspan import __version__
from tallyspan.exchange import settle
from tallyspan.sampling import CallTracer
from tallyspan.session import open_session

SOUND = "A" * 8192
"""A quarter of a second of PCM at 24 kHz is 12,000 bytes, 16,000 in base64; events have less."""
HOSTILE_BYTES = 100 << 20


def events(number: int, messages: int) -> list[str]:
    """Return the messages of a response."""
    about = {"id": f"resp_{number}", "object": "realtime.response", "status": "completed"}
    usage = {"input_tokens": 100, "output_tokens": 50, "total_tokens": 150}
    sound = {"type": "response.output_audio.delta", "response_id": about["id"], "delta": SOUND}
    return [
        json.dumps({"type": "response.created", "response": about}),
        *[json.dumps(sound)] * messages,
        json.dumps({"type": "response.done", "response": about | {"usage": usage}}),
    ]


@contextmanager
def server(messages: int) -> Iterator[str]:
    """Yield the address of a server that sends one response to whoever connects."""

    def answer(connection: ServerConnection) -> None:
        for number, event in enumerate(events(time.time_ns(), messages)):
            connection.send(event)
            if number == 0:
                connection.recv()

    with serve(answer, "127.0.0.1", 0, compression=None) as listening:
        thread = Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield "ws://{}:{}/v1/realtime?model=m".format(*listening.socket.getsockname()[:2])
        finally:
            listening.shutdown()
            thread.join()


def read(address: str) -> float:
    """Return the CPU seconds that this thread takes to read a response."""

    async def run() -> float:
        async with connect(address, compression=None) as connection:
            await connection.recv()
            await connection.send('{"type": "response.create"}')
            begin = time.thread_time()
            async for _ in connection:
                pass
            return time.thread_time() - begin

    return asyncio.run(run())


def later(provider: TracerProvider) -> float:
    """Return the CPU seconds that reading what waits takes."""
    begin = time.process_time()
    provider.force_flush()
    return time.process_time() - begin


def hostile() -> float:
    """Return the CPU seconds that a message of 100 MB costs us."""
    provider = TracerProvider()
    tracer = CallTracer(provider, "bench", __version__, is_always_on=True, settle=settle)
    session = open_session(tracer, ("wss", "api.openai.com", None, "/v1/realtime", ""))
    assert session is not None
    message = b'{"type": "response.done", "x": "' + b"A" * HOSTILE_BYTES
    begin = time.process_time()
    session.received(message)
    provider.force_flush()
    seconds = time.process_time() - begin
    provider.shutdown()
    return seconds


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--messages", type=int, default=2000)
    options = parser.parse_args()
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
    samples: dict[str, list[float]] = {"bare": [], "ours": [], "later": []}
    with server(options.messages) as address:
        read(address)
        for _ in range(options.rounds):
            bare = read(address)
            tallyspan.instrument(tracer_provider=provider)
            instrumented = read(address)
            samples["later"].append(later(provider))
            tallyspan.uninstrument()
            samples["bare"].append(bare / options.messages)
            samples["ours"].append((instrumented - bare) / options.messages)
    median: dict[str, Any] = {name: statistics.median(each) * 1e6 for name, each in samples.items()}
    print(f"sockets.message {median['bare']:.2f} us")
    print(f"sockets.message.ours {median['ours']:.2f} us")
    print(f"sockets.response.later {median['later']:.0f} us")
    print(f"sockets.hostile {hostile() * 1e6:.0f} us")


if __name__ == "__main__":
    main()
