"""Captures what LibreChat's own packages export: `python capture_librechat.py FOLDER ...`.

Each FOLDER has node_modules of `npm i @librechat/agents@VERSION`. A turn runs in Node
(`librechat.cjs`) against recordings, exporting by its Langfuse exporter to a receiver here; what it
posts is written beside this file as `librechat_agents_<version>/CASE.json`, without prompts.
With `--collector http://HOST:PORT` it exports to a running collector instead and writes nothing.
"""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from capture_agents import find
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from replay import Replay, replaying

from tallyspan_collector.read.otlp import _CONTENT
from tallyspan_collector.receiver.otlp_json import to_protobuf

HERE = Path(__file__).parent
WHO = {"user": "66f0c0ffee0123456789abcd", "conversation": "c0nv-1", "message": "m3ss-1"}
CASES: dict[str, dict[str, Any]] = {
    "turn_with_title": {
        "recording": ("openai.chat", "test_stop_settings[openai]"), "provider": "openAI",
        "model": "o3-mini", "agent": "agent_7Hq", "agentName": "Helper", "title": True,
    },
    "cached": {
        "recording": ("anthropic.messages", "anthropic_cache_real_api.yaml#1"),
        "provider": "anthropic", "model": "claude-sonnet-4-5",
        "agent": "my-gateway__claude-sonnet-4-5___Claude", "agentName": "Claude",
    },
    "uncached": {
        "recording": ("anthropic.messages", "native_tool_search_streaming"),
        "provider": "anthropic", "model": "claude-sonnet-4-6",
        "agent": "anthropic__claude-sonnet-4-6___Claude", "agentName": "Claude",
    },
    "aborted": {
        "recording": ("openai.chat", "test_multiple_agents.yaml#1"), "provider": "openAI",
        "model": "gpt-4o", "agent": "agent_7Hq", "agentName": "Helper", "abortAfter": 1500,
    },
}  # fmt: skip


def expected(case: dict[str, Any], replay: Replay, version: str) -> list[dict[str, Any]]:
    said = find(*case["recording"]).expected
    is_aborted = "abortAfter" in case
    is_old = version.startswith(("3.0.", "3.1."))
    is_ephemeral = not case["agent"].startswith("agent_")
    turn = {
        "input_tokens": None if is_aborted else said["input_tokens"],
        "output_tokens": None if is_aborted else said["output_tokens"],
        "user_id": WHO["user"], "conversation_id": WHO["conversation"],
        "agent_id": "" if is_ephemeral else case["agent"],
        "endpoint_id": case["agent"].partition("__")[0]
        if is_ephemeral
        else ("" if is_old else case["provider"]),
        "provider_name": said["provider"],
    }  # fmt: skip
    title = {**turn, "agent_id": ""} if is_old else turn  # by its turn
    return [turn, title][: replay.answered]


def run(modules: Path, case: dict[str, Any], replay: Replay, langfuse: str, secret: str) -> str:
    replay.recording = find(*case["recording"])
    replay.hangs = "abortAfter" in case
    turn = {**case, **WHO, "base": f"http://127.0.0.1:{replay.port}"}
    done = subprocess.run(
        ["node", str(HERE / "librechat.cjs"), str(modules), json.dumps(turn)],
        env={"PATH": os.environ["PATH"], "LANGFUSE_PUBLIC_KEY": "librechat-prod",
             "LANGFUSE_SECRET_KEY": secret, "LANGFUSE_BASE_URL": langfuse,
             "LANGFUSE_PROJECT_ID": "tallyspan", "LANGFUSE_FLUSH_INTERVAL": "1",
             "LANGFUSE_TRACING_ENVIRONMENT": "production"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return f"{done.returncode} {done.stderr[-200:]}"


def capture(modules: Path, name: str, case: dict[str, Any], version: str) -> None:
    with replaying() as replay:
        print(version, name, run(modules, case, replay, f"http://127.0.0.1:{replay.port}", "sk"))
        folder = HERE / ("librechat_agents_" + "_".join(version.split(".")[:2]))
        folder.mkdir(exist_ok=True)
        lines = []
        for path, kind, body in replay.exports:
            assert (path, kind) == ("/api/public/otel/v1/traces", "application/json")
            made = ExportTraceServiceRequest.FromString(
                to_protobuf(body, ExportTraceServiceRequest())
            )
            lines.append(json.dumps(_trimmed(MessageToDict(made)), separators=(",", ":")))
        head = {
            "package": f"@librechat/agents {version}",
            "captured": datetime.now(UTC).date().isoformat(),
            "recording": find(*case["recording"]).id,
            "expected": expected(case, replay, version),
        }
        (folder / f"{name}.json").write_text(
            json.dumps(head, indent=1).rstrip("}").rstrip()
            + ',\n "traces": [\n'
            + ",\n".join(lines)
            + "\n]}\n"
        )


def _trimmed(request: dict[str, Any]) -> dict[str, Any]:
    for of_resource in request["resourceSpans"]:
        attributes = of_resource["resource"].get("attributes", [])
        of_resource["resource"]["attributes"] = [
            pair for pair in attributes if pair["key"].startswith(("service.", "telemetry."))
        ]
        for scope in of_resource["scopeSpans"]:
            for span in scope["spans"]:
                span["attributes"] = [
                    pair
                    for pair in span["attributes"]
                    if not pair["key"].startswith(_CONTENT) and len(json.dumps(pair)) < 300
                ]
    return request


if __name__ == "__main__":
    asked = sys.argv[1:]
    collector = asked[asked.index("--collector") + 1] if "--collector" in asked else ""
    for each in [Path(given) for given in asked if not given.startswith(("--", "http"))]:
        package = each / "node_modules/@librechat/agents/package.json"
        found = json.loads(package.read_text())["version"]
        for case_name, said in CASES.items():
            if collector:
                with replaying() as there:
                    secret = os.environ.get("LANGFUSE_SECRET_KEY", "sk")
                    print(found, case_name, run(each, said, there, collector, secret))
            else:
                capture(each, case_name, said, found)
