"""Who asked the admin API for what: noted without waiting, read back, never a secret in it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from call_facts import FACTS, fill
from running import ADMIN_KEY, running_collector
from shared_store import SharedStore
from tallyspan_clickhouse.engine import connect
from tallyspan_collector.access import audit
from tallyspan_collector.access.audit import AuditLog, Request, read
from tallyspan_collector.access.keys import Keys, make
from tallyspan_collector.api import create_app
from waiting import wait_for

KEY = {"Authorization": "Bearer tsa_key"}


@pytest.fixture(scope="module")
def ledger(store: SharedStore) -> Iterator[Client]:
    with connect(store.url) as client:
        fill(client, FACTS)
        yield client


@pytest.fixture
def client(ledger: Client) -> Client:
    ledger.command("TRUNCATE TABLE api_audit")
    return ledger


@pytest.fixture
def metrics() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def log(client: Client, metrics: CollectorRegistry) -> AuditLog:
    return AuditLog(client, metrics)


@pytest.fixture
def api(client: Client, log: AuditLog, metrics: CollectorRegistry) -> TestClient:
    keys = Keys.of({"ops": "tsa_key"})
    return TestClient(create_app(client, keys, dict, metrics, audit_log=log))


def request(**said: Any) -> Request:
    fields: dict[str, Any] = {
        "key_id": "1", "key_name": "ops", "role": "admin", "client": "::1", "method": "GET",
        "path": "/x", "query": "", "status": 200, "rows": 1, "duration_ms": 3,
    }  # fmt: skip
    return Request(**fields | said)


def test_each_request_is_noted_with_who_what_and_how_it_was_answered(
    client: Client, log: AuditLog, api: TestClient
) -> None:
    api.get("/api/admin/token_usage?limit=3", headers=KEY)
    api.get("/api/admin/token_usage/summary?group_by=planet", headers=KEY)
    api.get("/api/admin/users", headers={"Authorization": "Bearer tsa_wrong"})
    log.write()

    found = sorted(read(client), key=lambda row: row["status"])
    said = [
        (r["key_name"], r["role"], r["path"], r["query"], r["status"], r["rows"]) for r in found
    ]
    assert said == [
        ("ops", "admin", "/api/admin/token_usage", "limit=3", 200, 3),
        ("ops", "admin", "/api/admin/token_usage/summary", "group_by=planet", 400, 0),
        ("", "", "/api/admin/users", "", 401, 0),
    ]
    assert {row["client"] for row in found} == {"testclient"}


def test_no_key_and_no_token_gets_into_it_wherever_it_was_put(
    client: Client, log: AuditLog, api: TestClient
) -> None:
    key, token = make("admin", "other")
    jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
    for secret in (token, jwt, "sk-proj-abcdefghijkl"):
        api.get(f"/api/admin/calls/{secret}?key={secret}&user_id={secret}", headers=KEY)
        api.get("/api/admin/users", headers={"Authorization": f"Bearer {secret}"})
    log.write()

    kept = json.dumps(read(client), default=str)
    assert len(read(client)) == 4  # refused requests are one a minute
    for part in (token[4:], "c2lnbmF0dXJl", "abcdefghijkl", key.digest, "tsa_key"):
        assert part not in kept


def test_what_the_store_does_not_take_is_kept_and_written_once(
    client: Client, log: AuditLog
) -> None:
    client.command("RENAME TABLE api_audit TO api_audit_away")
    for number in range(7):
        log.note(request(status=200 + number))
    with pytest.raises(DatabaseError):
        log.write()
    client.command("RENAME TABLE api_audit_away TO api_audit")
    log.write()
    log.write()

    assert sorted(row["status"] for row in read(client)) == list(range(200, 207))


def test_more_than_may_wait_drops_the_oldest_and_counts_them(
    client: Client, log: AuditLog, metrics: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MAX_WAITING", 3)
    for number in range(5):
        log.note(request(status=200 + number))
    log.write()

    assert sorted(row["status"] for row in read(client)) == [202, 203, 204]
    assert metrics.get_sample_value("tallyspan_audit_dropped_total") == 2


def test_refused_requests_of_an_address_are_one_row_a_minute_and_counted(
    client: Client, log: AuditLog, metrics: CollectorRegistry
) -> None:
    at = datetime.now(UTC)
    for client_address, second in (("a", 0), ("a", 59), ("b", 59), ("a", 60), ("a", 61)):
        log.note(request(status=401, client=client_address, at=at + timedelta(seconds=second)))
    log.note(request(status=200, client="a"))
    log.note(request(status=200, client="a"))
    log.write()

    rows = sorted((row["status"], row["client"]) for row in read(client))
    assert rows == [(200, "a"), (200, "a"), (401, "a"), (401, "a"), (401, "b")]
    assert metrics.get_sample_value("tallyspan_audit_refusals_repeated_total") == 2


def test_what_is_dropped_is_among_the_metrics(api: TestClient) -> None:
    assert "tallyspan_audit_dropped_total 0.0\n" in api.get("/metrics").text


def test_an_admin_reads_it_by_pages_narrowed_as_he_likes(
    client: Client, log: AuditLog, api: TestClient
) -> None:
    at = datetime.now(UTC) - timedelta(days=1)
    for number in range(9):
        name = "ops" if number % 3 else "finance"
        log.note(
            request(key_name=name, status=200 + number, at=at + timedelta(seconds=number // 4))
        )
    log.write()
    seen: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        answer = api.get("/api/admin/audit", params={"limit": "2"} | cursor, headers=KEY).json()
        seen += [row["status"] for row in answer["requests"]]
        if answer["next_cursor"] is None:
            break
        cursor = {"cursor": answer["next_cursor"]}

    def statuses(**asked: str) -> set[int]:
        rows = api.get("/api/admin/audit", params=asked, headers=KEY).json()["requests"]
        return {row["status"] for row in rows}

    assert sorted(seen) == list(range(200, 209))
    assert statuses(key_name="finance") == {200, 203, 206}
    assert statuses(status="204") == {204}
    assert statuses(start_date=f"{at + timedelta(days=2):%Y-%m-%d}") == set()


def test_a_running_collector_writes_it_and_the_command_shows_it(
    tmp_path: Path, store: SharedStore, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALLYSPAN_ADMIN_KEY", ADMIN_KEY)
    with running_collector(tmp_path, store=store.url) as collector:
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        url = f"{collector.ready.admin}/api/admin/token_usage?user_id=ada"
        assert httpx.get(url, headers=headers).status_code == 200
        count = "SELECT count() FROM api_audit"
        wait_for(lambda: client.query(count).result_rows[0][0], "the request in the audit")
        said = ["audit", "--store", store.url, "--format", "json", "--key", "admin"]
        done = subprocess.run(
            [sys.executable, "-m", "tallyspan", *said], capture_output=True, text=True, check=True
        )
        wrong = subprocess.run(
            [sys.executable, "-m", "tallyspan", *said, "--limit", "0"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    (row,) = json.loads(done.stdout)
    assert (row["query"], row["status"], row["key_name"]) == ("user_id=ada", 200, "admin")
    assert (wrong.returncode, wrong.stderr) == (2, "tallyspan: --limit 0: must be 1 to 100000\n")
