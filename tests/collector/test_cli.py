"""The command as a person meets it: one clear line for what is wrong, and an exit code."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from shared_store import SharedStore
from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.local import LocalStore
from tallyspan_clickhouse.migrate import Migration, apply
from tallyspan_clickhouse.rendering import Target
from tallyspan_collector.cli import main

pytestmark = pytest.mark.process
FREE = ["--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0", "--admin", "127.0.0.1:0"]


def tallyspan(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tallyspan", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def in_this_process(
    capsys: pytest.CaptureFixture[str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """What a process of the command would have come to, without the second it takes to start."""
    try:
        code = main(arguments)
    except SystemExit as ended:  # argparse refuses
        code = int(ended.code or 0)
    out, err = capsys.readouterr()
    return subprocess.CompletedProcess(arguments, code, out, err)


@contextmanager
def up(data_dir: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    command = [
        sys.executable,
        "-m",
        "tallyspan",
        "up",
        "--data-dir",
        str(data_dir),
        *FREE,
        *arguments,
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            yield child, json.loads(child.stdout.readline())
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(30)


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("tallyspan"), done.stderr
    for word in words:
        assert word in last, last


@pytest.mark.store
def test_up_announces_itself_in_a_line_of_json_and_sigterm_ends_it_with_0(tmp_path: Path) -> None:
    with up(tmp_path / "store") as (child, ready):
        assert {"otlp_grpc", "otlp_http", "admin", "store", "admin_key_file"} <= ready.keys()
        key_file = Path(ready["admin_key_file"])
        assert oct(key_file.stat().st_mode & 0o777) == "0o600"

    assert child.returncode == 0


@pytest.mark.store
def test_a_locked_data_directory_is_named_with_the_process_that_has_it(tmp_path: Path) -> None:
    with up(tmp_path / "store"):
        refused(
            tallyspan("up", "--data-dir", tmp_path / "store", *FREE),
            "runs there already",
            "--data-dir",
        )


@pytest.mark.store
def test_report_and_sql_read_a_store_that_is_running_and_one_that_is_not(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with up(store):
        running = tallyspan("report", "--data-dir", store, "--format", "json")
    stopped = tallyspan("report", "--data-dir", store, "--by", "user,model", "--format", "csv")
    table = tallyspan("report", "--data-dir", store)
    sql = tallyspan(
        "sql", "--data-dir", store, "SELECT count() FROM token_usage", "--format", "TSV"
    )

    assert json.loads(running.stdout)["totals"]["calls"] == 0
    assert stopped.stdout.startswith("user,model,calls,")
    assert "total" in table.stdout
    assert (sql.stdout, sql.returncode) == ("0\n", 0)


@pytest.mark.parametrize(
    "query", ["DROP TABLE llm_calls", "INSERT INTO llm_calls (user_id) VALUES ('x')", "SELEC 1"]
)
def test_sql_reads_and_nothing_else(
    store: SharedStore, query: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(in_this_process(capsys, "sql", "--data-dir", str(store.data_dir), query))


WRONG_CALLS = [
    (["up", "--otlp-grcp", "127.0.0.1:1"], ["unrecognized", "--otlp-grcp"]),
    (["up", "--admin", "4319"], ["--admin", "HOST:PORT"]),
    (["up", "--config", "no-such.yaml"], ["no-such.yaml"]),
    (["report", "--data-dir", "no-such-folder"], ["no-such-folder", "tallyspan up"]),
    (["report", "--since", "soon"], ["since"]),
    (["report", "--format", "xml"], ["xml"]),
    ([], ["COMMAND"]),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG_CALLS)
def test_a_wrong_call_is_refused_in_a_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(in_this_process(capsys, *arguments), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--store", "mysql://u:s3cret@h/d"], ["--store", "http"]),
        (["--store", "http://127.0.0.1:1/tallyspan"], ["127.0.0.1"]),
        (["--prices", "no-such.yaml", "--data-dir", "d"], ["no-such.yaml"]),
    ],
)
def test_what_a_collector_cannot_start_with_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = tallyspan("up", *arguments)

    refused(done, *words)
    assert "s3cret" not in done.stderr


def test_a_data_directory_of_another_schema_is_refused_by_name(tmp_path: Path) -> None:
    with LocalStore(tmp_path) as local, connect(local.url, database="tallyspan") as client:
        other = Migration(1, "0001_llm_calls.sql", "CREATE VIEW {database}.calls AS SELECT 1")
        apply(client, Target("tallyspan"), [other])

    for command in ("up", "report"):
        done = tallyspan(command, "--data-dir", tmp_path, *(FREE if command == "up" else ()))
        refused(done, "0001_llm_calls.sql", "start with a new --data-dir")


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for flag in ("--otlp-grpc", "--otlp-http", "--admin"):
            done = tallyspan("up", "--data-dir", tmp_path / "store", *FREE, flag, address)
            refused(done, flag, address, "in use")


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")

    refused(tallyspan("up", "--data-dir", file / "store", *FREE), str(file))


def test_bad_files_are_refused_by_line_and_key(tmp_path: Path) -> None:
    config, prices = tmp_path / "c.yaml", tmp_path / "p.yaml"
    config.write_text("store: local\nadmni: 1.1.1.1:1\n")
    prices.write_text("prices:\n  - model: m\n    unit: 1M tokens\n    input: -1\n")
    refused(tallyspan("up", "--config", config), "c.yaml:2", "admni", "'admin'")
    refused(
        tallyspan("up", "--prices", prices, "--data-dir", tmp_path / "s", *FREE),
        "p.yaml:4",
        "input",
    )


def test_a_wrong_password_is_said_and_never_printed(store: SharedStore) -> None:
    url = f"http://tallyspan:wr0ng-s3cret@127.0.0.1:{store.port}{urlsplit(store.url).path}"
    done = tallyspan("up", "--store", url, *FREE)

    refused(done, "password")
    assert "wr0ng-s3cret" not in done.stderr + done.stdout


def test_a_reader_that_closes_early_is_no_error(store: SharedStore) -> None:
    command = f"{sys.executable} -m tallyspan sql --data-dir {store.data_dir} 'SELECT number FROM numbers(1000000)' --format TSV | head -1"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, check=False, env=os.environ
    )

    assert (done.stdout, done.stderr) == ("0\n", "")
