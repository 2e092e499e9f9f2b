"""Captures what coding agents export for recorded calls: `python capture_agents.py BIN_FOLDER`.

BIN_FOLDER has node_modules/.bin of `npm i @anthropic-ai/claude-code @openai/codex
@google/gemini-cli @qwen-code/qwen-code @github/copilot opencode-ai` (or one folder each, named claude, codex, gemini). Each runs offline, in a home
of its own, against recordings; what it posts to /v1/logs and /v1/traces is written beside this
file: OTLP/JSON, without prompts and without what names the machine.
"""

import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from replay import Replay, replaying

from tallyspan_collector.demo.recordings import Recording, load
from tallyspan_collector.receiver.otlp_json import to_protobuf

HERE = Path(__file__).parent
NOT_KEPT = ("host.", "process.", "os.", "user_prompt", "prompt", "response", "arguments", "body",
            "gen_ai.input", "gen_ai.output", "request_text", "response_text", "tool_", "error.mess",
            "gen_ai.system_inst", "gen_ai.prompt", "gen_ai.compl", "gen_ai.tool.def", "new_context",
            "system_prompt", "tools", "ai.prompt", "ai.response.text", "ai.request", "mastra.model_", "mastra.agent_run.", "mastra.metadata.headers")  # fmt: skip
KEPT = ("tool_token_count", "prompt.id", "prompt_id", "metadata.usage_object")
LOGS_OF_INTEREST = ("api_request", "sse_event", "api_response", "inference.operation")


def claude(base: str, home: Path) -> tuple[list[str], dict[str, str]]:
    return ["claude", "-p", "hello", "--model", "claude-sonnet-4-5"], {
        "CLAUDE_CODE_ENABLE_TELEMETRY": "1", "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": base, "ANTHROPIC_BASE_URL": base,
        "ANTHROPIC_API_KEY": "sk-ant-x", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "OTEL_RESOURCE_ATTRIBUTES": "department=research", "OTEL_LOGS_EXPORT_INTERVAL": "200",
    }  # fmt: skip


def claude_traces(base: str, home: Path) -> tuple[list[str], dict[str, str]]:
    command, environment = claude(base, home)
    return command, {**environment, "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "1",
                     "OTEL_TRACES_EXPORTER": "otlp"}  # fmt: skip


def codex(base: str, home: Path) -> tuple[list[str], dict[str, str]]:
    (home / ".codex").mkdir()
    (home / ".codex/config.toml").write_text(
        f"""model = "gpt-5.2"
model_provider = "local"
[model_providers.local]
name = "local"
base_url = "{base}/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
[otel]
environment = "test"
log_user_prompt = false
[otel.exporter.otlp-http]
endpoint = "{base}/v1/logs"
protocol = "binary"
[otel.trace_exporter.otlp-http]
endpoint = "{base}/v1/traces"
protocol = "binary"
"""
    )
    return ["codex", "exec", "--skip-git-repo-check", "hello"], {"OPENAI_API_KEY": "sk-x"}


def gemini(base: str, home: Path) -> tuple[list[str], dict[str, str]]:
    (home / ".gemini").mkdir()
    (home / ".gemini/settings.json").write_text(
        json.dumps(
            {
                "telemetry": {
                    "enabled": True,
                    "target": "local",
                    "otlpEndpoint": base,
                    "otlpProtocol": "http",
                    "logPrompts": False,
                },
                "security": {"auth": {"selectedType": "gemini-api-key"}},
            }  # fmt: skip
        )
    )
    return ["gemini", "--skip-trust", "-p", "hello", "-m", "gemini-2.5-flash"], {
        "GEMINI_API_KEY": "x", "GOOGLE_GEMINI_BASE_URL": base,
    }  # fmt: skip


def qwen(base: str, home: Path) -> tuple[list[str], dict[str, str]]:
    (home / ".qwen").mkdir()
    telemetry = {"enabled": True, "target": "local", "otlpEndpoint": base, "otlpProtocol": "http",
                 "logPrompts": False}  # fmt: skip
    auth = {"auth": {"selectedType": "openai"}}
    (home / ".qwen/settings.json").write_text(
        json.dumps({"telemetry": telemetry, "security": auth})
    )
    return ["qwen", "-p", "hello", "-m", "deepseek-v4-flash"], {
        "OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": f"{base}/v1", "OPENAI_MODEL": "deepseek-v4-flash",
    }  # fmt: skip


def copilot(base: str, home: Path) -> tuple[list[str], dict[str, str]]:
    return ["copilot", "-p", "hello", "--allow-all-tools"], {
        "COPILOT_OTEL_ENABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": base,
        "COPILOT_OFFLINE": "true", "COPILOT_PROVIDER_API_KEY": "sk-x",
        "OTEL_RESOURCE_ATTRIBUTES": "department=research",
    }  # fmt: skip


def copilot_anthropic(base: str, home: Path) -> tuple[list[str], dict[str, str]]:
    command, environment = copilot(base, home)
    return command, {**environment, "COPILOT_PROVIDER_BASE_URL": base,
                     "COPILOT_PROVIDER_TYPE": "anthropic",
                     "COPILOT_MODEL": "claude-sonnet-4.5"}  # fmt: skip


def copilot_openai(base: str, home: Path) -> tuple[list[str], dict[str, str]]:
    command, environment = copilot(base, home)
    return command, {**environment, "COPILOT_PROVIDER_BASE_URL": f"{base}/v1",
                     "COPILOT_PROVIDER_WIRE_API": "responses", "COPILOT_MODEL": "gpt-5.2"}  # fmt: skip


def opencode(base: str, home: Path) -> tuple[list[str], dict[str, str]]:
    (home / ".config/opencode").mkdir(parents=True)
    options = {"baseURL": f"{base}/v1", "apiKey": "sk-x"}
    provider = {"anthropic": {"options": options}}
    config = {"experimental": {"openTelemetry": True}, "provider": provider,
              "model": "anthropic/claude-sonnet-4-5", "autoupdate": False}  # fmt: skip
    (home / ".config/opencode/opencode.json").write_text(json.dumps(config))
    return ["opencode", "run", "hello"], {
        "OTEL_EXPORTER_OTLP_ENDPOINT": base, "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1", "OTEL_BSP_SCHEDULE_DELAY": "20",
    }  # fmt: skip


AGENTS = {
    # folder: (how to start it, package, API, words that name recordings of it)
    "claude_code": (claude, "@anthropic-ai/claude-code", "anthropic.messages",
                    {"stream": "native_tool_search_streaming",
                     "cached": "anthropic_cache_real_api.yaml#1",
                     "cache_written": "prefix_is_reused.yaml#0"}),
    "claude_code_traces": (claude_traces, "@anthropic-ai/claude-code", "anthropic.messages",
                           {"stream": "native_tool_search_streaming"}),
    "codex_cli": (codex, "@openai/codex", "openai.responses",
                  {"stream": "native_tool_search_streaming", "reasoning": "annotations_streaming.yaml#0"}),
    "gemini_cli": (gemini, "@google/gemini-cli", "gemini.generate",
                   {"reasoning": "usage_is_live_mid_stream", "tool": "grounding_gemini_3[True].yaml#3"}),
    "qwen_code": (qwen, "@qwen-code/qwen-code", "openai.chat", {"cached": "capability_with_thinking.yaml#2"}),
    "copilot_cli": (copilot_anthropic, "@github/copilot", "anthropic.messages",
                    {"cached": "anthropic_cache_real_api.yaml#1",
                     "cache_written": "prefix_is_reused.yaml#0"}),
    "copilot_cli_openai": (copilot_openai, "@github/copilot", "openai.responses",
                           {"reasoning": "annotations_streaming.yaml#0"}),
    "opencode": (opencode, "opencode-ai", "anthropic.messages",
                 {"cached": "anthropic_cache_real_api.yaml#1"}),
}  # fmt: skip


def find(api: str, words: str) -> Recording:
    return next(each for each in load() if each.expected["api"] == api and words in each.id)


def capture(folder: str, bins: Path) -> None:
    start, package, api, cases = AGENTS[folder]
    for case, words in cases.items():
        recording = find(api, words)
        with replaying() as replay, tempfile.TemporaryDirectory() as home:
            replay.recording = recording
            base = f"http://127.0.0.1:{replay.port}"
            command, environment = start(base, Path(home))
            found = next(bins.glob(f"**/node_modules/.bin/{command[0]}"))
            done = subprocess.run(
                [str(found), *command[1:]], cwd=home, timeout=120, check=False,
                stdin=subprocess.DEVNULL, capture_output=True, text=True,
                env={"PATH": os.environ["PATH"], "HOME": home, **environment},
            )  # fmt: skip
            posted = [path for path, _, _ in replay.exports]
            print(folder, case, done.returncode, replay.asked, posted, done.stderr[-300:])
            manifest = found.parent.parent / package / "package.json"
            write(folder, case, f"{package} {json.loads(manifest.read_text())['version']}",
                  recording, replay)  # fmt: skip


def write(folder: str, case: str, package: str, recording: Recording, replay: Replay) -> None:
    said = recording.expected
    (HERE / folder).mkdir(exist_ok=True)
    requests: dict[str, list[Any]] = {"logs": [], "traces": []}
    for path, kind, body in replay.exports:
        signal = path.rpartition("/")[2]
        if signal in requests:
            made = ExportLogsServiceRequest() if signal == "logs" else ExportTraceServiceRequest()
            made.ParseFromString(to_protobuf(body, made) if "json" in kind else body)
            requests[signal].append(trimmed(MessageToDict(made)))
    (HERE / folder / f"{case}.json").write_text(
        json.dumps(
            {
                "package": package,
                "captured": datetime.now(UTC).date().isoformat(),
                "recording": recording.id,
                "expected": [
                    {name: said[name] for name in ("input_tokens", "output_tokens", "model")}
                ]
                * replay.answered,
                **{
                    name: kept
                    for name, all_ in requests.items()
                    if (kept := [r for r in all_ if r])
                },
            },
            indent=1,
        )
        + "\n"
    )


def trimmed(request: dict[str, Any]) -> dict[str, Any]:
    """Return the request (ids in base64, as protobuf has it) without prompts, machine and chatter."""
    for of_resource in request.get("resourceLogs", []) + request.get("resourceSpans", []):
        _trim(of_resource["resource"])
        for scope in of_resource.get("scopeLogs", []) + of_resource.get("scopeSpans", []):
            if "logRecords" in scope:
                scope["logRecords"] = [
                    each for each in scope["logRecords"] if _is_of_interest(each)
                ]
                stream = [r for r in scope["logRecords"] if "sse_event" in json.dumps(r)]
                for record in stream[1:-4]:  # one event of a stream looks like the other
                    scope["logRecords"].remove(record)
            if "spans" in scope:  # Codex traces its own inner life as well
                scope["spans"] = [each for each in scope["spans"] if _has_usage(each)]
            for each in scope.get("logRecords", []) + scope.get("spans", []):
                each.pop("events", None)
                each.pop("links", None)
                each.pop("status", None)
                _trim(each)
        for name in ("scopeLogs", "scopeSpans"):
            if name in of_resource:
                of_resource[name] = [
                    s for s in of_resource[name] if s.get("logRecords") or s.get("spans")
                ]
    for name in ("resourceLogs", "resourceSpans"):
        if name in request:
            request[name] = [r for r in request[name] if r.get("scopeLogs") or r.get("scopeSpans")]
            if not request[name]:
                return {}
    return request


def _has_usage(span: dict[str, Any]) -> bool:
    return any("token" in pair["key"].lower() for pair in span.get("attributes", []))


def _is_of_interest(record: dict[str, Any]) -> bool:
    names = [
        each["value"].get("stringValue", "")
        for each in record.get("attributes", [])
        if each["key"] == "event.name"
    ]
    return any(word in name for name in names for word in LOGS_OF_INTEREST)


def _trim(each: dict[str, Any]) -> None:
    each["attributes"] = [
        pair
        for pair in each.get("attributes", [])
        if pair["key"] in KEPT
        or (not pair["key"].startswith(NOT_KEPT) and len(json.dumps(pair)) < 400)
    ]


if __name__ == "__main__":
    for name in sys.argv[2:] or AGENTS:
        capture(name, Path(sys.argv[1]))
