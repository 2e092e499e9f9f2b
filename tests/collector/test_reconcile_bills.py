"""`tallyspan reconcile` on the bills of OpenRouter and the clouds, and on what bills may hold."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from billing_server import BillingServer, billing_server
from reconcile_bench import DAY, PERIOD, Bench, bench_of, calls
from shared_store import SharedStore

ACTIVITY = "/api/v1/activity"
BEDROCK = "us.anthropic.claude-sonnet-4-20250514-v1:0"


@pytest.fixture
def bench(
    empty_store: SharedStore,
    client: Client,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Bench:
    return bench_of(empty_store, client, capsys, monkeypatch)


def activity(query: dict[str, list[str]], **other: Any) -> list[dict[str, Any]]:
    """Return OpenRouter's answer: two endpoints of one model on `DAY`, one with a key of one's own."""
    if query["date"] != [str(DAY)]:
        return []
    item = {
        "date": str(DAY), "model": "openai/gpt-4.1", "model_permaslug": "openai/gpt-4.1-2025-04-14",
        "endpoint_id": "e", "provider_name": "OpenAI", "usage": 1.25, "byok_usage_inference": 0,
        "requests": 1, "prompt_tokens": 100, "completion_tokens": 10, "reasoning_tokens": 4,
    } | other  # fmt: skip
    return [item, item | {"endpoint_id": "f", "usage": 0.05, "byok_usage_inference": 1.20}]


def test_openrouter_s_activity_is_compared_by_day_and_model(bench: Bench) -> None:
    calls(bench.client, 2, provider_name="openrouter", model_name="openai/gpt-4.1")
    with billing_server(BillingServer(reports={ACTIVITY: activity})) as server:
        (line,) = bench.lines("openrouter", "--url", server.url, *PERIOD)

    assert (line["model"], line["billed_requests"], line["billed_tokens"]) == (
        "openai/gpt-4.1",
        2,
        220,
    )
    assert (float(line["billed_cost_usd"]), line["reason"]) == (2.5, "")
    assert [query["date"][0] for _, query in server.requests] == [
        f"2026-0{day}" for day in ("3-30", "3-31", "4-01", "4-02")
    ]


def test_openrouter_s_activity_is_compared_by_key(bench: Bench) -> None:
    calls(bench.client, 2, provider_name="openrouter", model_name="openai/gpt-4.1", source="eu")
    keys = [{"hash": "h1", "name": "europe"}, {"hash": "h2", "name": "idle"}]

    def of_key(query: dict[str, list[str]]) -> list[dict[str, Any]]:
        return activity(query) if query["api_key_hash"] == ["h1"] else []

    reports = {ACTIVITY: of_key, "/api/v1/keys": lambda _: keys}
    with billing_server(BillingServer(reports=reports)) as server:
        (line,) = bench.lines(
            "openrouter", "--url", server.url, *PERIOD,
            "--by", "api_key", "--recorded-as", "source", "--name", "europe=eu",
        )  # fmt: skip

    assert (line["project"], line["reason"]) == ("eu", "")


def cur(folder: Path, *rows: tuple[str, str, str, str]) -> str:
    """Write a Data Export of AWS: type, usage type, cost and currency of each line."""
    path = folder / "cur.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["line_item_usage_start_date", "line_item_product_code", "line_item_line_item_type",
             "line_item_usage_type", "line_item_unblended_cost", "line_item_currency_code"]
        )  # fmt: skip
        writer.writerows([f"{DAY}T04:00:00Z", "AmazonBedrock", *row] for row in rows)
    return str(path)


def sonnet(part: str, cost: str = "1.25", currency: str = "USD") -> tuple[str, str, str, str]:
    return ("Usage", f"USE1-Claude4Sonnet-{part}-tokens", cost, currency)


def test_a_cost_export_of_aws_is_compared_by_day_and_model(bench: Bench, tmp_path: Path) -> None:
    calls(bench.client, 2, provider_name="aws.bedrock", model_name=BEDROCK)
    calls(bench.client, 1)
    path = cur(tmp_path, sonnet("input"), sonnet("output"), sonnet("input", "0"))
    (line,) = bench.lines("aws", "--file", path, *PERIOD)

    assert (line["model"], line["recorded_calls"], line["reason"]) == (BEDROCK, 2, "")


def test_a_bill_in_euros_is_compared_at_the_rates_of_the_price_file(
    bench: Bench, tmp_path: Path
) -> None:
    calls(bench.client, 2, provider_name="aws.bedrock", model_name=BEDROCK)
    prices = tmp_path / "prices.yaml"
    prices.write_text("currencies:\n  EUR:\n    - {usd: 1.25}\n")
    path = cur(tmp_path, sonnet("input", "1", "EUR"), sonnet("output", "1", "EUR"))
    (line,) = bench.lines("aws", "--file", path, "--prices", str(prices), *PERIOD)
    notes = json.loads(bench.out)["notes"]

    assert (float(line["billed_cost_usd"]), line["reason"]) == (2.5, "")
    assert notes == ["2 lines in EUR, in USD at the rates of the price file"]
    assert bench.run("aws", "--file", path, *PERIOD) == 2
    assert "cur.csv:2: line_item_currency_code: the bill is in EUR" in bench.err


def test_a_line_or_a_file_that_stands_twice_is_counted_and_named(
    bench: Bench, tmp_path: Path
) -> None:
    calls(bench.client, 2, provider_name="aws.bedrock", model_name=BEDROCK)
    path = Path(cur(tmp_path, sonnet("input")))
    (tmp_path / "cur-again.csv").write_bytes(path.read_bytes())
    (line,) = bench.lines("aws", "--file", str(tmp_path / "cur*.csv"), *PERIOD)

    assert (float(line["billed_cost_usd"]), line["reason"]) == (2.5, "")
    assert json.loads(bench.out)["notes"] == [
        "1 line of the bill the same as one before, and counted again: was a file put there twice?"
    ]


def test_a_model_that_a_bill_calls_otherwise_is_mapped(bench: Bench, tmp_path: Path) -> None:
    calls(bench.client, model_name="deepseek-v4-pro", provider_name="azure.ai.inference")
    path = tmp_path / "bill.csv"
    path.write_text("day,model,cost_usd\n2026-03-31,V4 Pro,1.00\n2026-03-31,V4 Pro,0.25\n")

    # the day stands in two parts, which are one line
    (line,) = bench.lines("csv", "--file", str(path), "--model", "V4 Pro=deepseek-v4-pro", *PERIOD)
    assert (line["model"], line["reason"]) == ("deepseek-v4-pro", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("aws",), "aws: is read from its cost export: name it with --file"),
        (("openrouter", "--file", "x.csv"), "openrouter: is read by its API"),
        (
            ("openrouter", "--by", "project", "--recorded-as", "user"),
            "openrouter has api_key alone",
        ),
        (("aws", "--file", "/nowhere.csv"), "/nowhere.csv: cannot be read"),
    ],
)
def test_what_a_bill_does_not_have_is_refused_in_a_sentence(
    bench: Bench, arguments: tuple[str, ...], words: str
) -> None:
    assert bench.run(*arguments) == 2
    assert words in bench.err
