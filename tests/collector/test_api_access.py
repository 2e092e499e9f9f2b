"""Who may ask what: every path of the admin port, for every kind of reader."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route
from starlette.testclient import TestClient

from call_facts import FACTS, fill
from identity_provider import AUDIENCE, identity_provider
from tallyspan_clickhouse.query.access import LIMITS, own_rows
from tallyspan_clickhouse.query.sums import GROUPS
from tallyspan_collector.access.keys import Key, Keys, make
from tallyspan_collector.access.oidc import Oidc, OidcConfig
from tallyspan_collector.api import create_app
from tallyspan_collector.console.site import version

READERS = (
    "no key", "wrong key", "ingest key", "expired", "revoked", "bad token",
    "app", "chat", "limited", "admin", "member of finance", "member of sales",
)  # fmt: skip
STRANGERS = READERS[:6]
# What each kind of path answers, in the order of app, limited, admin, finance, sales; a chat's key
# opens one path alone.
OPEN = dict.fromkeys(READERS, 200)
SHUT = dict.fromkeys(STRANGERS, 401)


def row(app: int, limited: int, admin: int) -> dict[str, int]:
    known = {"app": app, "chat": 401, "limited": limited, "admin": admin}
    return SHUT | known | {"member of finance": admin, "member of sales": limited}


ADMINS = row(app=401, limited=200, admin=200)
ALL_OF_IT = row(app=401, limited=403, admin=200)
# Conversation c1 and the first call are of research; the limited key is of sales.
FOREIGN = row(app=401, limited=404, admin=200)
APPS = row(app=200, limited=404, admin=200)
CALL = f"{0:032x}-{0:016x}"
ADMIN, USAGE = "/api/admin", "/api/usage"
TODAY = datetime.now(UTC).date()
WHAT_IF = f"{ADMIN}/what_if?as=gpt-4.1&start_date={TODAY - timedelta(days=50)}&end_date={TODAY}"
MATRIX: dict[tuple[str, str], tuple[str, dict[str, int]]] = {
    ("GET", "/"): ("/", OPEN),
    ("GET", "/d/{uid}"): ("/d/tallyspan-overview", OPEN),
    ("GET", "/session"): ("/session", OPEN),
    ("POST", "/login"): ("/login", dict.fromkeys(READERS, 400)),
    ("POST", "/logout"): ("/logout", dict.fromkeys(READERS, 204)),
    ("GET", "/static"): ("/static/main.js", OPEN),
    ("GET", f"/static/{version()}"): (f"/static/{version()}/main.js", OPEN),
    ("GET", "/healthz"): ("/healthz", OPEN),
    ("GET", "/readyz"): ("/readyz", OPEN),
    ("GET", "/metrics"): ("/metrics", OPEN),
    ("GET", "/api/openapi.json"): ("/api/openapi.json", OPEN),
    ("GET", "/api/docs"): ("/api/docs", OPEN),
    ("GET", f"{ADMIN}/token_usage"): (f"{ADMIN}/token_usage", ADMINS),
    ("GET", f"{ADMIN}/token_usage/comparison"): (f"{ADMIN}/token_usage/comparison", ADMINS),
    ("GET", f"{ADMIN}/token_usage/summary"): (f"{ADMIN}/token_usage/summary", ADMINS),
    **{
        ("GET", f"{ADMIN}/{name}"): (f"{ADMIN}/{name}", ADMINS)
        for name in (
            "users", "departments", "agents", "models", "providers", "endpoints", "services",
            "conversations", "prices", "budgets", "budgets/history", "directory",
            "directory/unknown", "dashboards", "months/departments", "months/corrections",
        )
    },
    ("GET", f"{ADMIN}/prices/quote"): (f"{ADMIN}/prices/quote?model=gpt-4.1", ADMINS),
    ("GET", f"{ADMIN}/what_if"): (f"{WHAT_IF}&group_by=user,department", ADMINS),
    ("GET", f"{ADMIN}/prices/missing"): (f"{ADMIN}/prices/missing", ALL_OF_IT),
    ("GET", f"{ADMIN}/data_health"): (f"{ADMIN}/data_health", ALL_OF_IT),
    **{
        ("GET", f"{ADMIN}/data_health/{name}"): (f"{ADMIN}/data_health/{name}", ADMINS)
        for name in ("unread", "undecided", "flags")
    },
    ("GET", f"{ADMIN}/months"): (f"{ADMIN}/months", ALL_OF_IT),
    ("GET", f"{ADMIN}/statements/{{month}}"): (
        f"{ADMIN}/statements/{TODAY:%Y-%m}?department=sales",
        ADMINS,
    ),
    ("GET", f"{ADMIN}/audit"): (f"{ADMIN}/audit", ALL_OF_IT),
    ("GET", f"{ADMIN}/calls/{{log_id}}"): (f"{ADMIN}/calls/{CALL}", FOREIGN),
    ("GET", f"{ADMIN}/calls/{{log_id}}/explanation"): (
        f"{ADMIN}/calls/{CALL}/explanation",
        FOREIGN,
    ),
    ("GET", f"{ADMIN}/conversations/{{conversation_id:path}}"): (
        f"{ADMIN}/conversations/c1",
        FOREIGN,
    ),
    ("PUT", f"{ADMIN}/directory"): (
        f"{ADMIN}/directory?dry_run=true",
        row(app=401, limited=403, admin=200),
    ),
    ("GET", f"{ADMIN}/dashboards/{{uid}}"): (f"{ADMIN}/dashboards/tallyspan-overview", ADMINS),
    ("GET", f"{ADMIN}/dashboards/{{uid}}/panels/{{number:int}}"): (
        f"{ADMIN}/dashboards/tallyspan-users/panels/3",
        ADMINS,
    ),
    ("GET", f"{ADMIN}/dashboards/{{uid}}/panels"): (
        f"{ADMIN}/dashboards/tallyspan-users/panels",
        ADMINS,
    ),
    ("GET", f"{ADMIN}/dashboards/{{uid}}/variables/{{name}}"): (
        f"{ADMIN}/dashboards/tallyspan-users/variables/department",
        ADMINS,
    ),
    ("GET", f"{USAGE}/conversations/{{conversation_id:path}}"): (
        f"{USAGE}/conversations/c1",
        APPS,
    ),
    ("GET", f"{USAGE}/messages/{{id:path}}"): (f"{USAGE}/messages/{CALL}", APPS),
    # The body is not in the words of MCP: who is let in is told so.
    ("POST", "/mcp"): ("/mcp", row(app=401, limited=400, admin=400) | {"chat": 400}),
}  # fmt: skip


@dataclass(frozen=True)
class Ledger:
    app: Starlette
    headers: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def client(client: Client) -> Client:
    fill(client, FACTS)
    return client


@pytest.fixture(scope="module")
def ledger(client: Client) -> Iterator[Ledger]:
    keys, tokens = Keys(), {"wrong key": "tsa_wrong"}

    def let_in(reader: str, key: Key, token: str) -> None:
        keys.add(key)
        tokens[reader] = token

    let_in("ingest key", *make("ingest", "services"))
    let_in("app", *make("app", "chat"))
    let_in("chat", *make("chat", "services"))
    let_in("limited", *make("admin", "sales", departments=("sales",)))
    let_in("admin", *make("admin", "finance"))
    let_in("expired", *make("admin", "old", expires_s=1))
    gone, token = make("admin", "gone")
    let_in("revoked", replace(gone, revoked_s=1), token)
    with identity_provider() as provider:
        access = {"finance": (), "sales-leads": ("sales",)}
        oidc = Oidc(OidcConfig(provider.issuer, AUDIENCE, "groups", access))
        tokens["bad token"] = provider.token(aud="elsewhere")
        tokens["member of finance"] = provider.token()
        tokens["member of sales"] = provider.token(groups=["sales-leads"])
        app = create_app(client, keys, lambda: {"ready": True}, CollectorRegistry(), oidc=oidc)
        headers = {name: {"Authorization": f"Bearer {tokens[name]}"} for name in tokens}
        yield Ledger(app, headers | {"no key": {}})


def routes(below: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    for each in below:
        match each:
            case Mount() if each.routes:
                yield from routes(each.routes, prefix + each.path)
            case Mount():
                yield "GET", prefix + each.path
            case Route():
                for method in (each.methods or set()) - {"HEAD"}:
                    yield method, prefix + each.path


def test_every_path_there_is_has_a_row_in_the_matrix(ledger: Ledger) -> None:
    assert set(routes(ledger.app.routes)) == set(MATRIX)


@pytest.mark.parametrize("path", MATRIX, ids=" ".join)
def test_each_reader_gets_what_the_matrix_says_and_no_more(
    ledger: Ledger, path: tuple[str, str]
) -> None:
    url, expected = MATRIX[path]
    browser = TestClient(ledger.app, raise_server_exceptions=False)
    body: dict[str, list[str]] | None = {"people": []} if path[0] == "PUT" else None

    got = {
        reader: browser.request(path[0], url, json=body, headers=ledger.headers[reader]).status_code
        for reader in READERS
    }
    assert got == expected


def test_what_a_limited_reader_gets_is_of_his_department_alone(ledger: Ledger) -> None:
    browser = TestClient(ledger.app)
    for (method, path), (url, expected) in MATRIX.items():
        is_about_calls = path.startswith(ADMIN) and "dashboards/{uid}" not in path
        if method == "GET" and is_about_calls and expected["limited"] == 200:
            answer = browser.get(url, headers=ledger.headers["limited"])
            assert "ada" not in answer.text, path
            assert "research" not in answer.text, path


def test_every_view_a_limited_reader_asks_is_read_through_the_condition_on_his_rows(
    ledger: Ledger, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, texts = client.query, list[str]()

    def noting(text: str, *arguments: Any, **options: Any) -> Any:
        texts.append(text)
        return query(text, *arguments, **options)

    monkeypatch.setattr(client, "query", noting)
    browser = TestClient(ledger.app)
    more = [f"{ADMIN}/token_usage/summary?group_by={group}" for group in GROUPS]
    more.append(f"{ADMIN}/token_usage/summary?group_by=user&as_of_today=true")
    urls = [
        url
        for (method, path), (url, _) in MATRIX.items()
        if method == "GET" and "dashboards" not in path
    ]

    for url in (*urls, *more):
        browser.get(url, headers=ledger.headers["limited"])

    views_read = set()
    for text in texts:
        conditions: Counter[str] = Counter()
        for view in LIMITS:
            reads = len(re.findall(rf"\b{view} AS c WHERE ", text))
            assert len(re.findall(rf"\b(?:FROM|JOIN|IN)\s+\(*{view}\b", text)) == reads, text
            if reads:
                views_read.add(view)
                conditions[own_rows(view, "c")] += reads
        for condition, reads in conditions.items():  # of several views the same
            assert text.count(condition) == reads, text
        if "FROM llm_calls" in text:
            assert own_rows("calls", "l") in text, text
    assert {
        "calls",
        "usage_entries",
        "usage_hourly",
        "budget_status",
        "unknown_users",
    } <= views_read


def test_a_key_of_a_tenant_sees_its_rows_alone(ledger: Ledger, client: Client) -> None:
    key, token = make("admin", "of a tenant", tenant="acme")
    app = create_app(client, Keys([key]), lambda: {"ready": True}, CollectorRegistry())
    browser = TestClient(app, headers={"Authorization": f"Bearer {token}"})

    def calls(parameters: str = "") -> int:
        answer = browser.get(f"{ADMIN}/token_usage/summary?group_by=tenant{parameters}")
        return int(answer.json()["totals"]["calls"])

    assert calls() == 0
    client.command("INSERT INTO llm_calls (start_time, entry_kind, sign, tenant, user_id) VALUES"
                   " (now64(6), 'call', 1, 'acme', 'zoe')")  # fmt: skip
    assert calls() == 1
    other = browser.get(f"{ADMIN}/token_usage?tenant=globex")
    assert (other.status_code, "tenant must be one of acme" in other.text) == (400, True)
    assert browser.get(f"{ADMIN}/data_health").status_code == 403
