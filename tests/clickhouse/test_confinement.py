"""Who reaches the local store's port, and what its engine can do for whoever does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from ledger import book, call
from shared_store import SharedStore
from tallyspan_clickhouse import confinement, landlock
from tallyspan_clickhouse.data_directory import Account
from tallyspan_clickhouse.engine import connect, one_line

pytestmark = pytest.mark.store
NOBODY = 65534
WRITER: Account = "tallyspan"
READER: Account = "tallyspan_reader"
needs_landlock = pytest.mark.skipif(bool(confinement.missing()), reason=confinement.missing())
ANOTHER_USER = f"""
import encodings.idna, json, os, stringprep, sys, urllib.error, urllib.request
port, data_dir, engine, passwords = json.loads(sys.argv[1])
os.setgroups([]), os.setgid({NOBODY}), os.setuid({NOBODY})
seen = {{}}
for user, password in passwords.items():
    for path in ("/", "/ping", "/play", "/tallyspan", "/?query=SELECT+file('/etc/hostname')"):
        for host in ("127.0.0.1", "attacker.example"):
            headers = {{"X-ClickHouse-User": user, "X-ClickHouse-Key": password, "Host": host}}
            request = urllib.request.Request(f"http://127.0.0.1:{{port}}{{path}}", headers=headers)
            try:
                seen[f"{{user}} {{host}} {{path}}"] = urllib.request.urlopen(request).status
            except urllib.error.HTTPError as error:
                seen[f"{{user}} {{host}} {{path}}"] = error.code
for name in ("passwords.json", "store.json", "config/config.xml", "log/server.log"):
    try:
        seen[name] = open(f"{{data_dir}}/{{name}}").read()
    except OSError as error:
        seen[name] = error.strerror
try:
    seen["environment"] = open(f"/proc/{{engine}}/environ").read()
except OSError as error:
    seen["environment"] = error.strerror
seen["command"] = open(f"/proc/{{engine}}/cmdline").read()
print(json.dumps(seen))
"""


def password(store: SharedStore, user: Account) -> str:
    return str(urlsplit(store.url_for(user)).password)


def ask(store: SharedStore, user: str, password: str, query: str) -> str:
    """Return what the port answers this account, at the right path; errors, too."""
    url = f"http://127.0.0.1:{store.port}{secret_path(store)}"
    headers = {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}
    try:
        with urlopen(Request(url, query.encode(), headers)) as answer:
            return str(answer.read().decode())
    except HTTPError as error:
        return error.read().decode()


def secret_path(store: SharedStore) -> str:
    return urlsplit(store.url).path.removesuffix("/tallyspan")


@pytest.fixture(params=["default", WRITER, READER])
def account(request: pytest.FixtureRequest, store: SharedStore) -> tuple[str, str]:
    user = str(request.param)
    return user, "" if user == "default" else password(store, request.param)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_of_the_machine_finds_no_way_in(store: SharedStore) -> None:
    passwords = {"default": "", WRITER: password(store, WRITER), READER: password(store, READER)}
    what = json.dumps([store.port, str(store.data_dir), store.engine_pid, passwords])
    done = subprocess.run(
        [sys.executable, "-c", ANOTHER_USER, what], capture_output=True, text=True, check=True
    )
    seen = json.loads(done.stdout)
    command = seen.pop("command")

    assert set(seen.values()) == {404, "Permission denied"}
    assert len(seen) == 3 * 5 * 2 + 5
    assert secret_path(store) not in command


def test_the_path_cannot_be_guessed_and_is_in_files_of_the_owner_only(store: SharedStore) -> None:
    path = secret_path(store).removeprefix("/").encode()
    store_of = [each for each in store.data_dir.rglob("*") if each.is_file()]
    there = {
        each.name: each.stat().st_mode & 0o777 for each in store_of if path in each.read_bytes()
    }

    assert len(path) == 32  # 192 bits in base64
    assert there == dict.fromkeys(("passwords.json", "config.xml", "store.json"), 0o600)


def test_the_engine_listens_on_one_port(store: SharedStore) -> None:
    descriptors = Path(f"/proc/{store.engine_pid}/fd")
    sockets = {str(each.readlink()) for each in descriptors.iterdir()}
    lines = [
        line.split()
        for family in ("tcp", "tcp6")
        for line in Path(f"/proc/{store.engine_pid}/net/{family}").read_text().splitlines()[1:]
    ]
    listening = [line[1] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in sockets]

    assert listening == [f"0100007F:{store.port:04X}"]


@needs_landlock
@pytest.mark.parametrize(
    "file",
    ["/etc/passwd", "/etc/hostname", "/proc/{own}/environ", "{data_dir}/passwords.json"],
)
def test_the_engine_reads_no_file_but_its_own_for_anybody(
    store: SharedStore, account: tuple[str, str], file: str
) -> None:
    path = file.format(data_dir=store.data_dir, own=os.getpid())

    answer = ask(store, *account, f"SELECT file('{path}')")

    assert Path(path).read_bytes()
    assert "Permission denied" in answer


def test_no_account_runs_python(store: SharedStore, account: tuple[str, str]) -> None:
    engine = store.engine_pid

    plain = ask(store, *account, "SELECT * FROM python('x')")
    switched = ask(
        store, *account, "SELECT * FROM python('x') SETTINGS allow_python_table_function = 1"
    )

    assert "FUNCTION_NOT_ALLOWED" in plain
    assert "QUERY_IS_PROHIBITED" in switched
    assert store.engine_pid == engine


def test_the_account_the_engine_starts_with_has_no_right_to_data(store: SharedStore) -> None:
    for query in (
        "SELECT count() FROM system.numbers LIMIT 1",
        "SELECT count() FROM tallyspan.llm_calls",
        "SELECT * FROM file('/etc/passwd', 'RawBLOB')",
        "SYSTEM STOP LISTEN HTTP",
    ):
        assert ask(store, "default", "", query).startswith("Code: "), query
        assert ask(store, "default", "guess", query).startswith("Code: "), query


def test_the_reader_has_2_gb_and_cannot_take_more(store: SharedStore) -> None:
    reader = (READER, password(store, READER))

    assert ask(store, *reader, "SELECT getSetting('max_memory_usage')") == "2000000000\n"
    more = ask(store, *reader, "SELECT 1 SETTINGS max_memory_usage = 3000000000")
    assert "READONLY" in more


def test_the_engine_gets_no_secret_of_its_parents_environment(store: SharedStore) -> None:
    ours = {"TALLYSPAN_ADMIN_KEY": "a", "OPENAI_API_KEY": "b", "AWS_SECRET_ACCESS_KEY": "c"}
    text = Path(f"/proc/{store.engine_pid}/environ").read_text()
    names = {each.partition("=")[0] for each in text.split("\0") if each}

    assert confinement.environment({**ours, "PATH": "/bin", "PYTHONPATH": "x"}) == {
        "PATH": "/bin", "PYTHONPATH": "x", "TZ": "UTC"
    }  # fmt: skip
    assert names <= confinement.environment(os.environ).keys()


def test_a_client_that_knows_the_path_writes_and_reads(store: SharedStore, client: Client) -> None:
    book(client, [call(user_id="ada")])

    # As Grafana's data source does: server and port, the path, the database as parameter
    query = quote("SELECT user_id FROM calls FORMAT TSV")
    url = f"http://127.0.0.1:{store.port}{secret_path(store)}?database=tallyspan&query={query}"
    headers = {"X-ClickHouse-User": READER, "X-ClickHouse-Key": password(store, READER)}
    with urlopen(Request(url, headers=headers)) as answer:
        assert answer.read() == b"ada\n"
    with connect(store.url_for(READER)) as reader:
        assert reader.query("SELECT user_id FROM calls").result_rows == [("ada",)]


def test_no_message_about_an_address_has_its_path(store: SharedStore) -> None:
    with connect(store.url) as client, pytest.raises(ClickHouseError) as refused:
        client.query("SELECT nonsense")
    path = secret_path(store)

    assert path in str(refused.value)
    assert path not in one_line(refused.value)
    lost = OSError(
        f"HTTPConnectionPool(host='h', port=1): Max retries exceeded with url: {path}?a=b"
    )
    assert one_line(lost) == "HTTPConnectionPool(host='h', port=1): Max retries exceeded"


@pytest.mark.parametrize(
    ("platform", "abi", "says"),
    [
        ("darwin", 0, "darwin has no Landlock"),
        ("linux", 0, "this kernel has no Landlock, or it is switched off"),
        ("linux", 1, "the Landlock of this kernel is too old"),
        ("linux", 2, ""),
    ],
)
def test_where_an_engine_cannot_be_confined_the_reason_is_said(
    monkeypatch: pytest.MonkeyPatch, platform: str, abi: int, says: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(landlock, "abi", lambda: abi)

    assert confinement.missing().startswith(says)
    assert bool(confinement.missing()) == bool(says)
