"""A service that was started with opentelemetry-instrument and knows nothing of us."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from running import Running
from tallyspan_collector.demo import provider
from tallyspan_collector.demo.recordings import Recording, load

OPENAI = """
import sys, openai
port, replay, body = sys.argv[1:]
client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
client.chat.completions.create(
    model="gpt-5-mini", messages=[], extra_headers={"x-tallyspan-replay": replay}
)
"""
ANTHROPIC = """
import json, sys, anthropic
port, replay, body = sys.argv[1:]
client = anthropic.Anthropic(base_url=f"http://127.0.0.1:{port}", api_key="none")
body = json.loads(body)
answer = client.messages.create(
    model=body["model"], max_tokens=9, messages=body["messages"], stream=body.get("stream", False),
    extra_headers={"x-tallyspan-replay": replay},
)
if body.get("stream"):
    for event in answer:
        pass
"""


def recording(api: str, path: str, *, is_stream: bool) -> Recording:
    return next(
        each
        for each in load()
        if each.expected["api"] == api
        and each.path == path
        and each.status == 200
        and each.is_stream == is_stream
        and each.expected["usage_reported"]
    )


CHAT = recording("openai.chat", "/v1/chat/completions", is_stream=False)
MESSAGES = recording("anthropic.messages", "/v1/messages", is_stream=False)
STREAM = recording("anthropic.messages", "/v1/messages", is_stream=True)


# What is exported does not depend on how, so each protocol needs one application only.
@pytest.mark.parametrize(
    ("service", "protocol", "app", "replayed"),
    [
        ("chat", "http/protobuf", OPENAI, CHAT),
        # The anthropic SDK opens a span of its own: still one call.
        ("messages", "grpc", ANTHROPIC, MESSAGES),
        ("stream", "http/protobuf", ANTHROPIC, STREAM),
    ],
    ids=["openai", "anthropic", "anthropic-stream"],
)
def test_each_call_arrives_once_without_a_change_of_its_code(
    tmp_path: Path, collector: Running, service: str, protocol: str, app: str, replayed: Recording
) -> None:
    file = tmp_path / "app.py"
    file.write_text(app)
    with provider.serving([replayed]) as port:
        addresses = {"grpc": collector.ready.otlp_grpc, "http/protobuf": collector.ready.otlp_http}
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "opentelemetry-instrument"),
                sys.executable,
                str(file),
                str(port),
                replayed.id,
                json.dumps(replayed.request_body),
            ],
            env={
                **os.environ,
                "OTEL_SERVICE_NAME": service,
                "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "openai,anthropic",
                "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{addresses[protocol]}",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        rows = collector.rows(
            "SELECT input_tokens, output_tokens FROM calls WHERE service_name = {service:String}",
            service=service,
        )

    assert done.returncode == 0, done.stderr
    assert rows == [
        {
            "input_tokens": replayed.expected["input_tokens"],
            "output_tokens": replayed.expected["output_tokens"],
        }
    ]
