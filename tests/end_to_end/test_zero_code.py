"""A service that was started with opentelemetry-instrument and knows nothing of us."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from running import running_collector
from tallyspan_collector.demo import provider
from tallyspan_collector.demo.recordings import load

APP = """
import sys, httpx2, openai
port, replay = sys.argv[1:]
client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
answer = client.chat.completions.create(
    model="gpt-5-mini", messages=[], extra_headers={"x-tallyspan-replay": replay}
)
print(answer.usage.completion_tokens)
"""


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_its_calls_arrive_without_a_change_of_its_code(tmp_path: Path, protocol: str) -> None:
    recording = next(
        each
        for each in load()
        if each.expected["api"] == "openai.chat"
        and each.path == "/v1/chat/completions"
        and each.status == 200
        and not each.is_stream
    )
    app = tmp_path / "app.py"
    app.write_text(APP)
    with running_collector(tmp_path / "store") as collector, provider.serving([recording]) as port:
        addresses = {"grpc": collector.ready.otlp_grpc, "http/protobuf": collector.ready.otlp_http}
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "opentelemetry-instrument"),
                sys.executable,
                str(app),
                str(port),
                recording.id,
            ],
            env={
                **os.environ,
                "OTEL_SERVICE_NAME": "shop",
                "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{addresses[protocol]}",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        rows = collector.rows("SELECT service_name, output_tokens FROM calls")

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(recording.expected["output_tokens"])
    assert rows == [{"service_name": "shop", "output_tokens": recording.expected["output_tokens"]}]
