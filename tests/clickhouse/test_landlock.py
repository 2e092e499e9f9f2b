import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tallyspan_clickhouse import confinement, landlock

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(bool(confinement.missing()), reason=confinement.missing()),
]
CONFINED = """
import errno, json, os, socket, sys
from pathlib import Path
from tallyspan_clickhouse import landlock
abi, port, other, parent, *folders = json.loads(sys.argv[1])
ours, read, secret = map(Path, folders)
landlock.abi = lambda: abi
landlock.restrict([read, Path("/nowhere")], [ours], port)
listener = socket.socket()

def rename():
    (ours / "a").mkdir()
    (ours / "b").mkdir()
    (ours / "a/file").write_text("x")
    (ours / "a/file").rename(ours / "b/file")
    os.truncate(ours / "b/file", 0)
    (ours / "b/file").unlink()
    (ours / "b").rmdir()

tries = {
    "keep its own": rename,
    "read what it may": (read / "file").read_text,
    "write what it may read": lambda: (read / "file").write_text("x"),
    "read another file": (secret / "file").read_text,
    "write another file": lambda: (secret / "new").write_text("x"),
    "remove another file": (secret / "file").unlink,
    "take another file": lambda: (secret / "file").rename(ours / "file"),
    "link another file": lambda: os.link(secret / "file", ours / "linked"),
    "run a program": lambda: os.execv("/bin/true", ["true"]),
    "listen on its port": lambda: listener.bind(("127.0.0.1", port)),
    "listen on another port": lambda: socket.socket().bind(("127.0.0.1", 0)),
    "connect": lambda: socket.socket().connect(("127.0.0.1", other)),
    "signal its parent": lambda: os.kill(parent, 0),
}
seen = {}
for name, attempt in tries.items():
    try:
        attempt()
        seen[name] = "done"
    except OSError as error:
        seen[name] = errno.errorcode[error.errno]
print(json.dumps(seen))
"""
FILES = {
    "keep its own": {"done"},
    "read what it may": {"done"},
    "write what it may read": {"EACCES"},
    "read another file": {"EACCES"},
    "write another file": {"EACCES"},
    "remove another file": {"EACCES"},
    "take another file": {"EACCES", "EXDEV"},
    "link another file": {"EACCES", "EXDEV"},
    "run a program": {"EACCES"},
    "listen on its port": {"done"},
}
NETWORK = ("listen on another port", "connect")


@pytest.mark.parametrize("abi", [2, 3, 4, 5, 6])
def test_a_confined_process_keeps_its_folders_and_its_port_and_reaches_nothing_else(
    abi: int, tmp_path: Path
) -> None:
    if abi > landlock.abi():
        pytest.skip(f"this kernel has Landlock's ABI {landlock.abi()}")
    folders = [tmp_path / name for name in ("ours", "read", "secret")]
    for folder in folders:
        folder.mkdir()
        (folder / "file").write_text("kept")
    with socket.create_server(("127.0.0.1", 0)) as other, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        what = [abi, port, other.getsockname()[1], os.getpid(), *map(str, folders)]
        done = subprocess.run(
            [sys.executable, "-c", CONFINED, json.dumps(what)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    seen = json.loads(done.stdout)

    assert {name for name, allowed in FILES.items() if seen[name] not in allowed} == set()
    assert {seen[name] for name in NETWORK} == {"EACCES" if abi >= 4 else "done"}
    assert seen["signal its parent"] == ("EPERM" if abi >= 6 else "done")
    assert [(folder / "file").read_text() for folder in folders] == ["kept"] * 3


def test_a_kernel_that_does_not_let_us_ask_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(landlock, "_call", refuse)

    assert landlock.abi() == 0
