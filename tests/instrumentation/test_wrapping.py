"""Others wrap the same methods, before us and after us: both see the call, each leaves alone."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import urllib3
import wrapt
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import tallyspan
from llm_server import serving

POOL: Any = urllib3.connectionpool.HTTPConnectionPool
BODY = {"model": "gpt-5-mini", "messages": []}
Around = Callable[[Any, list[str]], Any]


def by_wrapt(method: Any, seen: list[str]) -> Any:
    """What the OpenTelemetry instrumentation of urllib3 and others do."""

    def theirs(wrapped: Any, _pool: Any, args: Any, kwargs: Any) -> Any:
        seen.append("theirs")
        return wrapped(*args, **kwargs)

    return wrapt.FunctionWrapper(method, theirs)


def by_hand(method: Any, seen: list[str]) -> Any:
    @functools.wraps(method)
    def theirs(pool: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append("theirs")
        return method.__get__(pool, type(pool))(*args, **kwargs)

    return theirs


AROUND = pytest.mark.parametrize("around", [by_wrapt, by_hand])


@pytest.fixture
def call() -> Iterator[Callable[[], None]]:
    own = POOL.__dict__["urlopen"]
    with serving() as address:
        yield lambda: requests.post(
            address + "/v1/chat/completions", json=BODY, timeout=10
        ).raise_for_status()
    tallyspan.uninstrument()
    POOL.urlopen = own


@AROUND
def test_what_another_has_wrapped_before_is_seen_and_given_back(
    around: Around,
    call: Callable[[], None],
    tracing: tuple[TracerProvider, InMemorySpanExporter],
) -> None:
    seen: list[str] = []
    theirs = POOL.urlopen = around(POOL.__dict__["urlopen"], seen)
    tallyspan.instrument(tracer_provider=tracing[0])
    call()
    tallyspan.uninstrument()

    assert (len(tracing[1].get_finished_spans()), seen) == (1, ["theirs"])
    assert POOL.__dict__["urlopen"] is theirs


@AROUND
def test_what_another_has_wrapped_since_stays_and_ours_is_off(
    around: Around,
    call: Callable[[], None],
    tracing: tuple[TracerProvider, InMemorySpanExporter],
) -> None:
    seen: list[str] = []
    tallyspan.instrument(tracer_provider=tracing[0])
    theirs = POOL.urlopen = around(POOL.__dict__["urlopen"], seen)
    tallyspan.uninstrument()
    call()

    assert POOL.__dict__["urlopen"] is theirs
    assert (len(tracing[1].get_finished_spans()), seen) == (0, ["theirs"])

    tallyspan.instrument(tracer_provider=tracing[0])
    call()

    assert (len(tracing[1].get_finished_spans()), seen) == (1, ["theirs"] * 2)
