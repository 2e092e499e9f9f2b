"""Unread usage and undecided prices over the API: who is concerned, the money both ways."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from grafana_pages import run
from ledger import book, call, price_change, reversal
from priced import ns, price
from tallyspan.usage import Usage
from tallyspan_clickhouse.schema import FEEDS
from tallyspan_collector.access.keys import Key, Keys, digest
from tallyspan_collector.api import create_app
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.check import findings
from tallyspan_collector.pricing.cost import Priced

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
AZURE: dict[str, Any] = {"provider_name": "azure.ai.openai", "endpoint_id": "o'hara.openai.azure.com",
         "model_name": "gpt-5-mini", "price_flags": ["deployment_unknown"]}  # fmt: skip
ENTRIES: list[dict[str, Any]] = [
    {**AZURE, "cost_usd": Decimal("1.00"), "other_cost_usd": Decimal("1.10")},
    {**AZURE, "cost_usd": Decimal("3.00"), "other_cost_usd": Decimal("3.30"),
     "department": "sales"},
    {"unread": ["usage.hologram_tokens"], "quality_flags": ["unread_usage"],
     "cost_usd": Decimal("2.00"), "start_time": NOW - 2 * DAY},
    {"unread": ["usage.hologram_tokens", "usage.lane"], "quality_flags": ["unread_usage"],
     "cost_usd": Decimal("5.00")},
    {"price_flags": ["tier_assumed"], "service_tier": "fast", "cost_usd": Decimal("0.5")},
    {"price_flags": ["condition_assumed"], "cost_usd": Decimal("0.25")},
    {"price_flags": ["unpriced_meter"], "cost_usd": Decimal("0.125")},
    {"unread": ["usage.old"], "start_time": NOW - 40 * DAY},
    {"cost_usd": Decimal(99)},
]  # fmt: skip


@pytest.fixture(scope="module")
def ledger(client: Client) -> Client:
    for name in ("llm_calls", *FEEDS):
        client.command(f"TRUNCATE TABLE {name}")
    book(client, [call(**{"start_time": NOW - DAY, **each}) for each in ENTRIES])
    # The newest entry says what is doubtful: of one call it came with a later price, of another it
    # went, and a third was taken back.
    sound, doubtful, twice = (
        call(start_time=NOW - DAY, cost_usd=Decimal(8), quality_flags=flags)
        for flags in ([], ["inferred"], ["inferred"])
    )
    book(client, [sound, doubtful, twice])
    later = {"ingested_at": NOW}
    book(
        client,
        [
            price_change(sound, Decimal(9), NOW) | later | {"quality_flags": ["total_mismatch"]},
            price_change(doubtful, Decimal(9), NOW) | later | {"quality_flags": []},
            reversal(twice) | later,
        ],
    )
    return client


@pytest.fixture
def api(ledger: Client) -> TestClient:
    keys = Keys(
        [
            Key("a", "admin", "a", digest(b"tsa_all")),
            Key("b", "admin", "b", digest(b"tsa_own"), departments=("sales",)),
        ]
    )
    app = create_app(ledger, keys, lambda: {"ready": True}, CollectorRegistry())
    return TestClient(app, headers={"Authorization": "Bearer tsa_all"})


def rows(api: TestClient, name: str, **query: str) -> list[dict[str, Any]]:
    answer = api.get(f"/api/admin/data_health/{name}", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["rows"]
    return found


def test_usage_that_nobody_reads_is_listed_by_path_with_the_calls_it_is_in(
    api: TestClient,
) -> None:
    first, second = rows(api, "unread")

    # 2.00 and 5.00 USD; 110 tokens each
    assert (first["path"], first["calls"], first["tokens"], first["cost_usd"]) == (
        "usage.hologram_tokens", 2, 220, "7",
    )  # fmt: skip
    assert first["first_seen"] == f"{NOW - 2 * DAY:%Y-%m-%dT%H:%M:%S}.000000Z"
    assert (second["path"], second["cost_usd"]) == ("usage.lane", "5")
    since = f"{NOW - 50 * DAY:%Y-%m-%d}"
    assert "usage.old" in [each["path"] for each in rows(api, "unread", start_date=since)]
    assert rows(api, "unread", provider="anthropic") == []


def test_an_undecided_price_shows_the_money_both_ways_and_what_to_set(api: TestClient) -> None:
    found = {each["flag"]: each for each in rows(api, "undecided")}

    azure = found["deployment_unknown"]
    assert (azure["calls"], azure["cost_usd"], azure["other_cost_usd"]) == (2, "4", "4.4")
    assert azure["setting"] == (
        "conditions: [{provider: azure.ai.openai, endpoint: 'o''hara.openai.azure.com',"
        " set: {deployment: VALUE}}]"
    )
    assert [each["other_cost_usd"] for flag, each in found.items() if flag != azure["flag"]] == [
        None, None, None,
    ]  # fmt: skip


FILLED = {"VALUE": "data-zone", "CONDITION": "refusal", "FACTOR": "0.5", "USD": "1",
          "METER": "web_search"}  # fmt: skip


@pytest.mark.parametrize(
    "flag", ["deployment_unknown", "tier_assumed", "condition_assumed", "unpriced_meter"]
)
def test_what_to_set_is_a_price_file_once_it_is_filled_in(
    api: TestClient, tmp_path: Path, flag: str
) -> None:
    (text,) = [each["setting"] for each in rows(api, "undecided") if each["flag"] == flag]
    for word, value in FILLED.items():
        text = text.replace(word, value)
    file = tmp_path / "models_pricing.yaml"
    file.write_text(text)

    assert findings(PriceBook.load(file).file) == []


def test_the_line_decides_the_price_of_the_calls_it_is_shown_for(
    api: TestClient, tmp_path: Path
) -> None:
    (text,) = [
        each["setting"] for each in rows(api, "undecided") if each["flag"] == "deployment_unknown"
    ]
    file = tmp_path / "models_pricing.yaml"
    file.write_text(text.replace("VALUE", "data-zone"))

    def cost(prices: PriceBook) -> Priced:
        found = price(prices, AZURE["model_name"], Usage(10**6, 0), provider="azure.ai.openai",
                      endpoint_id=AZURE["endpoint_id"], at_ns=ns("2026-11-20"))  # fmt: skip
        assert isinstance(found, Priced)
        return found

    open_, decided = cost(PriceBook()), cost(PriceBook.load(file))
    assert open_.flags == ("deployment_unknown",)
    assert decided.flags == ()
    assert decided.cost_picousd == open_.other_cost_picousd


def test_flags_of_quality_are_counted_with_what_their_calls_cost(api: TestClient) -> None:
    found = [(each["flag"], each["calls"], each["cost_usd"]) for each in rows(api, "flags")]

    assert found == [("total_mismatch", 1, "9"), ("unread_usage", 2, "7")]


def test_a_key_of_some_departments_sees_their_doubts_only(api: TestClient) -> None:
    api.headers["Authorization"] = "Bearer tsa_own"

    (own,) = rows(api, "undecided")
    assert (own["calls"], own["cost_usd"], own["other_cost_usd"]) == (1, "3", "3.3")
    assert rows(api, "unread") == []


def test_the_page_shows_the_same_as_the_api(ledger: Client, api: TestClient) -> None:
    unread = run(ledger, "health", "Usage that nobody reads", 30)
    assert [(each["path"], each["calls"], each["spend"]) for each in unread] == [
        ("usage.hologram_tokens", 2, Decimal(7)), ("usage.lane", 1, Decimal(5)),
    ]  # fmt: skip
    undecided = run(ledger, "health", "Undecided prices", 30)
    assert undecided[0]["difference"] == Decimal("0.40")
    assert [each["to_set"] for each in undecided] == [
        each["setting"] for each in rows(api, "undecided")
    ]
    flags = run(ledger, "health", "Quality flags", 30)
    assert [(each["flag"], each["calls"], each["spend"]) for each in flags] == [
        ("unread_usage", 2, Decimal(7)), ("total_mismatch", 1, Decimal(9)),
    ]  # fmt: skip
