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
from tallyspan_collector.console.dashboards import bundled
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
    parts = [json.loads(line) for line in answer.text.splitlines()]
    assert len({line["panel"] for line in parts}) == len(parts)
    return {line.pop("panel"): line for line in parts}


@pytest.mark.parametrize("uid", bundled())
def test_asked_together_every_panel_answers_what_it_answers_alone(
    admin: TestClient, uid: str
) -> None:
    dashboard = bundled()[uid]
    chosen = {f"var-{name}": key("ada") for name in ONE if name in dashboard.variables}
    query = {"from": "now-89d/d", "to": "now/d", **chosen}
    together = lines(admin, uid, **query)

    titles = {panel["id"]: panel["title"] for panel in json.loads(dashboard.text)["panels"]}
    assert set(together) == set(titles)
    for number, line in together.items():
        alone = admin.get(f"/api/admin/dashboards/{uid}/panels/{number}", params=query).json()
        if titles[number] != "Since the last call":
            assert line == {"answer": alone}, number


def test_a_panel_that_fails_says_so_and_the_others_are_drawn(
    admin: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = answers.ask

    def fails_for_tables(client: Client, sql: str, parameters: Any) -> Any:
        if "medianExact" in sql:
            raise DatabaseError("Code: 159. DB::Exception: secret detail")
        return ask(client, sql, parameters)

    monkeypatch.setattr(answers, "ask", fails_for_tables)
    drawn = lines(admin, "tallyspan-overview")

    failed = [line["error"] for line in drawn.values() if "error" in line]
    assert len(failed) == 1
    assert "secret" not in failed[0]
    assert sum("answer" in line for line in drawn.values()) == len(drawn) - 1


def test_a_limited_key_gets_its_own_on_all_panels_at_once(admin: TestClient) -> None:
    admin.headers["Authorization"] = "Bearer tsa_own"
    for uid, dashboard in bundled().items():
        chosen = {f"var-{name}": key("ada") for name in ONE if name in dashboard.variables}
        text = str(lines(admin, uid, **{"from": "now-90d", **chosen}))
        assert not any(word in text for word in ("ada", "research", "tutor", "'error'"))


def test_bad_questions_are_refused_before_any_query(admin: TestClient) -> None:
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
