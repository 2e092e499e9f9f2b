"""Ingest keys: who may send, for whom, how often; revoked without a restart."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import grpc
import httpx
import pytest
from clickhouse_connect.driver.client import Client

from full_disk import full_disk
from otlp_spans import CHAT, request, span
from running import Running, running_collector
from shared_store import SharedStore
from tallyspan_collector.access import keys
from tallyspan_collector.access.keys import ENVIRONMENT, Key, Keys, make
from tallyspan_collector.cli import main
from tallyspan_collector.config import Config
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.server.worker import check_exposure, is_loopback
from tallyspan_collector.service import open_keys
from waiting import wait_for

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory, store: SharedStore) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "READ_SECONDS", 0.1)
        patch.setattr("tallyspan_collector.server.worker.READ_SECONDS", 0.1)
        with running_collector(tmp_path_factory.mktemp("keys"), store=store.url) as running:
            yield running


def post(collector: Running, body: bytes, authorization: str = "") -> httpx.Response:
    headers = {"content-type": "application/x-protobuf"}
    if authorization:
        headers["authorization"] = authorization
    return httpx.post(
        f"http://{collector.ready.otlp_http}/v1/traces", content=body, headers=headers
    )


def command(collector: Running, *arguments: str) -> subprocess.CompletedProcess[str]:
    said = ["keys", *arguments, "--store", collector.store]
    return subprocess.run(
        [sys.executable, "-m", "tallyspan", *said], capture_output=True, text=True, check=False
    )


def run(collector: Running, *arguments: str) -> str:
    done = command(collector, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_key_made_by_command_lets_in_names_the_source_and_is_revoked(
    collector: Running,
) -> None:
    body = request(span(1, {**CHAT, "user.id": "keyed"}))
    assert post(collector, request(span(2, CHAT))).status_code == 200  # loopback, no key yet
    token = run(
        collector, "add", "chat-backend", "--role", "ingest",
        "--department", "Support", "--tenant", "acme",
    ).strip()  # fmt: skip
    run(collector, "add", "two", "--role", "admin", "--departments", "Support,Sales")
    listed = run(collector, "list")
    wait_for(lambda: post(collector, b"").status_code == 401, "the key among those of the door")

    assert post(collector, body).status_code == 401
    assert post(collector, body, "Bearer wrong").status_code == 401
    with (
        grpc.insecure_channel(collector.ready.otlp_grpc) as channel,
        pytest.raises(grpc.RpcError) as refused,
    ):
        channel.unary_unary(TRACES)(body)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert post(collector, body, f"Bearer {token}").status_code == 200
    basic = httpx.BasicAuth("anyone", token)._auth_header
    assert post(collector, request(span(3, CHAT)), basic).status_code == 200
    with grpc.insecure_channel(collector.ready.otlp_grpc) as channel:
        metadata = (("authorization", f"Bearer {token}"),)
        assert channel.unary_unary(TRACES)(request(span(4, CHAT)), metadata=metadata) == b""
    (row,) = collector.rows("SELECT source, tenant, department FROM calls WHERE user_id = 'keyed'")
    assert row == {"source": "chat-backend", "tenant": "acme", "department": "Support"}

    assert re.search(r"two .*Support, ?Sales", listed)
    assert token not in listed
    key_id = next(line.split()[0] for line in listed.splitlines() if "chat-backend" in line)
    run(collector, "revoke", key_id)
    wait_for(
        lambda: post(collector, b"", f"Bearer {token}").status_code == 401, "the revocation there"
    )
    later = post(collector, body, f"Bearer {token}")
    assert later.status_code == 401  # the last key is gone, and that opens no door
    assert "revoked" in run(collector, "list")
    stored = collector.client.query("SELECT * FROM api_keys").result_rows
    assert token not in str(stored)


def test_a_chat_key_without_the_ingest_key_whose_users_it_is_for_is_made_with_a_warning(
    collector: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    warnings = []
    for name, *more in (
        ("wiki", "--role", "chat"),
        ("ingest", "--role", "chat"),  # that of TALLYSPAN_INGEST_KEY
        ("wiki", "--role", "ingest", "--tenant", "acme"),
        ("wiki", "--role", "chat"),
        ("wiki", "--role", "chat", "--tenant", "acme"),
    ):
        assert main(["keys", "add", name, *more, "--store", collector.store]) == 0
        warnings.append("warning: no ingest key has the name" in capsys.readouterr().err)

    assert warnings == [True, False, False, True, False]


def test_what_cannot_be_is_refused_with_a_sentence(collector: Running) -> None:
    for arguments, reason in (
        (["revoke", "nosuchid"], "no key has the id 'nosuchid'"),
        (["add", "x", "--role", "ingest", "--rate-limit", "-1"], "must be 0 or more"),
        (["add", "x", "--role", "ingest", "--expires", "soon"], "must be a duration"),
    ):
        done = command(collector, *arguments)
        assert done.returncode == 2
        assert reason in done.stderr


def test_a_key_is_found_by_its_role_until_it_ends() -> None:
    valid, token = make("ingest", "a")
    expired, old = make("ingest", "b", expires_s=1)
    found = Keys([valid, expired])

    assert found.find(token.encode(), "ingest") == valid
    assert found.find(token.encode(), "admin") is None
    assert found.find(old.encode(), "ingest") is None
    assert found.find(b"", "ingest") is None
    assert found.source(expired.id) == expired
    assert (found.has("ingest"), found.has("admin")) == (True, False)


def test_a_key_makes_at_most_its_requests_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("tallyspan_collector.access.keys.time.monotonic", lambda: clock[0])
    key = Key("1", "ingest", "a", "d", rate_limit=3)
    found = Keys([key])

    assert [found.is_within_rate(key) for _ in range(4)] == [True, True, True, False]
    clock[0] += 0.34
    assert [found.is_within_rate(key) for _ in range(2)] == [True, False]


def test_a_copy_of_the_keys_serves_a_start_without_the_store(tmp_path: Path) -> None:
    class Store:
        def query(self, _: str) -> Any:
            self.result_rows = [("1", "ingest", "a", keys.digest(b"t"), "", "", ["x"], 0, 0, 0)]
            return self

    copy = tmp_path / "keys.json"
    Keys(copy=copy).read(Store())  # type: ignore[arg-type]  # what it reads is all that counts

    found = Keys(copy=copy).find(b"t", "ingest")
    assert found is not None
    assert found.departments == ("x",)
    assert copy.stat().st_mode & 0o077 == 0
    copy.write_text("{")
    assert not Keys(copy=copy).has("ingest")


def test_a_disk_that_does_not_take_the_copy_is_said_and_the_keys_of_the_store_count(
    tmp_path: Path,
) -> None:
    class Store:
        result_rows: ClassVar[list[tuple[Any, ...]]] = [
            ("1", "ingest", "a", keys.digest(b"t"), "", "", [], 0, 0, 0)
        ]

        def query(self, _: str) -> Any:
            return self

    copy = tmp_path / "keys.json"
    found = Keys(copy=copy)
    with full_disk():
        found.read_or_remember(Store())  # type: ignore[arg-type]  # what it reads is all that counts

    assert found.find(b"t", "ingest") is not None
    assert f"{copy} cannot be written (File too large)" in found.copy.last_error
    found.read(Store())  # type: ignore[arg-type]
    assert (found.copy.last_error, Keys(copy=copy).has("ingest")) == ("", True)


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1:1", True), ("localhost:1", True), ("[::1]:1", True), ("0.0.0.0:1", False),
     ("[::]:1", False), ("10.1.2.3:1", False), ("collector:1", False)],
)  # fmt: skip
def test_only_loopback_needs_no_key(tmp_path: Path, address: str, expected: bool) -> None:
    config = Config("local", tmp_path, address, "127.0.0.1:0", "127.0.0.1:0")

    assert is_loopback(address) == expected
    if not expected:
        with pytest.raises(ConfigError, match="without a key"):
            check_exposure(config, Keys())
    check_exposure(config, Keys.of({"a": "b"}, "ingest"))


@pytest.mark.parametrize("variable", ["TALLYSPAN_ADMIN_KEY", "TALLYSPAN_INGEST_KEY"])
def test_a_key_of_the_environment_that_can_be_guessed_is_refused(variable: str) -> None:
    with pytest.raises(ConfigError, match=rf"{variable}: a key needs 20 characters"):
        Keys.of_environment({variable: "x" * 19})

    assert Keys.of_environment({variable: "x" * 20}).has(ENVIRONMENT[variable])


def test_an_admin_key_that_a_loss_of_power_left_empty_is_made_anew(
    client: Client, tmp_path: Path
) -> None:
    (tmp_path / "admin.key").touch()  # an earlier version wrote the name before the key
    config = Config("local", tmp_path, "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0")

    keys, path = open_keys(config, client)

    assert keys.find(b"", "admin") is None
    assert path is not None
    assert keys.find(path.read_bytes(), "admin") is not None
