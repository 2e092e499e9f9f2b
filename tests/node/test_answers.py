"""What the preload reads of each provider's answer: by the shapes of their documentation."""

import json
import time
from typing import Any

import pytest

from preload import NODE_TESTS, environment, node, recorder
from tallyspan_collector.dialects import Kind, Reader
from tallyspan_collector.read.call import Call
from tallyspan_collector.read.otlp import Span

pytestmark = NODE_TESTS

G, T = "gen_ai.usage.", "tallyspan.meter."
OPENAI = "https://api.openai.com"
VERTEX = "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1"
RUN = {"id": "run_9", "object": "thread.run", "model": "gpt-4.1", "status": "completed",
       "created_at": 1_790_000_000, "usage": {"prompt_tokens": 5, "completion_tokens": 6}}  # fmt: skip
BEDROCK = "https://bedrock-runtime.eu-west-1.amazonaws.com/model"


def sse(*events: dict[str, Any]) -> str:
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events)


CASES: dict[str, tuple[str, dict[str, Any], Any, dict[str, Any] | None]] = {
    # url, request, answer (a text is a stream), what is read; None: nothing is reported
    "responses, streamed": (
        f"{OPENAI}/v1/responses", {"model": "gpt-5", "stream": True},
        sse({"type": "response.created", "response": {"id": "resp_1", "usage": None}},
            {"type": "response.completed", "response": {
                "id": "resp_1", "model": "gpt-5-2025-08-07", "service_tier": "default",
                "usage": {"input_tokens": 11, "output_tokens": 22,
                          "output_tokens_details": {"reasoning_tokens": 20}}}}),
        {f"{G}input_tokens": "11", f"{G}output_tokens": "22",
         f"{G}output_tokens_details.reasoning_tokens": "20", "gen_ai.response.id": "resp_1",
         "gen_ai.response.model": "gpt-5-2025-08-07", "tallyspan.service_tier": "default"},
    ),
    "embeddings": (
        f"{OPENAI}/v1/embeddings", {"model": "text-embedding-3-small", "input": "x"},
        {"data": [{"embedding": [0.5] * 9}], "usage": {"prompt_tokens": 8, "total_tokens": 8}},
        {f"{G}prompt_tokens": "8", "gen_ai.operation.name": "embeddings"},
    ),
    "messages": (
        "https://api.anthropic.com/v1/messages", {"model": "claude-sonnet-4-5"},
        {"id": "msg_1", "type": "message", "model": "claude-sonnet-4-5-20250929", "content": [],
         "usage": {"input_tokens": 3, "cache_creation_input_tokens": 400, "output_tokens": 9,
                   "cache_creation": {"ephemeral_1h_input_tokens": 400}, "service_tier": "batch"}},
        {f"{G}input_tokens": "403", f"{G}output_tokens": "9",
         f"{G}cache_creation.ephemeral_1h_input_tokens": "400", "tallyspan.service_tier": "batch"},
    ),
    "claude on Vertex": (
        f"{VERTEX}/publishers/anthropic/models/claude-opus-4-1:streamRawPredict", {"stream": True},
        sse({"type": "message_start", "message": {"type": "message", "usage": {"input_tokens": 3}}},
            {"type": "message_delta", "usage": {"output_tokens": 4}}),
        {f"{G}input_tokens": "3", f"{G}output_tokens": "4", "gen_ai.request.model": "claude-opus-4-1",
         "gen_ai.provider.name": "gcp.vertex_ai"},
    ),
    "Gemini, streamed as a list": (
        "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:streamGenerateContent",
        {}, [{"usageMetadata": {"promptTokenCount": 7}}, {"usageMetadata": {
            "promptTokenCount": 7, "toolUsePromptTokenCount": 2, "candidatesTokenCount": 5,
            "thoughtsTokenCount": 90, "cachedContentTokenCount": 6,
            "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 4}]}}],
        {f"{G}input_tokens": "9", f"{G}output_tokens": "95", f"{G}reasoning.output_tokens": "90",
         f"{G}cache_read.input_tokens": "6", f"{G}audio.input_tokens": "4",
         "gen_ai.request.model": "gemini-2.5-pro"},
    ),
    "Imagen": (
        f"{VERTEX}/publishers/google/models/imagen-4.0-generate-001:predict", {},
        {"predictions": [{"bytesBase64Encoded": "x"}] * 2},
        {f"{T}images": "2", "gen_ai.request.model": "imagen-4.0-generate-001"},
    ),
    "Bedrock": (
        f"{BEDROCK}/eu.anthropic.claude-sonnet-4-5-v1%3A0/converse", {},
        {"usage": {"inputTokens": 3, "cacheReadInputTokens": 50, "outputTokens": 7}},
        {f"{G}input_tokens": "53", f"{G}cache_read.input_tokens": "50", f"{G}output_tokens": "7",
         "gen_ai.request.model": "eu.anthropic.claude-sonnet-4-5-v1:0"},
    ),
    "Bedrock, streamed in frames": (
        f"{BEDROCK}/amazon.nova-pro-v1%3A0/converse-stream", {},
        b"\x00\x00\x01:event-type\x07metadata"
        b'{"metrics":{"latencyMs":9},"usage":{"inputTokens":3,"outputTokens":7}}\xff'.decode("latin-1"),
        {f"{G}input_tokens": "3", f"{G}output_tokens": "7"},
    ),
    "Azure's pictures": (
        "https://a.openai.azure.com/openai/deployments/pictures/images/generations",
        {"n": 3, "size": "1024x1024"}, {"data": [{}] * 3},
        {f"{T}images": "3", "tallyspan.condition.picture": "1024x1024",
         "gen_ai.request.model": "pictures"},
    ),
    "Stability": (
        "https://api.stability.ai/v2beta/stable-image/generate/ultra", {}, {"image": "x"},
        {f"{T}images": "1", "gen_ai.request.model": "ultra",
         "gen_ai.provider.name": "stability_ai"},
    ),
    "Stable Diffusion's own server": (
        "http://sd.internal:7860/sdapi/v1/txt2img", {"prompt": "x"}, {"images": ["x", "y"]},
        {f"{T}images": "2", "gen_ai.request.model": "txt2img"},
    ),
    "ElevenLabs": (
        "https://api.elevenlabs.io/v1/text-to-speech/voice9/stream",
        {"text": "abcd", "model_id": "eleven_turbo_v2"}, {},
        {f"{T}characters": "4", "gen_ai.request.model": "eleven_turbo_v2",
         "gen_ai.provider.name": "elevenlabs"},
    ),
    "a transcript with tokens": (
        f"{OPENAI}/v1/audio/transcriptions", {"model": "gpt-4o-transcribe"},
        {"text": "x", "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 45,
                                "input_token_details": {"audio_tokens": 14}}},
        {f"{G}input_tokens": "14", f"{G}output_tokens": "45",
         f"{G}input_tokens_details.audio_tokens": "14"},
    ),
    "a transcript that says nothing": (
        f"{OPENAI}/v1/audio/translations", {"model": "whisper-1"}, {"text": "x"},
        {"tallyspan.usage.source": "unknown"},
    ),
    "a run, streamed": (
        f"{OPENAI}/v1/threads/t/runs", {"assistant_id": "a", "stream": True},
        sse({**RUN, "status": "in_progress", "usage": None}, RUN),
        {f"{G}prompt_tokens": "5", f"{G}completion_tokens": "6", "gen_ai.response.id": "run_9"},
    ),
    "the same run, asked for": (f"GET {OPENAI}/v1/threads/t/runs/run_9", {}, RUN, None),
    "a run that is not over": (
        f"GET {OPENAI}/v1/threads/t/runs/run_8", {}, {**RUN, "id": "run_8", "status": "queued"}, None,
    ),
    "OCR on Vertex, annotated": (
        f"{VERTEX}/publishers/mistralai/models/mistral-ocr-2505:rawPredict", {},
        {"pages": [], "document_annotation": "x", "usage_info": {"pages_processed": 4}},
        {f"{T}pages": "4", f"{T}annotated_pages": "4", "gen_ai.request.model": "mistral-ocr-2505",
         "gen_ai.provider.name": "gcp.vertex_ai"},
    ),
    "Tavily": (
        "https://api.tavily.com/extract", {"urls": []}, {"results": []},
        {f"{T}web_search": "1", "gen_ai.request.model": "extract", "gen_ai.provider.name": "tavily"},
    ),
    "Firecrawl": (
        "https://api.firecrawl.dev/v1/scrape", {"url": "x"}, {"success": True},
        {f"{T}web_search": "1", "gen_ai.request.model": "scrape"},
    ),
    "Cohere's embeddings": (
        "https://api.cohere.com/v2/embed", {"model": "embed-v4.0"},
        {"id": "e1", "meta": {"billed_units": {"input_tokens": 12}}},
        {f"{G}input_tokens": "12", "gen_ai.operation.name": "embeddings"},
    ),
    "aborted after its end": (
        f"ABORT {OPENAI}/v1/chat/completions", {"model": "gpt-4o", "stream": True},
        sse({"choices": [{"delta": {"content": "x" * 400}}]},
            {"choices": [{"delta": {}, "finish_reason": "stop"}]},
            {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}),
        {f"{G}prompt_tokens": "7", f"{G}completion_tokens": "5", "error.type": "AbortError",
         "tallyspan.usage.source": "provider"},
    ),
    "aborted before it was sent": (
        f"UNSENT {OPENAI}/v1/chat/completions", {"model": "gpt-4o", "stream": True}, {}, None,
    ),
    "aborted with counts so far": (
        ("ABORT https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro"
        ":streamGenerateContent"), {},
        sse({"candidates": [{"content": {"parts": [{"text": "x" * 400}]}}],
             "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 5}}),
        {f"{G}input_tokens": "7", f"{G}output_tokens": "5",
         "tallyspan.estimate.output_characters": "400", "tallyspan.usage.source": "estimated"},
    ),
    "a count of tokens": ("https://api.anthropic.com/v1/messages/count_tokens", {}, {}, None),
    "a list of models": (f"GET {OPENAI}/v1/models", {}, {}, None),
    "moderation": (f"{OPENAI}/v1/moderations", {"input": "x"}, {"results": []}, None),
}  # fmt: skip


@pytest.fixture(scope="module")
def readings() -> dict[str, dict[str, Any]]:
    """What was reported of each case, by its name: one process plays them all."""
    asked = []
    for name, (url, request, answer, _) in CASES.items():
        method, _, address = url.rpartition(" ")
        is_stream = isinstance(answer, str)
        is_aborted = method in {"ABORT", "UNSENT"}
        asked.append({
            "url": address, "method": method if method == "GET" else "POST",
            "error": "AbortError" if is_aborted else None, "isUnsent": method == "UNSENT",
            "request": {**request, "user": name},
            "type": "application/json" if not is_stream else "application/vnd.amazon.eventstream"
            if "converse" in url else "text/event-stream",
            "answer": answer if is_stream else json.dumps(answer),
        })  # fmt: skip
    with recorder() as collector:
        done = node(
            "broken.cjs", "shapes", env=environment(collector.url, "all"), stdin=json.dumps(asked)
        )
    assert done.returncode == 0, done.stderr
    assert len(collector.spans) == sum(expected is not None for *_, expected in CASES.values())
    return {span["user.id"]: span for span in collector.spans}


def test_a_run_began_when_its_provider_says_unless_that_is_long_ago() -> None:
    now = time.time()
    created = {"minutes ago": int(now) - 90, "long ago": 1, "later": int(now) + 600}
    plays = [
        {
            "url": f"{OPENAI}/v1/threads/t/runs", "method": "POST", "error": None, "isUnsent": False,
            "request": {"stream": True, "user": name}, "type": "text/event-stream",
            "answer": sse({**RUN, "id": f"run_{name}", "created_at": at}),
        }
        for name, at in created.items()
    ]  # fmt: skip
    with recorder() as collector:
        done = node(
            "broken.cjs", "shapes", env=environment(collector.url, "all"), stdin=json.dumps(plays)
        )

    assert done.returncode == 0, done.stderr
    assert collector.starts.pop("minutes ago") == created["minutes ago"]
    assert all(now - 1 < collector.starts[name] < now + 30 for name in ("long ago", "later"))


@pytest.mark.parametrize("name", CASES)
def test_an_answer_is_read_as_its_provider_documents_it(
    name: str, readings: dict[str, dict[str, Any]]
) -> None:
    *_, expected = CASES[name]
    span = readings.get(name)

    if expected is None:
        assert span is None
        return
    assert span is not None
    counts = {key for key in span if key.startswith((G, T)) and "cache_creation_input" not in key}
    assert {key: span.get(key) for key in expected} == expected
    assert counts <= expected.keys()


IN_THE_LEDGER = {
    # provider, input, output, cache read, cache written for an hour, reasoning
    "responses, streamed": ("openai", 11, 22, None, None, 20),
    "embeddings": ("openai", 8, None, None, None, None),
    "messages": ("anthropic", 403, 9, None, 400, None),
    "claude on Vertex": ("gcp.vertex_ai", 3, 4, None, None, None),
    "Gemini, streamed as a list": ("gcp.gemini", 9, 95, 6, None, 90),
    "Bedrock": ("aws.bedrock", 53, 7, 50, None, None),
    "Azure's pictures": ("azure.ai.openai", None, None, None, None, None),
    "a transcript with tokens": ("openai", 14, 45, None, None, None),
    "a run, streamed": ("openai", 5, 6, None, None, None),
    "OCR on Vertex, annotated": ("gcp.vertex_ai", None, None, None, None, None),
    "Firecrawl": ("firecrawl", None, None, None, None, None),
    "Cohere's embeddings": ("cohere", 12, None, None, None, None),
}


def test_the_collector_reads_all_of_it_and_leaves_no_usage_unread(
    readings: dict[str, dict[str, Any]],
) -> None:
    reader = Reader()
    calls: dict[str, Call] = {}
    for name, attributes in readings.items():
        plain = {key: value for key, value in attributes.items() if key != "ids"}
        trace_id, span_id = attributes["ids"]
        span = Span(trace_id, span_id, "", 10**18, 10**18 + 1, False, plain, {}, "tallyspan")
        reading = reader.read(span)
        assert (reading.kind, reading.call is None) == (Kind.CALL, False), name
        assert reading.call is not None
        calls[name] = reading.call

    assert {name: call.unread for name, call in calls.items() if call.unread} == {}
    assert {name: call.quality_flags for name, call in calls.items() if call.quality_flags} == {}
    assert {
        name: (call.provider_name, call.usage.input_tokens, call.usage.output_tokens,
               call.usage.cache_read_tokens, call.usage.cache_write_1h_tokens,
               call.usage.reasoning_tokens)
        for name, call in calls.items() if name in IN_THE_LEDGER
    } == IN_THE_LEDGER  # fmt: skip
