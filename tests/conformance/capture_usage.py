"""Captures what packages report of usage that they are known to misreport: `capture_usage.py NAME ...`.

Run with a Python that has the package (`python -m pip install` what `PACKAGES` names) and protobuf,
and `instrumentation` and `collector` on PYTHONPATH. The answers are made up, in the providers'
documented shapes, and served on loopback: recordings have no cache, tier or tool of these kinds.
Writes NAME/CASE.json beside this file. Of JavaScript: `capture_usage.py NAME=FOLDER`, a folder with
node_modules of the package, its providers and `@opentelemetry/sdk-trace-node`.
"""

import json
import os
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from capture import HERE, as_json
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

CLAUDE_ON_BEDROCK = "global.anthropic.claude-sonnet-4-5-20250929-v1:0"
KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
KEPT = ("ai.response.providerMetadata", "langfuse.observation.usage_details")


@dataclass(frozen=True)
class Case:
    """An answer of a provider, and what it used in our convention; `more` fields of the call."""

    model: str
    answer: dict[str, Any]
    input_tokens: int
    output_tokens: int
    more: Mapping[str, int | str] = field(default_factory=dict)


def _openai(model: str, usage: dict[str, Any], **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "Hello."}
    return {
        "id": "chatcmpl-made-up", "object": "chat.completion", "created": 1795608000, "model": model,
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}], "usage": usage, **more,
    }  # fmt: skip


def _anthropic(usage: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": "msg_made_up", "type": "message", "role": "assistant", "stop_reason": "end_turn",
        "model": "claude-sonnet-4-5-20250929", "stop_sequence": None,
        "content": [{"type": "text", "text": "Hello."}], "usage": usage, **more,
    }  # fmt: skip


def _gemini(usage: dict[str, Any]) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": "Hello."}]}
    return {
        "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
        "usageMetadata": usage, "modelVersion": "gemini-2.5-flash", "responseId": "made-up",
    }  # fmt: skip


def _text(modality: str, count: int) -> list[dict[str, Any]]:
    return [{"modality": modality, "tokenCount": count}]


def _served_as(tier: str) -> Case:
    usage = {
        "prompt_tokens": 6000, "completion_tokens": 500, "total_tokens": 6500,
        "prompt_tokens_details": {"cached_tokens": 4000, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 300, "audio_tokens": 0},
    }  # fmt: skip
    parts = {"cache_read_tokens": 4000, "reasoning_tokens": 300, "service_tier": tier}
    return Case("gpt-5.4", _openai("gpt-5.4", usage, service_tier=tier), 6000, 500, parts)


CONVERSE = Case(
    CLAUDE_ON_BEDROCK,
    {
        "output": {"message": {"role": "assistant", "content": [{"text": "Hello."}]}},
        "stopReason": "end_turn", "metrics": {"latencyMs": 100},
        "usage": {"inputTokens": 8000, "outputTokens": 50, "totalTokens": 14050,
                  "cacheReadInputTokens": 4000, "cacheWriteInputTokens": 2000},
    },
    14000, 50, {"cache_read_tokens": 4000, "cache_write_tokens": 2000},
)  # fmt: skip
LIFETIMES = Case(
    "claude-sonnet-4-5-20250929",
    _anthropic({
        "input_tokens": 300, "output_tokens": 80, "cache_read_input_tokens": 5000,
        "cache_creation_input_tokens": 3000,
        "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000},
    }),
    8300, 80, {"cache_read_tokens": 5000, "cache_write_tokens": 3000, "cache_write_1h_tokens": 2000},
)  # fmt: skip
THOUGHTS = Case(
    "gemini-2.5-flash",
    _gemini({"promptTokenCount": 151, "candidatesTokenCount": 800, "thoughtsTokenCount": 1100,
             "totalTokenCount": 2051}),
    151, 1900, {"reasoning_tokens": 1100},
)  # fmt: skip
CACHED = Case(
    "gemini-2.5-flash",
    _gemini({
        "promptTokenCount": 6000, "cachedContentTokenCount": 5000, "candidatesTokenCount": 300,
        "thoughtsTokenCount": 600, "totalTokenCount": 6900,
        "promptTokensDetails": _text("TEXT", 6000), "cacheTokensDetails": _text("TEXT", 5000),
        "candidatesTokensDetails": _text("TEXT", 300),
    }),
    6000, 900, {"cache_read_tokens": 5000, "reasoning_tokens": 600},
)  # fmt: skip
TOOL = Case(
    "gemini-2.5-flash",
    _gemini({"promptTokenCount": 26, "candidatesTokenCount": 45, "thoughtsTokenCount": 58,
             "toolUsePromptTokenCount": 12504, "totalTokenCount": 12633}),
    12530, 103, {"reasoning_tokens": 58},
)  # fmt: skip
GROK = Case(
    "grok-4",
    _openai("grok-4", {
        "prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 331,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 310},
    }),
    12, 319, {"cache_read_tokens": 4, "reasoning_tokens": 310},
)  # fmt: skip


@contextmanager
def serving(answer: dict[str, Any]) -> Iterator[str]:
    """Serve the answer to every POST until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            is_stream = self.path.endswith("/converse-stream")
            body = _converse_stream(answer) if is_stream else json.dumps(answer).encode()
            kind = "vnd.amazon.eventstream" if is_stream else "json"
            self.send_response(200)
            self.send_header("content-type", f"application/{kind}")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _converse_stream(answer: dict[str, Any]) -> bytes:
    """Return the answer as the events of ConverseStream."""
    content = answer["output"]["message"]["content"][0]
    events = {
        "messageStart": {"role": "assistant"},
        "contentBlockDelta": {"contentBlockIndex": 0, "delta": content},
        "contentBlockStop": {"contentBlockIndex": 0},
        "messageStop": {"stopReason": answer["stopReason"]},
        "metadata": {"usage": answer["usage"], "metrics": answer["metrics"]},
    }
    return b"".join(_aws_event(name, json.dumps(event)) for name, event in events.items())


def _aws_event(name: str, payload: str) -> bytes:
    """Return a message of AWS' event stream: lengths, headers of type 7 (text), checksums."""
    texts = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(
        bytes([len(key)]) + key.encode() + b"\x07" + len(value).to_bytes(2) + value.encode()
        for key, value in texts.items()
    )
    body = payload.encode()
    start = (16 + len(headers) + len(body)).to_bytes(4) + len(headers).to_bytes(4)
    start += zlib.crc32(start).to_bytes(4)
    message = start + headers + body
    return message + zlib.crc32(message).to_bytes(4)


def _bedrock_client(base: str) -> Any:
    boto3 = import_module("boto3")
    return boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=base)


def bedrock(base: str, case: Case, label: str) -> None:
    client = _bedrock_client(base)
    if label.endswith("stream"):
        answer = client.converse_stream(
            modelId=case.model, messages=[{"role": "user", "content": [{"text": "hello"}]}]
        )
        list(answer["stream"])
        return
    if "output" in case.answer:
        client.converse(modelId=case.model,
                        messages=[{"role": "user", "content": [{"text": "hello"}]}])  # fmt: skip
        return
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9,
            "messages": [{"role": "user", "content": "hello"}]}  # fmt: skip
    client.invoke_model(modelId=CLAUDE_ON_BEDROCK, body=json.dumps(body))["body"].read()


def strands(base: str, case: Case, label: str) -> None:
    agent = import_module("strands").Agent
    if "output" in case.answer:
        model = import_module("strands.models").BedrockModel(
            model_id=case.model,
            streaming=label.endswith("stream"),
            endpoint_url=base,
            region_name="us-east-1",
        )
    else:
        model = import_module("strands.models.openai").OpenAIModel(
            client_args={"base_url": f"{base}/v1", "api_key": "x"}, model_id=case.model
        )
    agent(model=model, callback_handler=None)("hello")


def google_genai(base: str, case: Case, label: str) -> None:
    genai = import_module("google.genai")
    client = genai.Client(api_key="x", http_options={"base_url": base})
    client.models.generate_content(model=case.model, contents="hello")


def _langchain(base: str, case: Case) -> Any:
    if case.model.startswith("gpt"):
        return import_module("langchain_openai").ChatOpenAI(
            model=case.model, base_url=f"{base}/v1", api_key="x"
        )
    if case.model.startswith("claude"):
        return import_module("langchain_anthropic").ChatAnthropic(
            model=case.model, base_url=base, api_key="x"
        )
    return import_module("langchain_google_genai").ChatGoogleGenerativeAI(
        model=case.model, base_url=base, google_api_key="x"
    )


def langfuse(base: str, case: Case, label: str) -> None:
    sdk = import_module("langfuse")
    client = sdk.Langfuse(public_key="pk", secret_key="sk", base_url="http://127.0.0.1:9",
                          tracer_provider=trace.get_tracer_provider())  # fmt: skip
    handler = import_module("langfuse.langchain").CallbackHandler()
    _langchain(base, case).invoke("hello", {"callbacks": [handler]})
    del client


def langfuse_vertex(base: str, case: Case, label: str) -> None:
    """Google's own usage through the handler, as LangChain's Vertex package passes it on.

    The package speaks gRPC with Google's certificates alone: its part is its own conversion of the
    protocol buffer.
    """
    types = import_module("google.cloud.aiplatform_v1beta1.types")
    proto = import_module("proto")
    messages = import_module("langchain_core.messages")
    outputs = import_module("langchain_core.outputs")
    answer = types.GenerateContentResponse.from_json(json.dumps(case.answer))
    usage = proto.Message.to_dict(answer.usage_metadata, use_integers_for_enums=False)
    models = import_module("langchain_google_vertexai.chat_models")
    message = messages.AIMessage("Hello.", usage_metadata=models._get_usage_metadata_gemini(usage))
    generation = outputs.ChatGeneration(message=message, generation_info={"usage_metadata": usage})
    result = outputs.LLMResult(generations=[[generation]])
    import_module("langfuse").Langfuse(
        public_key="pk", secret_key="sk", base_url="http://127.0.0.1:9",
        tracer_provider=trace.get_tracer_provider(),
    )  # fmt: skip
    handler = import_module("langfuse.langchain").CallbackHandler()
    run_id = import_module("uuid").uuid4()
    handler.on_chat_model_start(
        {"name": "ChatVertexAI"}, [[messages.HumanMessage("hello")]], run_id=run_id,
        metadata={"ls_provider": "google_vertexai", "ls_model_name": case.model},
        invocation_params={"model_name": case.model},
    )  # fmt: skip
    handler.on_llm_end(result, run_id=run_id)


def langsmith(base: str, case: Case, label: str) -> None:
    os.environ |= {"LANGSMITH_OTEL_ENABLED": "true", "LANGSMITH_TRACING": "true",
                   "LANGSMITH_OTEL_ONLY": "true", "LANGSMITH_API_KEY": "x",
                   "LANGSMITH_ENDPOINT": base}  # fmt: skip
    _langchain(base, case).invoke("hello")
    import_module("langchain_core.tracers.langchain").wait_for_all_tracers()
    time.sleep(3)


Drive = Callable[[str, Case, str], None]
BEDROCK = {
    "converse_cached": CONVERSE,
    "converse_cached_stream": CONVERSE,
    "invoke_cached": LIFETIMES,
}
LANGCHAIN = {
    "chat_priority": _served_as("priority"), "chat_flex": _served_as("flex"),
    "messages_lifetimes": LIFETIMES, "generate_cached": CACHED, "generate_tool": TOOL,
}  # fmt: skip
GOOGLE = {"generate_thoughts": THOUGHTS}
PACKAGES: dict[str, tuple[Drive, str, str, dict[str, Case]]] = {
    # name: (drive, package, module:class of the instrumentor, cases)
    "genai_bedrock": (bedrock, "opentelemetry-instrumentation-genai-bedrock",
                      "opentelemetry.instrumentation.genai.bedrock:BedrockInstrumentor", BEDROCK),
    "botocore_bedrock": (bedrock, "opentelemetry-instrumentation-botocore",
                         "opentelemetry.instrumentation.botocore:BotocoreInstrumentor",
                         {"converse_cached": CONVERSE, "converse_cached_stream": CONVERSE}),
    "strands": (strands, "strands-agents", "", {"converse_cached": CONVERSE,
                "converse_cached_stream": CONVERSE}),
    "strands_1_50": (strands, "strands-agents", "", {"converse_cached": CONVERSE}),
    "openllmetry_bedrock": (bedrock, "opentelemetry-instrumentation-bedrock",
                            "opentelemetry.instrumentation.bedrock:BedrockInstrumentor",
                            {"converse_cached": CONVERSE, "converse_cached_stream": CONVERSE}),
    "openinference_bedrock": (bedrock, "openinference-instrumentation-bedrock",
                              "openinference.instrumentation.bedrock:BedrockInstrumentor",
                              BEDROCK),
    "openllmetry_google": (
        google_genai, "opentelemetry-instrumentation-google-generativeai",
        "opentelemetry.instrumentation.google_generativeai:GoogleGenerativeAiInstrumentor",
        GOOGLE),
    "openinference_google": (
        google_genai, "openinference-instrumentation-google-genai",
        "openinference.instrumentation.google_genai:GoogleGenAIInstrumentor",
        {**GOOGLE, "generate_tool": TOOL, "generate_cached": CACHED}),
    "openinference_google_0_1_3": (
        google_genai, "openinference-instrumentation-google-genai",
        "openinference.instrumentation.google_genai:GoogleGenAIInstrumentor", GOOGLE),
    "genai_google": (
        google_genai, "opentelemetry-instrumentation-google-genai",
        "opentelemetry.instrumentation.google_genai:GoogleGenAiSdkInstrumentor",
        {**GOOGLE, "generate_tool": TOOL, "generate_cached": CACHED}),
    "openlit_bedrock": (bedrock, "openlit", "openlit.instrumentation.bedrock:BedrockInstrumentor",
                        {"converse_cached": CONVERSE}),
    "openlit_google": (
        google_genai, "openlit",
        "openlit.instrumentation.google_ai_studio:GoogleAIStudioInstrumentor",
        {**GOOGLE, "generate_cached": CACHED}),
    "langfuse_langchain": (langfuse, "langfuse", "", LANGCHAIN),
    "langfuse_vertex": (langfuse_vertex, "langfuse", "", {"generate_cached": CACHED}),
    "langsmith_langchain": (langsmith, "langsmith", "", LANGCHAIN),
}  # fmt: skip
IN_NODE: dict[str, tuple[str, dict[str, Case]]] = {
    "vercel_ai_5_usage": ("ai", {"generate_tool": TOOL, "generate_cached": CACHED,
                                 "chat_reasoning": GROK}),
    "vercel_ai_6_usage": ("ai", {"generate_tool": TOOL, "generate_cached": CACHED,
                                 "chat_reasoning": GROK}),
    "strands_typescript": ("@strands-agents/sdk", {"converse_cached": CONVERSE,
                                                    "converse_cached_stream": CONVERSE}),
}  # fmt: skip


def capture(name: str) -> None:
    drive, package, instrumentor, cases = PACKAGES[name]
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "capture"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    if instrumentor:
        module, _, name_of_class = instrumentor.partition(":")
        options: dict[str, Any] = {"tracer_provider": provider}
        if package == "openlit":
            options |= {
                "application_name": "capture", "environment": "test", "pricing_info": {},
                "tracer": trace.get_tracer("openlit.otel.tracing"), "metrics_dict": None,
                "capture_message_content": False, "disable_metrics": True, "event_provider": None,
                "skip_dep_check": True,
            }  # fmt: skip
            import_module("openlit").OpenlitConfig.reset_to_defaults()
        getattr(import_module(module), name_of_class)().instrument(**options)
    for label, case in cases.items():
        exporter.clear()
        with serving(case.answer) as base:
            try:
                drive(base, case, label)
            except Exception as error:  # noqa: BLE001  the next may work
                print(name, label, repr(error)[:300])
            provider.force_flush()
        spans = [as_json(span) for span in exporter.get_finished_spans()]
        write(name, label, f"{package} {version(package)}", case, spans)


def capture_node(name: str, folder: Path) -> None:
    package, cases = IN_NODE[name]
    modules = folder / "node_modules"
    number = json.loads((modules / package / "package.json").read_text())["version"]
    for label, case in cases.items():
        with serving(case.answer) as base:
            call = {"base": base, "model": case.model, "stream": label.endswith("stream")}
            done = subprocess.run(
                ["node", str(HERE / "capture_usage.mjs"), str(folder), package, json.dumps(call)],
                capture_output=True, text=True, timeout=60, check=False,
                env={"PATH": os.environ["PATH"], **KEYS},
            )  # fmt: skip
        print(name, label, done.stderr[-400:])
        spans = json.loads(done.stdout or "[]")
        for span in spans:
            span["start_time_ns"] = int(span["start_time_ns"])
            span["end_time_ns"] = int(span["end_time_ns"])
            span["resource"] = {"service.name": "capture"}
        write(name, label, f"{package} {number}", case, spans)


def write(name: str, label: str, package: str, case: Case, spans: list[dict[str, Any]]) -> None:
    print(name, label, len(spans))
    if not spans:
        return
    # LangSmith begins a trace of its own, and the SDK's own span is a second report of the call
    spans = [span for span in spans if not span["scope_name"].startswith("com.anthropic")]
    for span in spans:
        span["attributes"] = {
            key: value
            for key, value in span["attributes"].items()
            if len(json.dumps(value)) <= 400 or key in KEPT
        }
    expected = {
        "input_tokens": case.input_tokens,
        "output_tokens": case.output_tokens,
        **case.more,
    }
    (HERE / name).mkdir(exist_ok=True)
    (HERE / name / f"{label}.json").write_text(
        json.dumps(
            {
                "package": package,
                "captured": datetime.now(UTC).date().isoformat(),
                "recording": "made up, in the provider's documented shape",
                "expected": [expected],
                "spans": spans,
            },
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    os.environ |= KEYS
    for wanted in sys.argv[1:]:
        emitter, _, node_folder = wanted.partition("=")
        if node_folder:
            capture_node(emitter, Path(node_folder))
        else:
            capture(emitter)
