"""What the API answers beside the two great questions: lists, single calls, CSV, ETags."""

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from clickhouse_connect.driver.client import Client
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.testclient import TestClient

from call_facts import FACTS, NASTY, NASTY_FACTS, Fact, fill, spend
from ledger import book, call, price_change, reversal, unpriced
from tallyspan_collector.access.keys import Keys
from tallyspan_collector.api import create_app
from tallyspan_collector.api.answer import render
from tallyspan_collector.pricing.book import PriceBook

NOW = datetime.now(UTC)
KEY = {"Authorization": "Bearer tsa_key"}
SUMMARY = "/api/admin/token_usage/summary"
HEALTH = {"ready": False, "reasons": ["the spool is full"], "warnings": ["prices are old"]}


@pytest.fixture
def client(client: Client) -> Client:
    fill(client, FACTS, NOW)
    return client


@pytest.fixture
def api(client: Client) -> TestClient:
    return opened(client)


def opened(client: Client, prices: PriceBook | None = None) -> TestClient:
    app = create_app(
        client,
        Keys.of({"ops": "tsa_key"}),
        lambda: HEALTH,
        CollectorRegistry(),
        lambda: prices or PriceBook(),
    )
    return TestClient(app, headers=KEY)


def text(amount: Decimal) -> str:
    return f"{amount.normalize():f}"


def of(name: str) -> list[Fact]:
    return [fact for fact in FACTS if fact.user == name]


def test_users_come_with_what_they_cost_since_when_for_whom_and_with_what(api: TestClient) -> None:
    rows = {row["user"]: row for row in api.get("/api/admin/users").json()["users"]}

    assert set(rows) == {fact.user for fact in FACTS}
    for name, row in rows.items():
        days = sorted(str((NOW - timedelta(hours=fact.hours_ago)).date()) for fact in of(name))
        assert row["calls"] == len(of(name))
        assert Decimal(row["cost_usd"]) == spend(of(name))
        assert (row["first_day"], row["last_day"]) == (days[0], days[-1])
        assert row["models"] == len({fact.model for fact in of(name)})
        assert row["departments"] == sorted({f.department for f in of(name) if f.department})


def test_a_list_is_searched_narrowed_and_paged(api: TestClient) -> None:
    found = api.get("/api/admin/users", params={"contains": "AD"}).json()["users"]
    sales = api.get("/api/admin/users", params={"department": "sales", "order": "group"}).json()
    first = api.get("/api/admin/models", params={"limit": 1}).json()
    second = api.get("/api/admin/models?limit=1", params={"cursor": first["next_cursor"]}).json()

    assert [row["user"] for row in found] == ["ada"]
    assert [row["user"] for row in sales["users"]] == ["bob", "eve"]
    assert [each["models"][0]["model"] for each in (first, second)] == ["claude", "gpt-5"]


def test_agents_departments_and_the_rest_add_up_to_the_same_total(api: TestClient) -> None:
    total = api.get(SUMMARY).json()["totals"]
    for name in ("departments", "agents", "models", "providers", "endpoints", "services"):
        rows = api.get(f"/api/admin/{name}").json()[name]
        assert sum(Decimal(row["cost_usd"] or 0) for row in rows) == Decimal(total["cost_usd"])
        assert sum(row["calls"] for row in rows) == total["calls"], name


def test_conversations_are_those_of_the_last_30_days_and_lead_to_their_calls(
    api: TestClient,
) -> None:
    rows = api.get("/api/admin/conversations").json()["conversations"]
    one = api.get("/api/admin/conversations/c1").json()

    assert [row["conversation"] for row in rows] == ["c3", "c1", "c2"]
    assert rows[1]["users"] == ["ada"]
    assert (rows[1]["calls"], rows[1]["cost_usd"]) == (2, "2")
    assert (one["totals"]["calls"], one["totals"]["cost_usd"]) == (2, "2")
    assert [each["estimated_cost_usd"] for each in one["calls"]] == ["1.25", "0.75"]
    assert api.get("/api/admin/conversations/nobody").status_code == 404


@pytest.mark.parametrize("name", NASTY)
def test_a_conversation_of_any_name_is_found_and_stays_text(client: Client, name: str) -> None:
    fill(client, NASTY_FACTS, NOW)
    api = opened(client)
    path = "".join(f"%{byte:02x}" for byte in name.encode())

    assert api.get(f"/api/admin/conversations/{path}").json()["conversation_id"] == name
    assert api.get(f"/api/usage/conversations/{path}").json()["calls"] == 1
    rows = api.get(SUMMARY, params={"model": name, "group_by": "model"}).json()["rows"]
    assert [row["model"] for row in rows] == [name]


def test_a_call_is_the_sum_of_its_entries(client: Client) -> None:
    fill(client, [])
    booked = unpriced(user_id="ada", conversation_id="k")
    other = call(conversation_id="k")
    later = datetime(2026, 4, 1, tzinfo=UTC)
    book(client, [booked, price_change(booked, Decimal("0.5"), later), other, reversal(other)])
    api = opened(client)

    said = api.get(f"/api/admin/calls/{booked['trace_id']}-{booked['span_id']}").json()
    gone = api.get(f"/api/admin/calls/{other['trace_id']}-{other['span_id']}")
    assert said["call"]["estimated_cost_usd"] == "0.5"
    assert [each["entry_kind"] for each in said["entries"]] == ["call", "price_change"]
    assert sum(Decimal(each["cost_usd"] or 0) for each in said["entries"]) == Decimal("0.5")
    assert gone.status_code == 404
    assert api.get("/api/admin/calls/x").status_code == 400


def test_a_message_is_found_by_the_providers_id_and_by_ours(client: Client) -> None:
    fill(client, [])
    mine = call(start_time=NOW, response_id="msg_1/a", cost_usd=Decimal("0.25"))
    old = call(start_time=NOW - timedelta(days=60), response_id="msg_old")
    book(client, [mine, old])
    api = opened(client)

    for name in ("msg_1/a", f"{mine['trace_id']}-{mine['span_id']}"):
        said = api.get(f"/api/usage/messages/{name}").json()
        assert (said["id"], said["calls"], said["cost_usd"]) == (name, 1, "0.25")
    assert api.get("/api/usage/messages/msg_old").status_code == 404
    assert api.get("/api/usage/messages/msg_").status_code == 404


def test_the_link_to_the_next_page_leads_there_whatever_the_name_in_the_path() -> None:
    name, query = "c€?a=b%41#\n/x", "limit=2&user=%C3%A9&cursor=old"
    scope = {"type": "http", "method": "GET", "path": f"/conversations/{name}", "headers": [],
             "query_string": query.encode()}  # fmt: skip
    answer = render(Request(scope), {"next_cursor": "new"}, None)

    link = answer.headers["Link"].removesuffix('>; rel="next"').removeprefix("<")
    assert link.isascii()
    parts = urlsplit(link)
    assert unquote(parts.path) == f"/conversations/{name}"
    assert parse_qs(parts.query) == {"limit": ["2"], "user": ["é"], "cursor": ["new"]}


def test_csv_has_a_header_exact_amounts_and_nothing_a_spreadsheet_would_run(
    client: Client,
) -> None:
    fill(
        client, [Fact(1, "=HYPERLINK(1)", cost=Decimal("0.000001")), Fact(2, "-1+1"), Fact(3, "é")]
    )
    answer = opened(client).get(SUMMARY, headers={"Accept": "text/csv"})

    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert {row["user"] for row in rows} == {"'=HYPERLINK(1)", "'-1+1", "é"}
    assert rows[0]["cost_usd"] == "0.000001"
    assert rows[0]["cache_read_tokens"] == ""


def test_an_empty_csv_still_has_its_header(client: Client) -> None:
    fill(client, [])
    answer = opened(client).get("/api/admin/token_usage?format=csv")

    assert answer.text.startswith("log_id,user_id,department,agent_id,conversation_id,model_name,")
    assert answer.text.count("\n") == 1


@pytest.mark.parametrize(
    ("accept", "is_csv"),
    [
        ("text/csv", True),
        ("text/csv, application/json;q=0.5", True),
        ("application/json, text/csv;q=0.5", False),
        ("*/*", False),
        ("text/html", False),
        ("text/csv;q=0", False),
        ("text/csv;q=x", False),
        ("", False),
    ],
)
def test_the_accept_header_decides_and_the_parameter_beats_it(
    api: TestClient, accept: str, is_csv: bool
) -> None:
    kind = "text/csv" if is_csv else "application/json"
    headers = {"Accept": accept}

    assert api.get(SUMMARY, headers=headers).headers["Content-Type"].startswith(kind)
    forced = api.get(f"{SUMMARY}?format=json", headers=headers)
    assert forced.headers["Content-Type"] == "application/json"


def test_what_is_known_is_not_sent_again_until_a_call_changes_it(
    client: Client, api: TestClient
) -> None:
    first = api.get(SUMMARY)
    known = {"If-None-Match": f'"other", W/{first.headers["ETag"]}'}
    again = api.get(SUMMARY, headers=known)
    as_csv = api.get(f"{SUMMARY}?format=csv", headers=known)
    book(client, [call()])
    changed = api.get(SUMMARY, headers=known)

    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert (as_csv.status_code, changed.status_code) == (200, 200)


def test_the_next_page_is_linked(api: TestClient) -> None:
    seen: list[dict[str, Any]] = []
    url = "/api/admin/token_usage?limit=4&format=csv"
    while url:
        answer = api.get(url)
        seen += csv.DictReader(io.StringIO(answer.text))
        url = answer.headers.get("Link", "").removesuffix('>; rel="next"').removeprefix("<")

    assert len({row["log_id"] for row in seen}) == len(seen) == len(FACTS)


def test_prices_are_listed_quoted_and_missed(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(
        "prices:\n  - {model: house-llama, provider: openai, unit: 1M tokens,"
        " input: 1.5, output: 3, from: 2026-01-01}\n"
    )
    api = opened(client, PriceBook.load(file))
    house = {"model": "house-llama", "at": "2026-03-01"}

    (listed,) = api.get("/api/admin/prices").json()["prices"]
    quoted = api.get("/api/admin/prices/quote", params=house).json()
    missed = api.get("/api/admin/prices/missing").json()["models"]
    assert (listed["model"], listed["from"], listed["to"]) == ("house-llama", "2026-01-01", "")
    assert {"class": "output", "context": "", "usd": "3/M"} in quoted["rates"]
    assert quoted["price_id"].startswith(listed["price_id"].rpartition("@")[0])
    assert [(row["model_name"], row["calls"]) for row in missed] == [("unknown-model", 1)]
    early = api.get("/api/admin/prices/quote", params=house | {"at": "2025-01-01"})
    assert (early.status_code, early.json()["error"]) == (
        404,
        "there is no price for it: unknown_model",
    )
    assert api.get("/api/admin/prices/quote").status_code == 400


def test_data_health_says_what_is_doubtful_and_what_the_collector_complains_of(
    api: TestClient,
) -> None:
    said = api.get("/api/admin/data_health?group_by=service").json()

    rows = {row["service"]: row for row in said["rows"]}
    assert said["collector"] == HEALTH
    assert (said["totals"]["calls"], said["totals"]["unpriced_calls"]) == (len(FACTS), 1)
    assert rows["batch"]["estimated_calls"] == 1
    assert rows["chat"]["unknown_usage_calls"] == 0  # the one without tokens was refused
    assert api.get("/api/admin/data_health?group_by=user").status_code == 400
