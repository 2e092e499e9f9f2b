"""Captures the spans of xai-sdk, which speaks gRPC: `python capture_xai.py`.

Needs a Python with xai-sdk, opentelemetry-sdk, grpcio and tallyspan (xai-sdk is no dependency of
the project). A server on loopback answers; its counts are made: 1,500 tokens of input, 1,024 of
them cached, 9 of output and 320 of reasoning beside it. Writes xai_sdk/CASE.json beside this file,
and xai_sdk_grpc/CASE.json with the spans of our instrumentation beside those of the SDK.
"""

import json
from collections.abc import Callable
from concurrent import futures
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import grpc
import xai_sdk
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from xai_sdk.chat import user
from xai_sdk.proto import (
    chat_pb2,
    chat_pb2_grpc,
    deferred_pb2,
    image_pb2,
    image_pb2_grpc,
    sample_pb2,
    usage_pb2,
)

import tallyspan
from tallyspan.exchange import settle

HERE = Path(__file__).parent
USAGE = usage_pb2.SamplingUsage(
    prompt_tokens=1500, prompt_text_tokens=1500, cached_prompt_text_tokens=1024,
    completion_tokens=9, reasoning_tokens=320, total_tokens=1829, cost_in_usd_ticks=37_756_000,
)  # fmt: skip
IMAGE_USAGE = usage_pb2.SamplingUsage(cost_in_usd_ticks=700_000_000)
CONTENT = ("gen_ai.prompt", "gen_ai.completion", "gen_ai.response.0.image.url")


def answer(kind: type, part: str):
    said = kind(id="0daf962f-a275-4a3c-839a-047854645532", model="grok-4-0709")
    said.usage.CopyFrom(USAGE)
    output = said.outputs.add(finish_reason=sample_pb2.FinishReason.Value("REASON_STOP"))
    getattr(output, part).content = "."
    getattr(output, part).role = chat_pb2.MessageRole.Value("ROLE_ASSISTANT")
    return said


class Chat(chat_pb2_grpc.ChatServicer):
    def GetCompletion(self, request, context):
        if request.model == "no-such-model":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
        return answer(chat_pb2.GetChatCompletionResponse, "message")

    def StartDeferredCompletion(self, request, context):
        self.polls = 0
        return deferred_pb2.StartDeferredResponse(request_id="d-1")

    def GetDeferredCompletion(self, request, context):
        self.polls += 1
        if self.polls == 1:
            return chat_pb2.GetDeferredCompletionResponse(status="PENDING")
        done = answer(chat_pb2.GetChatCompletionResponse, "message")
        return chat_pb2.GetDeferredCompletionResponse(status="DONE", response=done)

    def GetCompletionChunk(self, request, context):
        yield answer(chat_pb2.GetChatCompletionChunk, "delta")


class Image(image_pb2_grpc.ImageServicer):
    def GenerateImage(self, request, context):
        said = image_pb2.ImageResponse(model="grok-2-image", usage=IMAGE_USAGE)
        said.images.add(url="http://localhost/1.png", respect_moderation=True)
        return said


def written(span: ReadableSpan) -> dict[str, object]:
    return {
        "trace_id": f"{span.context.trace_id:032x}",
        "span_id": f"{span.context.span_id:016x}",
        "parent_span_id": f"{span.parent.span_id:016x}" if span.parent else "",
        "name": span.name,
        "kind": {"INTERNAL": 1, "SERVER": 2, "CLIENT": 3}[span.kind.name],
        "start_time_ns": span.start_time,
        "end_time_ns": span.end_time,
        "is_error": span.status.status_code.name == "ERROR",
        "scope_name": span.instrumentation_scope.name,
        "scope_version": span.instrumentation_scope.version or "",
        "resource": {"service.name": "capture"},
        "attributes": {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in span.attributes.items()
            if not key.startswith(CONTENT)
        },
    }


def main() -> None:
    out = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "capture"}))
    provider.add_span_processor(SimpleSpanProcessor(out))
    trace.set_tracer_provider(provider)
    server = grpc.server(futures.ThreadPoolExecutor(2))
    chat_pb2_grpc.add_ChatServicer_to_server(Chat(), server)
    image_pb2_grpc.add_ImageServicer_to_server(Image(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    address = {"api_key": "x", "api_host": f"127.0.0.1:{port}", "use_insecure_channel": True}
    client = xai_sdk.Client(**address)

    def chat(model: str, **more):
        return client.chat.create(model=model, messages=[user("hello")], **more)

    counted = {"input_tokens": 1500, "output_tokens": 329, "cache_read_tokens": 1024}
    unknown = {"input_tokens": None, "output_tokens": None}
    none = {"input_tokens": 0, "output_tokens": 0}
    cases: dict[str, tuple[dict[str, int | None], Callable[[], object]]] = {
        "chat_plain": (counted, lambda: chat("grok-4", conversation_id="c-1").sample()),
        "chat_stream": (counted, lambda: list(chat("grok-4").stream())),
        "chat_error": (unknown, lambda: chat("no-such-model").sample()),
        "image_plain": (none, lambda: client.image.sample("a tree", "grok-2-image")),
    }
    deferred = lambda: chat("grok-4").defer(interval=timedelta(milliseconds=1))
    for folder in ("xai_sdk", "xai_sdk_grpc"):
        if folder == "xai_sdk_grpc":
            tallyspan.instrument()
            client = xai_sdk.Client(**address)
            cases["chat_deferred"] = (counted, deferred)
        for name, (expected, act) in cases.items():
            out.clear()
            try:
                act()
            except grpc.RpcError:
                assert name == "chat_error"
            settle(2)
            said = {
                "package": f"xai-sdk {version('xai-sdk')}",
                "captured": datetime.now(UTC).date().isoformat(),
                "recording": "made",
                "expected": [expected],
                "spans": [written(span) for span in out.get_finished_spans()],
            }
            (HERE / folder / f"{name}.json").write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
