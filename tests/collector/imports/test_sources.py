"""Reports of each provider in the shapes their documentation has, from pages or files to lines."""

import gzip
import json
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from billing_server import KEY, BillingServer, Used, billing_server
from tallyspan_collector.bills import cloud_file
from tallyspan_collector.bills.billed import Billed
from tallyspan_collector.bills.pages import Api
from tallyspan_collector.bills.sources import SOURCES
from tallyspan_collector.errors import BillError, ConfigError

DAY = date(2026, 3, 31)
CLAUDE_CODE = "/v1/organizations/usage_report/claude_code"
ENTERPRISE = "/v1/organizations/analytics/user_{}_report"
COPILOT = "/organizations/acme/settings/billing/ai_credit/usage"


def fetched(source: str, server: BillingServer, *, days: int = 1) -> list[Billed]:
    fetch = SOURCES[source].fetch
    assert fetch is not None
    api = Api(server.url, SOURCES[source].headers(KEY), "a test", sleep=lambda _: None)
    last = date(2026, 3, 30 + days)
    return list(fetch(api, DAY, last, "acme"))


def used_by(actor: dict[str, str], customer_type: str = "api", **models: Any) -> dict[str, Any]:
    """Return a record of Claude Code's report: model -> (input, output, read, created, cents)."""
    return {
        "actor": actor,
        "core_metrics": {"num_sessions": 1},
        "customer_type": customer_type,
        "date": "2026-03-31T00:00:00Z",
        "model_breakdown": [
            {
                "model": model.replace("_", "-"),
                "estimated_cost": {"amount": cents, "currency": "USD"},
                "tokens": {
                    "input": fresh, "output": output, "cache_read": read, "cache_creation": made,
                },
            }
            for model, (fresh, output, read, made, cents) in models.items()
        ],
        "organization_id": "o-1",
        "terminal_type": "iTerm.app",
    }  # fmt: skip


def test_claude_code_is_read_by_user_or_key_and_without_subscriptions() -> None:
    ada = {"type": "user_actor", "email_address": "ada@example.com"}
    key = {"type": "api_actor", "api_key_name": "ci"}
    records = [
        used_by(ada, claude_opus_5=(100, 20, 700, 200, 186)),
        used_by(ada, "subscription", claude_opus_5=(1, 1, 1, 1, 1)),
        used_by(key, claude_haiku_4_5=(10, 2, 0, 0, 0.5)),
    ]
    with billing_server(BillingServer(reports={CLAUDE_CODE: lambda _: records})) as server:
        ada_line, key_line = fetched("claude-code", server)

    assert (ada_line.user, ada_line.model, ada_line.service) == (
        "ada@example.com",
        "claude-opus-5",
        "claude-code",
    )
    assert (ada_line.input_tokens, ada_line.output_tokens) == (1000, 20)
    assert (ada_line.cache_read_tokens, ada_line.cache_write_tokens) == (700, 200)
    assert ada_line.cost_usd == Decimal("1.86")
    assert (key_line.api_key, key_line.cost_usd) == ("ci", Decimal("0.005"))
    assert [query["starting_at"] for _, query in server.requests] == [["2026-03-31"]] * 2


def of_user(product: str, model: str | None, **amounts: Any) -> dict[str, Any]:
    return {
        "actor": {"type": "user_actor", "user_id": "user_1", "email_address": "ada@example.com"},
        "product": product,
        "model": model,
        "context_window": "200k-1M",
        "inference_geo": "us",
        "starting_at": "2026-03-31T00:00:00Z",
        "ending_at": "2026-04-01T00:00:00Z",
        **amounts,
    }


def test_claude_enterprise_is_read_by_user_and_product() -> None:
    tokens = {
        "uncached_input_tokens": 10, "cache_read_input_tokens": 700, "output_tokens": 5,
        "cache_creation": {"ephemeral_1h_input_tokens": 100, "ephemeral_5m_input_tokens": 190},
        "server_tool_use": {"web_search_requests": 1}, "requests": 3,
    }  # fmt: skip
    reports: dict[str, Any] = {
        ENTERPRISE.format("usage"): lambda _: [of_user("claude_code", "claude-opus-5", **tokens)],
        ENTERPRISE.format("cost"): lambda _: [
            of_user("claude_code", "claude-opus-5", amount="12.5", currency="USD"),
            of_user("chat", None, amount="100", currency="USD"),
        ],
    }
    with billing_server(BillingServer(reports=reports)) as server:
        usage, cost, without_model = fetched("anthropic-enterprise", server)

    assert (usage.user, usage.service, usage.requests) == ("ada@example.com", "claude-code", 3)
    assert (usage.input_tokens, usage.cache_write_tokens) == (1000, 290)
    assert (usage.meters, usage.conditions, usage.is_long_context) == (
        {"cache_write_1h_tokens": 100},
        {"geo": "us"},
        True,
    )
    assert (cost.cost_usd, cost.service) == (Decimal("0.125"), "claude-code")
    assert (without_model.item, without_model.cost_usd) == ("chat without a model", Decimal(1))


def test_copilot_s_credits_are_read_day_by_day() -> None:
    def items(query: dict[str, list[str]]) -> list[dict[str, Any]]:
        assert (query["year"], query["month"]) in ((["2026"], ["3"]), (["2026"], ["4"]))
        return [
            {
                "product": "Copilot", "sku": "Copilot AI Credits", "model": "Auto: Claude Haiku 4.5",
                "unitType": "ai-credits", "pricePerUnit": 0.01, "grossQuantity": 3956.1799545,
                "grossAmount": 39.561799545, "discountAmount": 39.561799545, "netAmount": 0.0,
            }
        ]  # fmt: skip

    server = BillingServer(reports={COPILOT: items}, list_name="usageItems")
    with billing_server(server):
        (line,) = fetched("copilot", server)

    assert (line.day, line.model, line.cost_usd) == (
        DAY,
        "claude-haiku-4.5",
        Decimal("39.561799545"),
    )


def test_openrouter_s_activity_is_read_by_key() -> None:
    item = {
        "date": "2026-03-31", "model": "openai/gpt-4.1", "usage": 0.5, "byok_usage_inference": 0.25,
        "requests": 2, "prompt_tokens": 100, "completion_tokens": 20, "reasoning_tokens": 5,
    }  # fmt: skip
    keys = [{"hash": "h1", "name": "web"}, {"hash": "h2", "name": ""}]
    reports: dict[str, Any] = {
        "/api/v1/keys": lambda _: keys,
        "/api/v1/activity": lambda query: [item] if query["api_key_hash"] == ["h2"] else [],
    }
    with billing_server(BillingServer(reports=reports)) as server:
        (line,) = fetched("openrouter", server)

    assert (line.api_key, line.requests, line.tokens) == ("h2", 2, 120)
    assert line.cost_usd == Decimal("0.75")


def test_an_amount_that_is_none_is_refused() -> None:
    reports: dict[str, Any] = {
        ENTERPRISE.format("usage"): lambda _: [],
        ENTERPRISE.format("cost"): lambda _: [of_user("chat", "claude-opus-5", amount="much")],
    }
    with (
        billing_server(BillingServer(reports=reports)) as server,
        pytest.raises(BillError, match="no number: 'much'"),
    ):
        fetched("anthropic-enterprise", server)


def test_openai_s_users_go_by_their_addresses_and_who_left_by_the_id() -> None:
    people = [{"id": f"user-{n}", "email": f"u{n}@example.com"} for n in range(3)]

    def page(query: dict[str, list[str]]) -> list[dict[str, Any]]:
        seen = query.get("after", [""])[0]
        return [each for each in people if each["id"] > seen]

    used = [Used(DAY, "gpt-4.1", user="user-2"), Used(DAY, "gpt-4.1", user="user-9")]
    server = BillingServer(used, reports={"/v1/organization/users": page})
    with billing_server(server):
        users = {line.user for line in fetched("openai", server)}
        del server.reports["/v1/organization/users"]
        ids = {line.user for line in fetched("openai", server)}

    assert users == {"u2@example.com", "user-9"}
    assert ids == {"user-2", "user-9"}


AWS = [
    {
        "line_item_usage_start_date": "2026-03-31 23:00:00.000",
        "line_item_product_code": "AmazonBedrock",
        "line_item_usage_type": "USE1-Nova-input-tokens",
        "line_item_usage_account_id": "111122223333",
        "line_item_unblended_cost": "1.5",
        "line_item_currency_code": "USD",
        "line_item_line_item_type": "Usage",
        "line_item_line_item_description": "$0.06 per 1M tokens",
    },
    {
        "line_item_usage_start_date": "2026-03-31T04:00:00Z",
        "line_item_product_code": "9w3example",
        "line_item_usage_type": "USE1-MP:USE1_InputTokenCount-Units",
        "line_item_usage_account_id": "111122223333",
        "line_item_unblended_cost": "2",
        "line_item_currency_code": "USD",
        "line_item_line_item_type": "Usage",
        "line_item_line_item_description": "AWS Marketplace: Claude (Amazon Bedrock Edition)",
    },
    {
        "line_item_usage_start_date": "2026-03-31T04:00:00Z",
        "line_item_product_code": "AmazonEC2",
        "line_item_usage_type": "BoxUsage",
        "line_item_usage_account_id": "111122223333",
        "line_item_unblended_cost": "99",
        "line_item_currency_code": "USD",
        "line_item_line_item_type": "Usage",
        "line_item_line_item_description": "a machine",
    },
]
AZURE = [
    {
        "Date": "03/31/2026", "MeterCategory": "Foundry Models", "MeterSubCategory": "Azure OpenAI",
        "MeterName": "gpt-4.1-Inp-glbl Tokens", "CostInBillingCurrency": "9.2", "CostInUsd": "10",
        "BillingCurrency": "EUR", "ResourceGroup": "rg-ai", "ChargeType": "Usage",
    },
    {
        "Date": "03/31/2026", "MeterCategory": "Foundry Models", "MeterSubCategory": "Azure OpenAI",
        "MeterName": "PTU reservation", "CostInBillingCurrency": "9.2", "CostInUsd": "10",
        "BillingCurrency": "EUR", "ResourceGroup": "rg-ai", "ChargeType": "Purchase",
    },
]  # fmt: skip
GCP = [
    {
        "service": {"id": "C7E2", "description": "Vertex AI"},
        "sku": {"id": "A1", "description": "Gemini 2.5 Pro Text Input - Predictions"},
        "usage_start_time": "2026-03-31 23:00:00-02:00", "project": {"id": "search"},
        "cost": 0.25, "currency": "USD", "cost_type": "regular", "credits": [],
    },
    {
        "service": {"id": "C7E2", "description": "Vertex AI"}, "sku": {"id": "T", "description": "Tax"},
        "usage_start_time": "2026-03-31 00:00:00 UTC", "project": {"id": "search"},
        "cost": 0.05, "currency": "USD", "cost_type": "tax", "credits": [],
    },
]  # fmt: skip
FOCUS = [
    {
        "ChargePeriodStart": "2026-03-31T00:00:00Z", "EffectiveCost": "3", "BilledCost": "0",
        "BillingCurrency": "USD", "ChargeDescription": "Claude tokens", "SubAccountId": "acct",
        "ServiceName": "Amazon Bedrock", "ChargeCategory": "Usage",
    }
]  # fmt: skip


def written(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        text = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        text = "\n".join(
            ",".join(map(str, each)) for each in (rows[0], *(r.values() for r in rows))
        )
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("source", "name", "rows", "lines"),
    [
        ("aws", "cur.csv", AWS, [
            (DAY, "USE1-Nova-input-tokens", "111122223333", "1.5"),
            (DAY, "USE1-MP:USE1_InputTokenCount-Units", "111122223333", "2"),
        ]),
        ("azure", "cost.csv", AZURE, [(DAY, "gpt-4.1-Inp-glbl Tokens", "rg-ai", "10")]),
        ("gcp", "billing.jsonl", GCP, [
            (date(2026, 4, 1), "Gemini 2.5 Pro Text Input - Predictions", "search", "0.25"),
        ]),
        ("aws", "focus.csv", FOCUS, [(DAY, "Claude tokens", "acct", "3")]),
    ],
)  # fmt: skip
def test_lines_of_models_are_read_from_cost_exports(
    tmp_path: Path, source: str, name: str, rows: list[dict[str, Any]], lines: list[Any]
) -> None:
    """Usage and no purchase, tax or other service; an hour is of the day that it is in UTC."""
    path = written(tmp_path / name, rows)
    packed = path.with_name(f"{name}.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    read = SOURCES[source].read
    assert read is not None

    for each in (path, packed):
        assert [(x.day, x.item, x.project, str(x.cost_usd)) for x in read(each)] == lines


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([AWS[0] | {"line_item_unblended_cost": "x"}], "line_item_unblended_cost: must be a number"),
        ([AWS[0] | {"line_item_currency_code": "EUR"}], "the bill is in EUR"),
        ([AWS[0] | {"line_item_usage_start_date": "soon"}], "_date: must be a day like 2026-01-31; got 'soon'"),
        ([{"a": "1", "b": "2"}], "is no such export"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_refused_by_line(
    tmp_path: Path, rows: list[dict[str, Any]], words: str
) -> None:
    path = written(tmp_path / "cur.csv", rows)
    with pytest.raises(ConfigError) as refused:
        list(cloud_file.read(path, cloud_file.AWS))

    assert str(path) in str(refused.value)
    assert words in str(refused.value)


def test_half_a_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "cur.csv", AWS)
    path.write_text(path.read_text()[:-60])
    with pytest.raises(ConfigError, match="has not as many columns"):
        list(cloud_file.read(path, cloud_file.AWS))


def test_parquet_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "cur.csv"
    path.write_bytes(b"PAR1\x15\x04")
    with pytest.raises(ConfigError, match="is Parquet: export it as CSV"):
        list(cloud_file.read(path, cloud_file.AWS))
