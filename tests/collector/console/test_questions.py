"""All panels of a page in one request: figures of the same calls are asked for once."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from call_facts import FACTS, Fact, fill
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

    def fails_for_tables(client: Client, sql: str, *more: Any) -> Any:
        if "medianExact" in sql:
            raise DatabaseError("Code: 159. DB::Exception: secret detail")
        return ask(client, sql, *more)

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


def rows_of(admin: TestClient, uid: str, title: str, **query: Any) -> list[dict[str, Any]]:
    """Return the rows of a panel as objects."""
    page = admin.get(f"/api/admin/dashboards/tallyspan-{uid}").json()
    (number,) = [each["id"] for each in page["panels"] if each["title"] == title]
    answer = admin.get(
        f"/api/admin/dashboards/tallyspan-{uid}/panels/{number}",
        params={"from": "now-90d", **query},
    ).json()
    names = [column["name"] for column in answer["columns"]]
    return [dict(zip(names, row, strict=True)) for row in answer["rows"]]


def choices(admin: TestClient, uid: str, variable: str, contains: str = "") -> list[str]:
    path = f"/api/admin/dashboards/tallyspan-{uid}/variables/{variable}"
    answer = admin.get(path, params={"from": "now-90d", "contains": contains})
    assert answer.status_code == 200, answer.text
    return [label for _, label in answer.json()["rows"]]


@pytest.fixture(scope="module")
def many(ledger: Client) -> Iterator[None]:
    """250 users, each with a conversation; the later in the alphabet, the less they spend."""
    fill(
        ledger,
        [
            Fact(1 + n / 100, f"user{n:03}", f"dept{n:03}", f"model{n:03}", "", f"Talk{n:03}",
                 cost=Decimal(300 - n))
            for n in range(250)
        ],
    )  # fmt: skip
    yield
    fill(ledger, FACTS)


@pytest.mark.parametrize(
    ("uid", "variable", "name"),
    [("overview", "user", "user"), ("overview", "department", "dept"),
     ("overview", "model", "model"), ("user", "user", "user"),
     ("conversation", "conversation", "Talk")],
)  # fmt: skip
def test_whoever_is_in_the_ledger_can_be_chosen_by_a_part_of_the_name(
    admin: TestClient, many: None, uid: str, variable: str, name: str
) -> None:
    assert choices(admin, uid, variable, f"{name}249".upper()) == [f"{name}249"]
    assert choices(admin, uid, variable, "nobody of that name") == []
    # What cost most, or is newest, comes first; one more than is drawn tells that there are more.
    assert choices(admin, uid, variable) == [f"{name}{n:03}" for n in range(201)]


def test_a_list_has_a_row_for_everybody_and_says_how_many_there_are(
    admin: TestClient, many: None, ledger: Client
) -> None:
    spend = sum(300 - n for n in range(250))
    for uid, title in (("users", "All users"), ("departments", "Departments and models"),
                       ("models", "All models"), ("overview", "Spend by department")):  # fmt: skip
        rows = rows_of(admin, uid, title)
        assert (len(rows), sum(Decimal(row["spend"]) for row in rows)) == (250, spend), title

    query = next(q for q in bundled()["tallyspan-users"].questions if 7 in q.panels)
    now = int(datetime.now(UTC).timestamp())
    range_: dict[str, Any] = {
        "from_s": now - 86_400,
        "to_s": now,
        "user": [],
        "department": [],
        "model": [],
    }
    cut = answers.ask(ledger, query.sql, range_, 10)
    assert (len(cut["rows"]), cut["total"]) == (10, 250)


def test_a_file_is_asked_for_with_all_rows(
    admin: TestClient, many: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MAX_FILE_ROWS", 3)
    assert len(rows_of(admin, "users", "All users", rows="all")) == 3
    path = "/api/admin/dashboards/tallyspan-users/panels/7"
    assert admin.get(f"{path}?rows=some").json()["error"] == "rows must be all, or left out"


def test_the_cost_of_a_conversation_is_that_of_all_its_calls_whatever_the_range(
    admin: TestClient, ledger: Client
) -> None:
    fill(ledger, FACTS)
    for since in ("now-5m", "now-80m", "now-30d"):
        asked = {"from": since, "var-conversation": key("c1")}
        assert rows_of(admin, "conversation", "Spend of the conversation", **asked) == [
            {"spend": "2"}
        ]
        assert rows_of(admin, "conversation", "Lasted", **asked) == [{"lasted": 1800}]
        calls = rows_of(admin, "conversation", "Calls in order", **asked)
        assert [row["cost"] for row in calls] == ["0.75", "1.25"]


def test_a_day_is_said_where_a_time_is_not_known(admin: TestClient, ledger: Client) -> None:
    now = datetime.now(UTC)
    fill(ledger, FACTS, now)

    def day(hours: float) -> str:
        return f"{now - timedelta(hours=hours):%Y-%m-%d}"

    users = {row["name"]: row["last_call"] for row in rows_of(admin, "users", "All users")}
    assert users == {
        "ada": day(1), "bob": day(3), "(nobody said)": day(2), "eve": day(800),
    }  # fmt: skip
    (talk,) = [
        row
        for row in rows_of(admin, "user", "Conversations of the user", **{"var-user": key("ada")})
        if row["name"] == "c3"
    ]
    assert (talk["first_call"], talk["last_call"]) == (day(26), day(26))
    (service, _) = rows_of(admin, "health", "Services and what their calls lack")
    assert (service["name"], service["last_call"]) == ("chat", day(1))
    (missing,) = rows_of(admin, "prices", "Models without a price")
    assert (missing["first_call"], missing["last_call"]) == (day(3), day(3))


def test_what_nobody_did_cost_nothing_and_is_not_called_unpriced(
    admin: TestClient, ledger: Client
) -> None:
    none = {"users": "Spend of no user", "departments": "Spend of no department",
            "models": "Spend on failed calls", "prices": "Spend from estimates"}  # fmt: skip

    def amounts() -> list[Any]:
        return [value for uid, title in none.items()
                for row in rows_of(admin, uid, title) for value in row.values()]  # fmt: skip

    fill(ledger, [Fact(1, "ada", "research", cost=Decimal(1))])
    assert amounts() == ["0", "0", "0", "0"]
    unpriced = Fact(2, cost_status="unpriced", status="error", usage_source="estimated")
    fill(ledger, [Fact(1, "ada", "research", cost=Decimal(1)), unpriced])
    assert amounts() == [None, None, None, None]
    fill(ledger, [])
    assert amounts() == ["0", "0", "0", "0"]
    for title in ("Median user", "90 % of users below", "Largest user"):
        assert [list(row.values()) for row in rows_of(admin, "users", title)] == [["0"]]
    fill(ledger, FACTS)
