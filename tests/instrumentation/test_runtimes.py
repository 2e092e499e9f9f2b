"""Threads, tasks, trio, gevent, fork, process exit: a call is one span wherever it is made."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import trio
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import tallyspan
from llm_server import serving
from tallyspan import semconv
from tallyspan.estimate import estimator

BODY = {"model": "gpt-5-mini", "messages": []}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving() as url:
        yield url + "/v1/chat/completions"


def said(spans: InMemorySpanExporter) -> list[dict[str, Any]]:
    estimator.flush()
    return [dict(span.attributes or {}) for span in spans.get_finished_spans()]


def test_threads_keep_their_users_apart(spans: InMemorySpanExporter, server: str) -> None:
    def call(number: int) -> None:
        with tallyspan.attribution(user_id=f"u{number}"), httpx.Client() as client:
            client.post(server, json=BODY)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(each[semconv.USER_ID] for each in said(spans)) == sorted(
        f"u{number}" for number in range(16)
    )


def test_trio_is_no_different(spans: InMemorySpanExporter, server: str) -> None:
    async def call() -> None:
        async with httpx.AsyncClient() as client:
            with tallyspan.attribution(user_id="ada"):
                await client.post(server, json=BODY)
            async with client.stream("POST", server, json={**BODY, "stream": True}) as response:
                async for _ in response.aiter_bytes():
                    pass

    trio.run(call)
    first, second = said(spans)
    assert (first[semconv.USER_ID], first["gen_ai.usage.input_tokens"]) == ("ada", 9)
    assert (semconv.USER_ID in second, second["gen_ai.usage.output_tokens"]) == (False, 4)


def test_a_task_cancelled_in_mid_stream_ends_its_span(
    spans: InMemorySpanExporter, server: str
) -> None:
    async def run() -> None:
        begun = asyncio.Event()

        async def read() -> None:
            async with (
                httpx.AsyncClient() as client,
                client.stream("POST", server, json={**BODY, "stream": True}) as response,
            ):
                async for _ in response.aiter_bytes():
                    begun.set()
                    await asyncio.sleep(60)

        task = asyncio.create_task(read())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    (call,) = said(spans)
    assert call[semconv.RESPONSE_ID] == "c1"


def child(program: str, *arguments: str, seconds: float = 60, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True, text=True, timeout=seconds, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


PIPELINE = """
import json, os, sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
import tallyspan
from tallyspan.estimate import estimator
exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
BODY = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}]}
def tell():
    estimator.flush()
    print(json.dumps([dict(s.attributes) for s in exporter.get_finished_spans()]), flush=True)
"""


@pytest.mark.process
def test_gevent_is_no_different(server: str) -> None:
    program = (
        "from gevent import monkey; monkey.patch_all()\nimport gevent\n"
        + PIPELINE
        + """
import requests
tallyspan.instrument(tracer_provider=provider)
def call(n):
    with tallyspan.attribution(user_id=f"u{n}"):
        requests.post(sys.argv[1], json=BODY)
gevent.joinall([gevent.spawn(call, n) for n in range(8)])
tell()
"""
    )
    found = json.loads(child(program, server))

    assert sorted(each[semconv.USER_ID] for each in found) == [f"u{n}" for n in range(8)]
    assert {each["gen_ai.usage.input_tokens"] for each in found} == {9}


@pytest.mark.process
def test_after_a_fork_both_processes_go_on(server: str) -> None:
    program = (
        PIPELINE
        + """
import httpx
tallyspan.instrument(tracer_provider=provider)
def call(stream):
    with httpx.Client() as client, client.stream("POST", sys.argv[1], json={**BODY, "stream": stream}) as r:
        next(r.iter_bytes())  # and cut: its tokens are counted in our thread
call(True)
estimator.flush()
exporter.clear()
pid = os.fork()
call(True)
if pid:
    os.waitpid(pid, 0)  # one after the other, or their lines could run into each other
tell()
if pid == 0:
    os._exit(0)
"""
    )
    lines = child(program, server).splitlines()

    assert len(lines) == 2
    for line in lines:
        (call,) = json.loads(line)
        assert call[semconv.USAGE_SOURCE] == "estimated"


@pytest.mark.process
def test_a_fork_while_a_vocabulary_is_loaded_leaves_a_child_that_counts(server: str) -> None:
    program = (
        PIPELINE
        + """
import time
from tallyspan import tokenizer
loaded = []
estimator.submit(lambda: loaded.append(tokenizer.count("hi", "gpt-5")))
while not tokenizer._loading.locked():
    time.sleep(0.001)
pid = os.fork()
if pid == 0:
    estimator.submit(lambda: loaded.append(tokenizer.count("hi", "gpt-5")))
    estimator.flush(30)
    print(loaded[-1:], os.environ.get("TIKTOKEN_CACHE_DIR"), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
"""
    )
    assert child(program, server).split() == ["[1]", "None"]


@pytest.mark.process
def test_a_process_that_cannot_export_still_exits_soon(server: str) -> None:
    program = """
import atexit, sys, httpx
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
export, results = OTLPSpanExporter.export, []
OTLPSpanExporter.export = lambda *args: results.append(export(*args).name)
atexit.register(lambda: print(results))
import tallyspan
tallyspan.instrument()
httpx.post(sys.argv[1], json={"model": "gpt-5-mini", "messages": []})
"""
    attempts = child(
        program,
        server,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
    )
    assert attempts == "['FAILURE']\n"  # once, and nobody waits for another chance


# LiteLLM leaves event loops and sockets to the garbage collector.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("is_async", [False, True])
def test_litellm_is_seen_through_its_own_transport(
    spans: InMemorySpanExporter, server: str, *, is_async: bool
) -> None:
    litellm = pytest.importorskip("litellm")
    options = {
        "model": "openai/gpt-5-mini",
        "messages": [{"role": "user", "content": "hi"}],
        "api_base": server.removesuffix("/chat/completions"),
        "api_key": "k",
    }
    if is_async:
        asyncio.run(litellm.acompletion(**options))
    else:
        litellm.completion(**options)

    (call,) = said(spans)
    assert (call["gen_ai.usage.input_tokens"], call["gen_ai.usage.output_tokens"]) == (9, 4)


@pytest.mark.process
def test_a_library_that_is_imported_later_sends_to_the_provider_of_now(server: str) -> None:
    program = (
        PIPELINE
        + """
tallyspan.instrument(tracer_provider=TracerProvider())
tallyspan.uninstrument()
tallyspan.instrument(tracer_provider=provider)
import requests
requests.post(sys.argv[1], json=BODY)
tell()
"""
    )
    (call,) = json.loads(child(program, server))

    assert call["gen_ai.usage.input_tokens"] == 9


@pytest.mark.process
def test_what_is_still_to_be_counted_at_exit_is_counted_and_exported(server: str) -> None:
    program = """
import sys, httpx, tallyspan.instrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
tallyspan.instrument(tracer_provider=provider)
body = {"model": "gpt-5-mini", "stream": True, "messages": []}
with httpx.Client() as client, client.stream("POST", sys.argv[1], json=body) as response:
    next(response.iter_bytes())
"""
    call = json.loads(child(program, server))

    assert call["attributes"][semconv.USAGE_SOURCE] == "estimated"
