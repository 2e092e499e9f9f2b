"""What real packages emitted for recorded calls, read and resolved: the calls the recordings say."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tallyspan.usage import TOKEN_FIELDS
from tallyspan_collector.dialects import Reader, Reading
from tallyspan_collector.ingest.door import admit, admit_logs
from tallyspan_collector.read import otlp
from tallyspan_collector.read.call import Call
from tallyspan_collector.read.otlp import Span
from tallyspan_collector.resolution.resolver import Resolver

CASES = sorted(Path(__file__).parent.glob("*/*.json"))
STATED_OTHERWISE: dict[str, dict[str, int | None]] = {
    # it adds the placeholder of the stream's first event to the answer's tokens
    "openllmetry_anthropic/messages_stream": {"output_tokens": 60},
    # the same placeholder; their doubled input is put right
    "librechat_agents_3_1/cached": {"output_tokens": 34},
    "librechat_agents_3_1/uncached": {"output_tokens": 60},
    # LangChain.js adds the same placeholder to streams of Anthropic's
    "langchain_js_openinference/messages_stream": {"output_tokens": 60},
    "langchain_js_openinference/messages_cached_stream": {"output_tokens": 34},
    "langchain_js_openllmetry/messages_stream": {"output_tokens": 60},
    "langchain_js_openllmetry/messages_cached_stream": {"output_tokens": 34},
    # Anthropic's input is without the cache, and nothing says how much that is
    "langchain_js_openllmetry/messages_cached": {"input_tokens": 3},
    # their spans of streamed answers say nothing of usage
    "openinference_js_openai/chat_stream": {"input_tokens": None, "output_tokens": None},
    "openllmetry_js_openai/chat_stream": {"input_tokens": None, "output_tokens": None},
    "openllmetry_openai_0_40/chat_stream": {"input_tokens": None, "output_tokens": None},
    "openllmetry_anthropic_0_40/messages_stream": {"input_tokens": None, "output_tokens": None},
    # Anthropic's input is without the cache, and nothing says how much that is
    "vercel_ai_3/messages_cached": {"input_tokens": 3},
    "vercel_ai_3/messages_cached_stream": {"input_tokens": 3},
    # an answer that is no stream: the total alone has the cache, so the call has no price
    "strands_typescript/converse_cached": {
        "input_tokens": 8000,
        "cache_read_tokens": None,
        "cache_write_tokens": None,
    },
    # what a tool put into the prompt is in none of its counts, and it has no total
    "genai_google/generate_tool": {"input_tokens": 26},
    # lifetimes of cache writes, and what xAI's cache and reasoning are, is not in their spans
    "genai_bedrock/invoke_cached": {"cache_write_1h_tokens": None},
    "openinference_bedrock/invoke_cached": {"cache_write_1h_tokens": None},
    "vercel_ai_5_usage/chat_reasoning": {"cache_read_tokens": None, "reasoning_tokens": None},
    # an embedding has no output, and that is what they count
    "litellm_v1/embeddings_plain": {"output_tokens": 0},
    "litellm_v2/embeddings_plain": {"output_tokens": 0},
    # a stream of Anthropic's that is left early has its input at least
    "anthropic/messages_aborted": {"input_tokens": 1007},
    "openinference_anthropic/messages_aborted": {"input_tokens": 1007},
    "openllmetry_anthropic/messages_aborted": {"input_tokens": 1007},
}
"""What a package itself states wrongly or not at all; nothing in the span says better."""
SAYS_NOTHING = {"openlit_anthropic/messages_error"}
"""The span of a failed call has no attribute: that it was one cannot be known."""


def read(captured: dict[str, Any]) -> Iterator[Reading]:
    """Read a capture the way of a request: through the door, decoded, by its dialect.

    A capture has `spans` as an exporter in the process saw them, or whole requests as posted.
    """
    reader = Reader()
    yield from (reader.read(Span(**span)) for span in captured.get("spans", []))
    for said in captured.get("traces", []):
        body = ParseDict(said, ExportTraceServiceRequest()).SerializeToString()
        yield from (reader.read(span) for span in otlp.decode(admit(body).blob))
    for said in captured.get("logs", []):
        body = ParseDict(said, ExportLogsServiceRequest()).SerializeToString()
        yield from (reader.read_log(span) for span in otlp.decode_logs(admit_logs(body).blob))


def net(readings: list[Reading]) -> list[Call]:
    with closing(sqlite3.connect(":memory:")) as file:
        return Resolver(file).resolve(readings).calls


@pytest.mark.parametrize("case", CASES, ids=[f"{case.parent.name}/{case.stem}" for case in CASES])
def test_what_was_captured_is_the_recorded_calls_and_nothing_else(case: Path) -> None:
    captured = json.loads(case.read_text())
    name = f"{case.parent.name}/{case.stem}"
    known = STATED_OTHERWISE.get(name, {})
    expected = [recorded | known for recorded in captured["expected"] if name not in SAYS_NOTHING]
    calls = net(list(read(captured)))

    def counts(said: dict[str, Any]) -> tuple[Any, Any]:
        return said.get("input_tokens"), said.get("output_tokens")

    assert sorted(map(repr, map(counts, expected))) == sorted(
        repr((call.usage.input_tokens, call.usage.output_tokens)) for call in calls
    )
    is_failed = case.stem.endswith("error")
    assert all(call.is_error or not is_failed for call in calls)
    # OpenInference says of a failed call no model, Langfuse no provider
    assert all((call.provider_name and call.model_name) or is_failed for call in calls)
    assert {call.usage_source for call in calls} == {
        "unknown" if each["input_tokens"] is None else "provider" for each in expected
    }
    for name in TOKEN_FIELDS:
        said = [each[name] for each in expected if name in each]
        assert said == [getattr(call.usage, name) for call in calls[: len(said)]], name
    for name in ("user_id", "conversation_id", "agent_id", "endpoint_id", "provider_name",
                 "service_tier"):  # fmt: skip
        said = [each[name] for each in expected if name in each]
        assert sorted(said) == sorted(getattr(call, name) for call in calls[: len(said)])


def test_no_key_of_the_usage_that_a_package_sends_is_unread() -> None:
    unread = {
        (f"{case.parent.name}/{case.stem}", path)
        for case in CASES
        for reading in read(json.loads(case.read_text()))
        if reading.call is not None
        for path in reading.call.unread
    }

    assert unread == set(), (
        "read them, or say in the dialect's `harmless` why no cost depends on them"
    )


def test_the_docs_name_every_package_of_the_corpus_with_its_version() -> None:
    docs = (Path(__file__).parents[2] / "docs/dialects.md").read_text()
    captured = {case.parent.name: json.loads(case.read_text())["package"] for case in CASES}

    assert len(captured) >= 30
    assert [row for row in captured.items() if "| `{}` | {} |".format(*row) not in docs] == []
