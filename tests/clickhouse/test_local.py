import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tallyspan_clickhouse import local
from tallyspan_clickhouse.data_directory import is_held
from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.local import LocalStore, running_url
from waiting import wait_for

pytestmark = pytest.mark.store
HOLDER = """
import sys, time
from pathlib import Path
from tallyspan_clickhouse.local import LocalStore
with LocalStore(Path(sys.argv[1])) as store:
    print(store.engine_pid, flush=True)
    time.sleep(60)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_data_is_there_after_stop_and_start_and_the_passwords_stay(tmp_path: Path) -> None:
    with LocalStore(tmp_path) as store:
        client = connect(store.url)
        client.command("CREATE DATABASE tallyspan", use_database=False)
        client.command("CREATE TABLE kept (n UInt8) ENGINE = MergeTree ORDER BY n")
        client.insert("kept", [[1], [2]], column_names=["n"])
        first, port, pid = store.url, store.port, store.engine_pid
    assert not is_running(pid)
    with LocalStore(tmp_path, http_port=port) as store:
        assert store.url == first
        assert connect(store.url).command("SELECT sum(n) FROM kept") == 3


def test_what_a_full_disk_left_of_definitions_does_not_keep_the_store_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with LocalStore(tmp_path) as store, connect(store.url) as client:
        client.command("CREATE DATABASE tallyspan", use_database=False)
        client.command("CREATE TABLE kept (n UInt8) ENGINE = MergeTree ORDER BY n")
        client.insert("kept", [[7]], column_names=["n"])
        client.command("CREATE TABLE ledger_lock (held UInt8) ENGINE = Memory")
    folder = tmp_path / "data/metadata/tallyspan"
    whole = (folder / "kept.sql").read_bytes()
    (folder / "kept.sql").write_bytes(whole[:20])
    (folder / "schema_lock.sql").write_bytes(b"")
    (folder / "unfinished.sql").write_bytes(b"")

    with LocalStore(tmp_path) as store, connect(store.url) as client:
        assert client.command("SELECT sum(n) FROM kept") == 7
        assert client.command("SHOW TABLES") == "kept"
    assert (folder / "kept.sql").read_bytes() == whole
    assert sorted(re.sub(r"^.*/(\w+\.sql)", r"\1", text) for text in caplog.messages) == [
        "kept.sql was not written to its end: put back as it was before",
        "ledger_lock.sql was left by a process that ended: removed",
        "schema_lock.sql was left by a process that ended: removed",
        "unfinished.sql was never written to its end: removed",
    ]


def test_an_engine_that_is_killed_comes_back_on_its_port_with_its_data(tmp_path: Path) -> None:
    with LocalStore(tmp_path) as store:
        client = connect(store.url)
        client.command("CREATE DATABASE tallyspan", use_database=False)
        client.command("CREATE TABLE kept (n UInt8) ENGINE = MergeTree ORDER BY n")
        client.insert("kept", [[7]], column_names=["n"])
        url, killed = store.url, store.engine_pid
        os.kill(killed, signal.SIGKILL)

        wait_for(lambda: store.restarts == 1, "the engine started again")
        assert store.engine_pid != killed
        assert store.url == url
        assert connect(url).command("SELECT sum(n) FROM kept") == 7


def test_no_engine_outlives_a_parent_that_is_killed_and_the_directory_opens_again(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        engine = int(parent.stdout.readline())
        assert running_url(tmp_path) is not None
        parent.kill()

    with LocalStore(tmp_path) as store:
        assert store.restarts == 0
        wait_for(lambda: not is_running(engine), "the engine gone")


def test_an_engine_ends_when_its_standard_input_closes(tmp_path: Path) -> None:
    with LocalStore(tmp_path) as store:
        engine = store._supervisor._engine
        assert engine is not None
        assert engine.stdin is not None
        engine.stdin.close()

        wait_for(lambda: engine.poll() is not None, "the engine gone")
        wait_for(lambda: store.restarts == 1, "the engine started again")


def test_a_second_opener_is_told_who_has_the_directory(tmp_path: Path) -> None:
    with LocalStore(tmp_path), pytest.raises(StoreError) as refused, LocalStore(tmp_path):
        pass

    assert str(refused.value) == (
        f"data directory {tmp_path} is in use by process {os.getpid()}; "
        "stop it or choose another --data-dir"
    )


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match=r"cannot write to data directory .*choose another"):
        LocalStore(tmp_path / "file" / "store").__enter__()


def test_a_port_in_use_is_named_and_the_directory_is_free_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StoreError, match=f"port {port} on 127.0.0.1"):
            LocalStore(tmp_path, http_port=port).__enter__()

    assert not is_held(tmp_path)


def test_an_engine_that_cannot_start_is_reported_with_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "data" / "status").mkdir(parents=True)

    with pytest.raises(StoreError, match=r"the local store did not start: .*xception"):
        LocalStore(tmp_path).__enter__()


def test_other_processes_find_a_running_store_and_none_after_it_stopped(tmp_path: Path) -> None:
    with LocalStore(tmp_path) as store:
        assert running_url(tmp_path) == store.url
        assert running_url(tmp_path, "tallyspan_reader") == store.url_for("tallyspan_reader")
        assert json.loads((tmp_path / "store.json").read_text())["pid"] == os.getpid()
        modes = {
            path.name: path.stat().st_mode & 0o777
            for path in [*tmp_path.glob("*.json"), *(tmp_path / "config").iterdir()]
        }

    assert set(modes.values()) == {0o600}
    assert running_url(tmp_path) is None
    assert not (tmp_path / "store.json").exists()


def test_without_the_engine_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "extension_path", lambda: None)

    with pytest.raises(StoreError, match=r"pip install 'tallyspan\[local\]', or use --store http"):
        LocalStore(tmp_path).__enter__()


def test_nothing_is_printed_and_the_engine_is_in_its_own_session(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with LocalStore(tmp_path) as store:
        assert os.getsid(store.engine_pid) == store.engine_pid

    assert capfd.readouterr() == ("", "")


def test_the_log_has_warnings_only_not_every_query(tmp_path: Path) -> None:
    with LocalStore(tmp_path) as store:
        connect(store.url).command("SELECT 'seen in no log'", use_database=False)

    assert "seen in no log" not in (tmp_path / "log" / "server.log").read_text()
