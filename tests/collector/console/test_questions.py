"""All panels of a page in one request: figures of the same calls are asked for once."""

import json
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from call_facts import FACTS, fill
from grafana_pages import ONE, key
from tallyspan_collector.access.keys import Key, Keys, digest
from tallyspan_collector.api import create_app
from tallyspan_collector.console import answers
from tallyspan_collector.console.dashboards import Dashboard, bundled
from tallyspan_collector.console.questions import questions
from tallyspan_collector.console.site import version


@pytest.fixture(scope="module")
def ledger(client: Client) -> Client:
    fill(client, FACTS)
    return client


@pytest.fixture
def admin(ledger: Client) -> TestClient:
    keys = Keys([Key("a", "admin", "a", digest(b"tsa_all")),
                 Key("b", "admin", "b", digest(b"tsa_own"), departments=("sales",))])  # fmt: skip
    app = create_app(ledger, keys, lambda: {"ready": True}, CollectorRegistry())
    return TestClient(app, headers={"Authorization": "Bearer tsa_all"})


def lines(admin: TestClient, uid: str, **query: Any) -> dict[int, dict[str, Any]]:
    answer = admin.get(f"/api/admin/dashboards/{uid}/panels", params=query)
    assert answer.status_code == 200, answer.text
    said = [json.loads(line) for line in answer.text.splitlines()]
    assert len({line["panel"] for line in said}) == len(said)
    return {line.pop("panel"): line for line in said}


@pytest.mark.parametrize("uid", bundled())
def test_asked_together_every_panel_answers_what_it_answers_alone(
    admin: TestClient, uid: str
) -> None:
    dashboard = bundled()[uid]
    chosen = {f"var-{name}": key("ada") for name in ONE if name in dashboard.variables}
    query = {"from": "now-89d/d", "to": "now/d", **chosen}
    together = lines(admin, uid, **query)

    assert set(together) == set(dashboard.panels)
    for number, said in together.items():
        alone = admin.get(f"/api/admin/dashboards/{uid}/panels/{number}", params=query).json()
        if "Since the last call" not in dashboard.text or number != 9:
            assert said == {"answer": alone}, number


def test_a_row_of_figures_reads_the_calls_once() -> None:
    for uid, dashboard in bundled().items():
        asked = questions(dashboard)
        assert sorted(panel for each in asked for panel in each.panels) == sorted(dashboard.panels)
        assert len(asked) <= 11, uid
    assert max(len(each.panels) for each in questions(bundled()["tallyspan-models"])) == 4


@pytest.mark.parametrize(
    "sql",
    [
        "WITH 1 AS x SELECT x AS y FROM t",
        "SELECT (SELECT 1 AS a FROM t) AS y FROM t",
        "SELECT y FROM t",
        "SELECT 1 AS `a b` FROM t",
    ],
)
def test_what_is_no_plain_figure_is_asked_as_it_is(sql: str) -> None:
    dashboard = Dashboard("u", "t", "", {1: sql, 2: sql}, {}, frozenset({1, 2}), "now-1d", "now")

    assert {each.sql for each in questions(dashboard)} == {sql}


def test_a_panel_that_fails_says_so_and_the_others_are_drawn(
    admin: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = answers.ask

    def fails_for_tables(client: Client, sql: str, parameters: Any) -> Any:
        if "medianExact" in sql:
            raise DatabaseError("Code: 159. DB::Exception: secret detail")
        return ask(client, sql, parameters)

    monkeypatch.setattr(answers, "ask", fails_for_tables)
    said = lines(admin, "tallyspan-overview")

    failed = [line["error"] for line in said.values() if "error" in line]
    assert len(failed) == 1
    assert "secret" not in failed[0]
    assert sum("answer" in line for line in said.values()) == len(said) - 1


def test_a_limited_key_gets_its_own_on_all_panels_at_once(admin: TestClient) -> None:
    admin.headers["Authorization"] = "Bearer tsa_own"
    for uid, dashboard in bundled().items():
        chosen = {f"var-{name}": key("ada") for name in ONE if name in dashboard.variables}
        text = str(lines(admin, uid, **{"from": "now-90d", **chosen}))
        assert not any(word in text for word in ("ada", "research", "tutor", "'error'"))


def test_bad_questions_are_refused_before_anything_is_asked(admin: TestClient) -> None:
    for path in ("tallyspan-nowhere/panels", "tallyspan-overview/panels?from=x",
                 "tallyspan-overview/panels?var-user=x", "tallyspan-overview/panels?x=1"):  # fmt: skip
        answer = admin.get(f"/api/admin/dashboards/{path}")
        assert answer.status_code in {400, 404}
        assert answer.json()["error"]
    assert TestClient(admin.app).get("/api/admin/dashboards/x/panels").status_code == 401


def test_files_are_kept_under_the_name_of_their_content_and_the_page_is_asked_for_anew(
    admin: TestClient,
) -> None:
    page = admin.get("/")
    assert page.headers["Cache-Control"] == "no-cache"
    assert f"/static/{version()}/main.js" in page.text
    assert page.text.count("modulepreload") >= 10
    kept = admin.get(f"/static/{version()}/main.js")
    assert "immutable" in kept.headers["Cache-Control"]
    assert "script-src 'self'" in kept.headers["Content-Security-Policy"]
    assert admin.get("/static/main.js").headers["Cache-Control"] == "no-cache"
    assert admin.get("/static/0000/main.js").status_code == 404


def test_the_page_says_whether_there_is_a_session(admin: TestClient) -> None:
    assert "data-session" not in admin.get("/").text
    admin.post("/login", json={"key": "tsa_all"})
    assert 'data-session="open"' in admin.get("/d/tallyspan-users").text
