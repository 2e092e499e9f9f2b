"""The console's server: who gets in, what is asked, and that nothing but the pages' SQL is run."""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from call_facts import FACTS, NASTY, NASTY_FACTS, fill, spend
from grafana_macros import interpolate
from grafana_pages import ONE, SINGLE, key, pages
from set_clock import clock_at
from tallyspan_collector.access.keys import Key, Keys, digest
from tallyspan_collector.access.sessions import COOKIE, LASTS_SECONDS, Sessions
from tallyspan_collector.api import create_app
from tallyspan_collector.console import answers, time_range
from tallyspan_collector.console.dashboards import bundled
from tallyspan_collector.summary import RequestError

NOW = datetime(2026, 3, 31, 12, 30, tzinfo=UTC)
OVERVIEW = "/api/admin/dashboards/tallyspan-overview"
ADMIN, SALES, APP = "tsa_admin", "tsa_sales", "tsu_app"


def keys() -> Keys:
    now = int(time.time())
    rows: list[tuple[str, str, str, dict[str, Any]]] = [
        ("admin", "admin", ADMIN, {}),
        ("sales", "admin", SALES, {"departments": ("sales",)}),
        ("two", "admin", "tsa_two", {"departments": ("sales", "research")}),
        ("old", "admin", "tsa_old", {"expires_s": now - 1}),
        ("gone", "admin", "tsa_gone", {"revoked_s": now - 1}),
        ("slow", "admin", "tsa_slow", {"rate_limit": 1}),
        ("chat", "app", APP, {}),
        ("shop", "ingest", "tsi_shop", {}),
    ]
    return Keys(
        Key(name, role, name, digest(token.encode()), **more) for name, role, token, more in rows
    )


@pytest.fixture(scope="module")
def client(client: Client) -> Iterator[Client]:
    fill(client, FACTS)
    with clock_at(client, datetime.now(UTC)):
        yield client


@pytest.fixture
def full_client(client: Client) -> Iterator[Client]:
    fill(client, FACTS + NASTY_FACTS)
    yield client
    fill(client, FACTS)


@pytest.fixture
def browser(client: Client) -> TestClient:
    return TestClient(create_app(client, keys(), lambda: {"ready": True}, CollectorRegistry()))


def with_key(client: TestClient, token: str) -> TestClient:
    client.headers["Authorization"] = f"Bearer {token}"
    return client


def panel(client: TestClient, title: str, page: str = "overview", **query: Any) -> Any:
    path = f"/api/admin/dashboards/tallyspan-{page}"
    (match,) = [each for each in client.get(path).json()["panels"] if each["title"] == title]
    answer = client.get(f"{path}/panels/{match['id']}", params={"from": "now-90d", **query})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("path", [OVERVIEW, f"{OVERVIEW}/panels/1", f"{OVERVIEW}/variables/user",
                                  "/api/admin/dashboards", "/api/admin/token_usage?department=sales",
                                  "/api/admin/token_usage/summary?department=sales",
                                  "/api/usage/conversations/none"])  # fmt: skip
@pytest.mark.parametrize(
    ("token", "admin", "app"),
    [
        (None, 401, 401),
        ("tsa_wrong", 401, 401),
        ("tsi_shop", 401, 401),
        ("tsa_old", 401, 401),
        ("tsa_gone", 401, 401),
        (APP, 401, 404),
        (SALES, 200, 404),
        (ADMIN, 200, 404),
    ],
)
def test_who_may_read_what(
    browser: TestClient, path: str, token: str | None, admin: int, app: int
) -> None:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    assert browser.get(path, headers=headers).status_code == (app if "/usage/" in path else admin)


def test_a_key_shown_once_opens_a_session_that_no_script_and_no_other_site_can_use(
    browser: TestClient,
) -> None:
    answer = browser.post("/login", json={"key": f" {ADMIN}\n"})

    assert answer.status_code == 204
    cookie = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert ADMIN not in cookie
    assert browser.get(OVERVIEW).status_code == 200
    browser.post("/logout")
    assert browser.get(OVERVIEW).status_code == 401


def test_behind_tls_the_cookie_never_travels_without(client: Client) -> None:
    app = create_app(client, keys(), lambda: {"ready": True}, CollectorRegistry())
    answer = TestClient(app, base_url="https://tallyspan.test").post("/login", json={"key": ADMIN})

    assert "Secure" in answer.headers["Set-Cookie"].split("; ")


@pytest.mark.parametrize("token", ["", "tsa_wrong", "tsi_shop", APP, "tsa_old", "tsa_gone", "é"])
def test_only_an_admin_key_opens_a_session(browser: TestClient, token: str) -> None:
    answer = browser.post("/login", json={"key": token})

    assert (answer.status_code, answer.headers.get("Set-Cookie")) == (401, None)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ('{"key": "tsa_admin"}', "text/plain"),
        ("key=tsa_admin", "application/x-www-form-urlencoded"),
        ("{", "application/json"),
        ("[1]", "application/json"),
        ('{"key": 1}', "application/json"),
        ("[" * 4000, "application/json"),
        ('{"key": "' + "x" * 5000 + '"}', "application/json"),
    ],
)
def test_a_login_that_is_none_is_refused_with_a_sentence(
    browser: TestClient, body: str, kind: str
) -> None:
    answer = browser.post("/login", content=body, headers={"Content-Type": kind})

    assert answer.status_code == 400
    assert "application/json" in answer.json()["error"]


def test_many_wrong_keys_must_wait_and_lock_nobody_else_out(browser: TestClient) -> None:
    statuses = [browser.post("/login", json={"key": "guess"}).status_code for _ in range(21)]

    assert statuses == [401] * 20 + [429]
    assert browser.post("/login", json={"key": ADMIN}).status_code == 204


def test_a_session_ends_by_itself_and_with_its_key(client: Client) -> None:
    clock = [0.0]
    sessions = Sessions(lambda: clock[0])
    token = sessions.open(b"key")
    clock[0] = LASTS_SECONDS - 1
    assert sessions.of(token) is not None
    clock[0] = LASTS_SECONDS
    assert sessions.of(token) is None

    mine = keys()
    browser = TestClient(create_app(client, mine, lambda: {"ready": True}, CollectorRegistry()))
    browser.post("/login", json={"key": "tsa_slow"})
    assert browser.get("/api/admin/dashboards").status_code == 200
    mine._by_digest.clear()
    assert browser.get("/api/admin/dashboards").status_code == 401


def test_a_made_up_cookie_opens_nothing(browser: TestClient) -> None:
    browser.cookies.set(COOKIE, "x" * 43)

    assert browser.get(OVERVIEW).status_code == 401


def test_a_key_above_its_rate_is_told_to_wait(browser: TestClient) -> None:
    slow = with_key(browser, "tsa_slow")
    statuses = [slow.get("/api/admin/dashboards").status_code for _ in range(3)]

    assert statuses[0] == 200
    assert 429 in statuses


@pytest.mark.parametrize(
    "path", ["/", "/d/tallyspan-users", "/static/main.js", "/static/console.css"]
)
def test_the_page_takes_nothing_from_elsewhere_and_says_no_figure(
    browser: TestClient, path: str
) -> None:
    answer = browser.get(path)

    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert not re.search(r"(src|href|url)\W{1,3}https?://", answer.text)
    if path.startswith(("/d/", "/?")) or path == "/":
        assert not re.search(r"<script>|style=|onclick=", answer.text)


@pytest.mark.parametrize(
    "path", ["/static/../site.py", "/static/%2e%2e/site.py", "/static/", "/d/"]
)
def test_there_is_nothing_but_the_files_of_the_console(browser: TestClient, path: str) -> None:
    assert browser.get(path).status_code == 404


def test_the_console_draws_the_very_panels_that_grafana_does(browser: TestClient) -> None:
    admin = with_key(browser, ADMIN)
    uids = [each["uid"] for each in admin.get("/api/admin/dashboards").json()["dashboards"]]

    assert set(uids) == {page["uid"] for page in pages().values()}
    for page in pages().values():
        drawn = admin.get(f"/api/admin/dashboards/{page['uid']}").json()
        assert (drawn["title"], drawn["time"]) == (page["title"], page["time"])
        for ours, grafanas in zip(drawn["panels"], page["panels"], strict=True):
            assert ours == {name: grafanas[name] for name in ours}
        assert "sql" not in str(drawn).lower()


def test_bound_parameters_find_what_text_in_the_query_finds(full_client: Client) -> None:
    end = datetime.now(UTC)
    start = end - timedelta(days=30)
    for name, page in pages().items():
        names = ["ada", "c1", "", *NASTY]
        many = dict.fromkeys(("user", "department", "model"), names)
        dashboard = bundled()[page["uid"]]
        one = {each: [NASTY[1]] for each in ONE}
        choices: list[dict[str, list[str]]] = [one if name in SINGLE else many]
        if name == "overview":  # all pages have the same condition where nothing is chosen
            choices.append({})
        for chosen in choices:
            keys = {each: [key(text) for text in texts] for each, texts in chosen.items()}
            parameters: dict[str, Any] = {
                "from_s": int(start.timestamp()),
                "to_s": int(end.timestamp()),
                "contains": "",
                **{each: chosen.get(each, []) for each in dashboard.variables},
            }

            def bound(sql: str, parameters: Any = parameters) -> Any:
                assert "$" not in sql
                return answers.ask(full_client, sql, parameters)

            def interpolated(sql: str, keys: Any = keys) -> Any:
                return answers.ask(full_client, interpolate(sql, start, end, keys), {})

            figures = {
                panel: answer
                for question in dashboard.questions
                for panel, answer in question.answers(bound(question.sql))
            }
            for panel in page["panels"]:
                text = panel["targets"][0]["rawSql"]
                if panel["title"] != "Since the last call":
                    assert figures[panel["id"]] == interpolated(text), (name, panel["title"])
            for variable in page["templating"]["list"]:
                sql = dashboard.variables[variable["name"]].sql
                assert bound(sql) == interpolated(variable["query"]["rawSql"]), variable["name"]


def test_figures_are_exact_and_those_of_the_summary(browser: TestClient) -> None:
    admin = with_key(browser, ADMIN)
    shown = panel(admin, "Spend")
    total = admin.get("/api/admin/token_usage/summary").json()["totals"]

    assert shown["columns"] == [{"name": "spend", "kind": "decimal"}]
    assert shown["rows"] == [[total["cost_usd"]]]
    assert Decimal(shown["rows"][0][0]) == spend(FACTS)


def test_several_values_of_a_variable_are_all_meant(browser: TestClient) -> None:
    admin = with_key(browser, ADMIN)
    shown = panel(admin, "Calls", "overview", **{"var-user": [key("ada"), key("")]})

    assert shown["rows"] == [[sum(fact.user in {"ada", ""} for fact in FACTS)]]


def test_options_of_a_variable_are_keys_with_names(browser: TestClient) -> None:
    answer = with_key(browser, ADMIN).get(f"{OVERVIEW}/variables/user?from=now-90d").json()

    assert ["k616461", "ada"] in answer["rows"]
    assert ["k", "(nobody said)"] in answer["rows"]


def test_a_key_limited_to_a_department_sees_no_other_on_any_page(browser: TestClient) -> None:
    sales = [fact for fact in FACTS if fact.department == "sales"]
    limited = with_key(browser, SALES)

    assert panel(limited, "Spend")["rows"] == [[str(spend(sales))]]
    assert panel(limited, "Calls", "overview", **{"var-department": [key("research")]})["rows"] == [
        [0]
    ]
    assert panel(limited, "Calls of the user", "user", **{"var-user": [key("ada")]})["rows"] == [
        [0]
    ]
    # All panels of all pages: test_limited_pages. Here that one alone is limited as well.
    for uid, dashboard in bundled().items():
        number = dashboard.questions[-1].panels[0]
        query = {"from": "now-90d"} | {
            f"var-{name}": key("ada") for name in ONE if name in dashboard.variables
        }
        answer = limited.get(f"/api/admin/dashboards/{uid}/panels/{number}", params=query)
        assert answer.status_code == 200
        assert not re.search("ada|research|tutor", answer.text), (uid, number)


@pytest.mark.parametrize(
    ("token", "reader"),
    [
        (ADMIN, {"name": "admin", "departments": [], "tenants": []}),
        ("tsa_two", {"name": "two", "departments": ["sales", "research"], "tenants": []}),
    ],
)
def test_a_reader_is_told_whose_key_it_is_and_what_it_sees(
    browser: TestClient, token: str, reader: dict[str, Any]
) -> None:
    assert with_key(browser, token).get("/api/admin/dashboards").json()["reader"] == reader


def test_a_limited_key_gets_its_department_from_the_api_and_no_other(browser: TestClient) -> None:
    summary = "/api/admin/token_usage/summary"
    limited = with_key(browser, SALES)
    rows = limited.get(f"{summary}?group_by=department").json()["rows"]
    assert [row["department"] for row in rows] == ["sales"]
    assert limited.get(f"{summary}?department=research").status_code == 400
    entries = limited.get("/api/admin/token_usage").json()["entries"]
    assert {entry["department"] for entry in entries} == {"sales"}

    two = with_key(browser, "tsa_two")
    both = two.get(f"{summary}?group_by=department&order=group").json()["rows"]
    assert [row["department"] for row in both] == ["research", "sales"]
    refused = two.get(f"{summary}?department=platform")
    assert (refused.status_code, "one of sales, research" in refused.json()["error"]) == (400, True)
    assert two.get(f"{summary}?department=research").json()["totals"]["calls"] == 4


def test_an_application_reads_the_cost_of_a_conversation_by_its_id(browser: TestClient) -> None:
    answer = with_key(browser, APP).get("/api/usage/conversations/c1")

    assert answer.status_code == 200
    body = answer.json()
    assert (body["conversation_id"], body["calls"], body["cost_usd"]) == ("c1", 2, "2")
    assert with_key(browser, SALES).get("/api/usage/conversations/c1").status_code == 404


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("var-user=' OR 1=1 --", "var-user takes keys"),
        ("var-user=k6", "var-user takes keys"),
        ("var-user=k616G", "var-user takes keys"),
        ("var-agent=k", "unknown parameter 'var-agent'"),
        ("sql=SELECT 1", "unknown parameter 'sql'"),
        ("from=now&to=now-1d", "from must be before to"),
        ("from=yesterday", "from must be a range"),
        ("from=now-99999y", "from must be a range"),
        ("to=99999999999999", "to must be a range"),
        ("from=", "from must be a range"),
        ("&".join(["var-user=k61"] * 1001), "a variable takes 1000 values"),
    ],
)
def test_what_is_no_question_is_refused_with_a_sentence(
    browser: TestClient, query: str, sentence: str
) -> None:
    answer = with_key(browser, ADMIN).get(f"{OVERVIEW}/panels/1?{query}")

    assert answer.status_code == 400
    assert answer.json()["error"].startswith(sentence)


@pytest.mark.parametrize("path", ["nothing", "tallyspan-overview/panels/99",
                                  "tallyspan-overview/panels/-1",
                                  "tallyspan-overview/variables/sql"])  # fmt: skip
def test_what_is_not_there_is_a_404(browser: TestClient, path: str) -> None:
    assert with_key(browser, ADMIN).get(f"/api/admin/dashboards/{path}").status_code == 404


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        ("now-6h", "now", "2026-03-31T06:30:00", "2026-03-31T12:30:00"),
        ("now/M", "now", "2026-03-01T00:00:00", "2026-03-31T12:30:00"),
        ("now-1M/M", "now-1M/M", "2026-02-01T00:00:00", "2026-02-28T23:59:59"),
        ("now-1M", "now", "2026-02-28T12:30:00", "2026-03-31T12:30:00"),
        ("now/w", "now/d", "2026-03-30T00:00:00", "2026-03-31T23:59:59"),
        ("now/y", "now-1d", "2026-01-01T00:00:00", "2026-03-30T12:30:00"),
        ("2026-03-01", "2026-03-02", "2026-03-01T00:00:00", "2026-03-03T00:00:00"),
        ("1774915200000", "now", "2026-03-31T00:00:00", "2026-03-31T12:30:00"),
    ],
)
def test_a_range_is_read_as_grafana_writes_it(start: str, end: str, first: str, last: str) -> None:
    both = time_range.read(start, end, NOW)

    assert [moment.strftime("%Y-%m-%dT%H:%M:%S") for moment in both] == [first, last]


@pytest.mark.parametrize("text", ["now-0d", "now+1d", "now-1x", "now-1d/h", " now", "now\n", "٣"])
def test_what_is_no_range_is_none(text: str) -> None:
    with pytest.raises(RequestError):
        time_range.read(text, "now", NOW)
