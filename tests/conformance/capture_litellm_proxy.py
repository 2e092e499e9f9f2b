"""Captures what LiteLLM's proxy exports for recorded calls: `python capture_litellm_proxy.py BIN`.

BIN is the `litellm` of a Python with litellm[proxy] and opentelemetry-exporter-otlp. The proxy runs
on loopback before a recording, as an application with a span of its own calls it; what it posts to
/v1/traces is written beside this file, without prompts.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

from capture_agents import find, write
from replay import replaying

CASES = {
    # case: (API of the recording, words that name it, model of the proxy, path, body)
    "messages_cached": (
        "anthropic.messages",
        "anthropic_cache_real_api.yaml#1",
        "anthropic/claude-sonnet-4-5",
    ),
    "chat_reasoning": ("openai.chat", "max_completion_tokens[o3-mini].yaml#0", "openai/o3-mini"),
}
VERSIONS = {"litellm_proxy_v1": {}, "litellm_proxy_v2": {"LITELLM_OTEL_V2": "true"}}
KEY = "sk-0123456789abcdef0123456789abcdef"  # of the proxy on loopback, made up
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def capture(folder: str, case: str, binary: Path) -> None:
    api, words, model = CASES[case]
    recording = find(api, words)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with replaying() as replay, tempfile.TemporaryDirectory() as home:
        replay.recording = recording
        base = f"http://127.0.0.1:{replay.port}"
        upstream = base if model.startswith("anthropic") else f"{base}/v1"
        params = {"model": model, "api_base": upstream, "api_key": "sk-x"}
        config = {
            "model_list": [{"model_name": "m", "litellm_params": params}],
            "litellm_settings": {"callbacks": ["otel"], "turn_off_message_logging": True},
        }
        (Path(home) / "config.yaml").write_text(json.dumps(config))
        command = [str(binary), "--config", f"{home}/config.yaml", "--port", str(port)]
        environment = {
            "PATH": os.environ["PATH"], "HOME": home, "OTEL_EXPORTER": "otlp_http",
            "OTEL_ENDPOINT": f"{base}/v1/traces", "OTEL_EXPORTER_OTLP_ENDPOINT": base,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "OTEL_BSP_SCHEDULE_DELAY": "100", "LITELLM_MASTER_KEY": KEY, **VERSIONS[folder],
        }  # fmt: skip
        proxy = subprocess.Popen(command, cwd=home, env=environment)
        try:
            answer = asked(f"http://127.0.0.1:{port}/v1/chat/completions")
            print(folder, case, answer[:200])
            until = time.monotonic() + 20
            while not replay.exports and time.monotonic() < until:
                time.sleep(0.2)
            time.sleep(2)
        finally:
            proxy.terminate()
            proxy.wait()
        site = binary.resolve().parent.parent / "lib"
        (package,) = site.glob("python*/site-packages/litellm-*.dist-info")
        version = re.fullmatch(r"litellm-(.*)\.dist-info", package.name)
        assert version is not None
        write(folder, case, f"litellm {version[1]}", recording, replay)


def asked(url: str) -> str:
    """Ask the proxy as an application does, once it answers."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "user": "ann"}
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}",
               "traceparent": TRACEPARENT}  # fmt: skip
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310
    for _ in range(120):
        try:
            with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310
                return response.read().decode()
        except (URLError, ConnectionError):
            time.sleep(0.5)
    raise SystemExit("the proxy does not answer")


if __name__ == "__main__":
    for folder in VERSIONS:
        for case in CASES:
            capture(folder, case, Path(sys.argv[1]))
