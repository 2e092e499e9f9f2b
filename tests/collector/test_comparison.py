"""A period so far against the same days before, by groups: the API and the report."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from call_facts import Fact, fill
from set_clock import clock_at
from shared_store import SharedStore
from tallyspan_collector.access.keys import Key, Keys, digest
from tallyspan_collector.api import create_app
from tallyspan_collector.cli import main

# Of February 2027 there is no 30th: all of it is compared with March so far.
NOW = datetime(2027, 3, 30, 18, tzinfo=UTC)


def call(at: str, usd: str | None, user: str, department: str) -> Fact:
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    status = "priced" if usd else "unpriced"
    hours = (NOW - moment).total_seconds() / 3600
    cost = Decimal(usd) if usd else None
    return Fact(hours, user, department, cost=cost, cost_status=status)


@pytest.fixture(scope="module")
def client(client: Client) -> Iterator[Client]:
    calls = [
        call("2027-03-01T00:00", "6", "ada", "research"),
        call("2027-03-30T17:59", "3.5", "bob", "research"),
        call("2027-03-15T12:00", None, "bob", "research"),
        call("2027-03-15T12:00", "2", "eve", "sales"),
        call("2027-02-01T00:00", "4", "ada", "research"),
        call("2027-02-28T23:59", "1", "kim", "research"),
        call("2027-01-31T23:59", "900", "kim", "research"),
        call("2027-02-10T12:00", "0.5", "kim", "legal"),
    ]
    fill(client, calls, NOW)
    with clock_at(client, NOW):
        yield client


@pytest.fixture
def api(client: Client) -> TestClient:
    keys = [
        Key("a", "admin", "a", digest(b"tsa_all")),
        Key("b", "admin", "b", digest(b"tsa_own"), departments=("sales",)),
    ]
    app = create_app(client, Keys(keys), lambda: {"ready": True}, CollectorRegistry())
    return TestClient(app, headers={"Authorization": "Bearer tsa_all"})


PATH = "/api/admin/token_usage/comparison"


def test_groups_have_both_costs_and_the_change_in_dollars_and_as_a_ratio(api: TestClient) -> None:
    answer = api.get(f"{PATH}?group_by=department").json()

    assert [
        (
            row["department"], row["cost_usd"], row["before_cost_usd"], row["change_usd"],
            row["change"], row["calls"], row["before_calls"], row["unpriced_calls"],
        )
        for row in answer["rows"]
    ] == [
        ("research", "9.5", "5", "4.5", pytest.approx(0.9), 3, 2, 1),
        ("sales", "2", "0", "2", None, 1, 0, 0),
        ("legal", "0", "0.5", "-0.5", -1, 0, 1, 0),
    ]  # fmt: skip
    total = answer["totals"]
    assert (total["cost_usd"], total["before_cost_usd"], total["change_usd"]) == (
        "11.5",
        "5.5",
        "6",
    )
    assert (answer["period_start"], answer["before_start"], answer["before_last_day"]) == (
        "2027-03-01", "2027-02-01", "2027-02-28",
    )  # fmt: skip
    assert answer["before_ended"] == "2027-03-01T00:00:00.000000Z"


def test_a_quarter_a_filter_and_what_a_limited_key_may_see_narrow_it(api: TestClient) -> None:
    quarter = api.get(f"{PATH}?group_by=user&period=quarter&user_id=kim").json()
    own = api.get(PATH, headers={"Authorization": "Bearer tsa_own"}).json()

    assert [(row["user"], row["cost_usd"]) for row in quarter["rows"]] == [("kim", "901.5")]
    assert [(row["user"], row["cost_usd"]) for row in own["rows"]] == [("eve", "2")]
    for wrong in ("group_by=day", "period=week", "start_date=2027-01-01", "department=x"):
        key = "tsa_own" if wrong == "department=x" else "tsa_all"
        answer = api.get(f"{PATH}?{wrong}", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 400, wrong


def test_the_report_compares_too(
    store: SharedStore, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    def report(*arguments: str) -> tuple[str, str]:
        of = [
            "report",
            "--compare",
            "month",
            "--by",
            "department",
            "--data-dir",
            str(store.data_dir),
        ]
        assert main([*of, *arguments]) == 0
        captured = capsys.readouterr()
        return captured.out, captured.err

    out, err = report()
    assert err == "this month since 2027-03-01, against 2027-02-01 to 2027-02-28 (UTC)\n"
    lines = [line.split() for line in out.splitlines()]
    assert lines[1] == ["research", "$9.50", "$5.00", "+$4.50", "+90.0%", "1"]
    assert lines[-1] == ["total", "$11.50", "$5.50", "+$6.00", "+109.1%", "1"]
    rows: list[dict[str, Any]] = json.loads(report("--format", "json")[0])["rows"]
    assert rows[2]["change_usd"] == "-0.5"
    assert report("--format", "csv")[0].startswith(
        "department,calls,cost_usd,unpriced_calls,before"
    )
