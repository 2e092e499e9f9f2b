"""What a collector's process does not load."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.store
def test_a_collector_has_no_data_frames_in_its_memory(tmp_path: Path) -> None:
    free = "127.0.0.1:0"
    child = subprocess.Popen(
        [sys.executable, "-m", "tallyspan", "up", "--data-dir", str(tmp_path), "--otlp-grpc", free,
         "--otlp-http", free, "--admin", free],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    with child:
        assert child.stdout is not None
        json.loads(child.stdout.readline())  # it listens
        mapped = Path(f"/proc/{child.pid}/maps").read_text()
        child.terminate()
        assert child.wait(60) == 0

    assert "cygrpc" in mapped
    assert not [name for name in ("libarrow", "pandas") if name in mapped]
