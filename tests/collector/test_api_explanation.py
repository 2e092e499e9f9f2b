"""Why a call costs what it costs, over the API: what it used, how its price was made, doubts."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from grafana_pages import key, run
from ledger import book, call
from tallyspan_clickhouse.schema import FEEDS
from tallyspan_collector.access.keys import Key, Keys, digest
from tallyspan_collector.api import create_app
from tallyspan_collector.pricing.book import PriceBook

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
OPUS = {"provider_name": "anthropic", "model_name": "claude-opus-4-8", "start_time": AT,
        "endpoint_id": "api.anthropic.com", "input_tokens": 1000, "output_tokens": 100,
        "cache_read_tokens": None, "department": "sales"}  # fmt: skip
# 1000 x 5 and 100 x 25 USD a million, x 1.1 for geo us, and 2 searches at 0.01 USD
SEARCHED = {
    **OPUS, "conditions": {"geo": "us"}, "meters": {"web_search": 2.0},
    "cost_usd": Decimal("0.02825"), "price_id": "anthropic/claude-opus-4-8 x1.1 geo=us",
    "price_source": "genai-prices", "input_cost_usd": Decimal("0.0055"),
    "output_cost_usd": Decimal("0.00275"), "unread": ["usage.hologram_tokens"],
    "quality_flags": ["unread_usage"],
}  # fmt: skip
AZURE = {
    **OPUS, "provider_name": "azure.ai.openai", "endpoint_id": "x.openai.azure.com",
    "model_name": "gpt-4.1", "cost_usd": Decimal("0.0028"), "other_cost_usd": Decimal("0.00308"),
    "price_id": "azure/gpt-4.1", "price_flags": ["deployment_unknown"], "meters": {},
    "conditions": {},
}  # fmt: skip
NEGOTIATED = {**OPUS, "cost_usd": Decimal(9), "price_id": "old.yaml:claude#1"}
UNPRICED = {**OPUS, "conditions": {"geo": "mars"}, "cost_usd": None, "cost_status": "unpriced",
            "unpriced_reason": "unknown_condition", "price_id": ""}  # fmt: skip
CALLS = {"searched": SEARCHED, "azure": AZURE, "negotiated": NEGOTIATED, "unpriced": UNPRICED}
IDS = {name: f"{100 + place:032x}-{200 + place:016x}" for place, name in enumerate(CALLS)}


@pytest.fixture(scope="module")
def ledger(client: Client) -> Client:
    for name in ("llm_calls", *FEEDS):
        client.command(f"TRUNCATE TABLE {name}")
    for name, columns in CALLS.items():
        trace_id, _, span_id = IDS[name].partition("-")
        book(client, [call(**columns, trace_id=trace_id, span_id=span_id)])
    return client


@pytest.fixture
def api(ledger: Client) -> TestClient:
    keys = Keys(
        [
            Key("a", "admin", "a", digest(b"tsa_all")),
            Key("b", "admin", "b", digest(b"tsa_own"), departments=("research",)),
        ]
    )
    app = create_app(ledger, keys, lambda: {"ready": True}, CollectorRegistry(), PriceBook)
    return TestClient(app, headers={"Authorization": "Bearer tsa_all"})


def explanation(api: TestClient, name: str) -> dict[str, Any]:
    answer = api.get(f"/api/admin/calls/{IDS[name]}/explanation")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_meters_conditions_steps_and_arithmetic_of_a_call(api: TestClient) -> None:
    told = explanation(api, "searched")

    assert told["meters"] == {"input_tokens": 1000, "output_tokens": 100, "web_search": 2}
    assert told["conditions"] == {"geo": "us"}
    assert [each["kind"] for each in told["steps"]] == ["price", "fee", "factor"]
    assert told["steps"][2]["origin"]["source"].startswith("https://platform.claude.com/")
    assert told["arithmetic"] == [
        "1000 input x 5.5 USD a million = 0.005500000000 USD",
        "100 output x 27.5 USD a million = 0.002750000000 USD",
        "2 web_search x 0.01 USD each = 0.020000000000 USD",
    ]
    assert (told["cost_usd"], told["unread"]) == ("0.02825", ["usage.hologram_tokens"])


def test_what_is_undecided_has_both_costs(api: TestClient) -> None:
    told = explanation(api, "azure")

    assert (told["cost_usd"], told["other_cost_usd"]) == ("0.0028", "0.00308")
    assert told["steps"][-1]["text"].startswith("flag: deployment_unknown; the other cost is")


def test_a_price_that_is_no_longer_in_the_book_is_not_explained_by_another(
    api: TestClient,
) -> None:
    told = explanation(api, "negotiated")

    assert (told["price_id"], told["steps"], told["arithmetic"]) == ("old.yaml:claude#1", [], [])


def test_why_there_is_no_price_is_the_last_step(api: TestClient) -> None:
    told = explanation(api, "unpriced")

    assert told["cost_usd"] is None
    assert told["steps"][-1]["text"] == "no price: unknown_condition for geo mars"


def test_a_call_of_another_department_is_none(api: TestClient) -> None:
    api.headers["Authorization"] = "Bearer tsa_own"

    assert api.get(f"/api/admin/calls/{IDS['azure']}/explanation").status_code == 404
    assert api.get("/api/admin/calls/nonsense/explanation").status_code == 400


def shown(ledger: Client, title: str, name: str) -> list[dict[str, Any]]:
    return run(ledger, "call", title, call=[IDS[name]])


def test_the_page_of_a_call_shows_the_same(ledger: Client) -> None:
    assert shown(ledger, "Meters", "searched") == [
        {"name": "input_tokens", "amount": 1000}, {"name": "output_tokens", "amount": 100},
        {"name": "web_search", "amount": 2},
    ]  # fmt: skip
    assert {"name": "geo", "value": "us"} in shown(ledger, "Conditions", "searched")
    (price,) = shown(ledger, "Price and parts of the cost", "searched")
    assert (price["price"], price["of_rest"]) == (SEARCHED["price_id"], Decimal("0.02"))
    doubts = [(each["kind"], each["name"]) for each in shown(ledger, "Doubts", "searched")]
    assert doubts == [("quality", "unread_usage"), ("unread", "usage.hologram_tokens")]
    (doubt,) = shown(ledger, "Doubts", "azure")
    assert "set: {deployment: VALUE}" in doubt["to_set"]
    assert shown(ledger, "The other way", "azure") == [{"other_cost": Decimal("0.00308")}]


def test_a_conversation_leads_to_its_calls(ledger: Client) -> None:
    days = (datetime.now(UTC) - AT).days + 2
    rows = run(ledger, "conversation", "Calls in order", days, conversation=["c1"])

    assert {row["key"] for row in rows} == {key(each) for each in IDS.values()}
