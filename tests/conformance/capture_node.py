"""Captures what JavaScript emitters say of a recorded call: `python capture_node.py PARENT [NAME ...]`.

PARENT has a folder for each of `EMITTERS` with node_modules of its packages (see `install`) and
`@opentelemetry/sdk-trace-node @opentelemetry/sdk-trace-base @opentelemetry/api`. Writes
NAME/CASE.json beside this file, without prompts and answers.
"""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from capture_agents import find, trimmed
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from replay import replaying

from tallyspan_collector.read.otlp import _CONTENT

HERE = Path(__file__).parent
LONGEST_TEXT = 400
_BOTH = {"user_id": "ada", "conversation_id": "c-7"}
SAYS_WHO = {"mastra": _BOTH, "vercel_ai_3": _BOTH, "vercel_ai_4": _BOTH, "vercel_ai_5": _BOTH, "vercel_ai_6": _BOTH,
            "langfuse_js_openai": {"user_id": "ada"}}  # fmt: skip
KEPT = ("ai.response.providerMetadata",)
OPENAI = {
    "chat_reasoning": ("openai.chat", "test_stop_settings[openai]", False),
    "chat_stream": ("openai.chat", "test_dbos/test_complex_agent_run_in_workflow.yaml#0", True),
}
RESPONSES = {
    "responses_plain": ("openai.responses", "", False),
    "responses_stream": ("openai.responses", "test_openai_responses_stream.yaml#1", True),
}
ANTHROPIC = {
    "messages_cached": ("anthropic.messages", "anthropic_cache_real_api.yaml#1", False),
    "messages_cached_stream": ("anthropic.messages", "anthropic_cache_real_api.yaml#1", True),
    "messages_stream": ("anthropic.messages", "native_tool_search_streaming", True),
}
EMITTERS = {
    # name: (folder in PARENT, way in capture_node.cjs, package, cases)
    "vercel_ai_3": ("ai3", "ai", "ai", {**OPENAI, **ANTHROPIC}),
    "vercel_ai_4": ("ai4", "ai", "ai", {**OPENAI, **ANTHROPIC}),
    "vercel_ai_5": ("ai5", "ai", "ai", {**OPENAI, **RESPONSES, **ANTHROPIC}),
    "vercel_ai_6": ("ai6", "ai", "ai", {**OPENAI, **RESPONSES, **ANTHROPIC}),
    "vercel_ai_7": ("ai7", "ai7", "ai", {**OPENAI, **RESPONSES, **ANTHROPIC}),
    "langfuse_js_openai": ("lf", "langfuse", "@langfuse/openai", {**OPENAI, **RESPONSES}),
    "openinference_js_openai": ("oi", "openinference",
                                "@arizeai/openinference-instrumentation-openai",
                                {**OPENAI, **RESPONSES}),
    "langchain_js_openinference": ("lcoi", "langchain_openinference",
                                   "@arizeai/openinference-instrumentation-langchain",
                                   {**OPENAI, **ANTHROPIC}),
    "langchain_js_openllmetry": ("lctl", "langchain_openllmetry",
                                 "@traceloop/instrumentation-langchain",
                                 {**OPENAI, **ANTHROPIC}),
    "otel_js_openai": ("otelai", "otel", "@opentelemetry/instrumentation-openai",
                       {**OPENAI, **RESPONSES}),
    "openllmetry_js_openai": ("tl", "openllmetry", "@traceloop/instrumentation-openai", OPENAI),
    "mastra": ("mastra", "mastra", "@mastra/otel-exporter", {
        "chat_reasoning": OPENAI["chat_reasoning"],
        "chat_stream": ("openai.chat", "test_stop_settings[openai]", True),
        **ANTHROPIC,
    }),
    "genkit": ("genkit", "genkit", "genkit", {
        "chat_reasoning": OPENAI["chat_reasoning"],
        "chat_stream": ("openai.chat", "test_stop_settings[openai]", True),
    }),
}  # fmt: skip


def recorded(api: str, words: str) -> Any:
    if words:
        return find(api, words)
    from capture import recordings

    return recordings(api)["plain"]


def capture(name: str, parent: Path) -> None:
    folder, way, package, cases = EMITTERS[name]
    modules = parent / folder
    version = json.loads((modules / "node_modules" / package / "package.json").read_text())[
        "version"
    ]
    for case, (api, words, is_stream) in cases.items():
        recording = recorded(api, words)
        with replaying() as replay:
            replay.recording = recording
            call = {
                "base": f"http://127.0.0.1:{replay.port}", "api": api, "stream": is_stream,
                "provider": api.partition(".")[0], "model": recording.request_body["model"],
            }  # fmt: skip
            done = subprocess.run(
                ["node", str(HERE / "capture_node.cjs"), str(modules), way, json.dumps(call)],
                capture_output=True, text=True, timeout=60, check=False,
                env={"PATH": os.environ["PATH"], "LANGFUSE_PUBLIC_KEY": "pk",
                     "LANGFUSE_SECRET_KEY": "sk", "LANGFUSE_BASE_URL": "http://127.0.0.1:9"},
            )  # fmt: skip
            spans = json.loads(done.stdout or "[]")
            posted = [body for path, _, body in replay.exports if path == "/v1/traces"]
            print(name, version, case, len(spans), len(posted), replay.asked, done.stderr[-600:])
            if not (spans or posted) or not replay.answered:
                continue
        said = recording.expected
        (HERE / name).mkdir(exist_ok=True)
        (HERE / name / f"{case}.json").write_text(
            json.dumps(
                {
                    "package": f"{package} {version}",
                    "captured": datetime.now(UTC).date().isoformat(),
                    "recording": recording.id,
                    "expected": [
                        {key: said[key] for key in ("input_tokens", "output_tokens", "model")}
                        | (
                            SAYS_WHO.get(name, {})
                            if api != "openai.responses" or "vercel" in name
                            else {}
                        )
                    ],
                    **(
                        {"traces": [_posted(body) for body in posted]}
                        if posted
                        else {"spans": [_trimmed(span) for span in spans]}
                    ),
                },
                indent=1,
            )
            + "\n"
        )


def _trimmed(span: dict[str, Any]) -> dict[str, Any]:
    return {
        **span,
        "start_time_ns": int(span["start_time_ns"]),
        "end_time_ns": int(span["end_time_ns"]),
        "resource": {"service.name": "capture"},
        "attributes": {
            key: value
            for key, value in _without_answer(span["attributes"]).items()
            if not key.startswith(_CONTENT)
            and (len(json.dumps(value)) <= LONGEST_TEXT or key in KEPT)
        },
    }


def _posted(body: bytes) -> dict[str, Any]:
    return trimmed(MessageToDict(ExportTraceServiceRequest.FromString(body)))


def _without_answer(attributes: dict[str, Any]) -> dict[str, Any]:
    """Genkit puts the usage into the same JSON as the answer."""
    if "genkit:output" not in attributes:
        return attributes
    said = json.loads(attributes["genkit:output"])
    kept = {name: said[name] for name in ("finishReason", "usage", "latencyMs") if name in said}
    return {**attributes, "genkit:output": json.dumps(kept, separators=(",", ":"))}


if __name__ == "__main__":
    for asked in sys.argv[2:] or EMITTERS:
        capture(asked, Path(sys.argv[1]))
