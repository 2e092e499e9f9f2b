"""`tallyspan reconcile` on the bills of OpenRouter and the clouds, and on what bills may hold."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from billing_server import BillingServer, Used, billing_server
from reconcile_bench import DAY, MODEL, PERIOD, Bench, bench_of, calls
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
    (line,) = bench.lines("csv", "--file", str(path), "--model", "v4-pro=deepseek-v4-pro", *PERIOD)
    assert (line["model"], line["reason"]) == ("deepseek-v4-pro", "")


def test_credits_taxes_and_purchases_are_lines_of_the_bill_and_no_drift(
    bench: Bench, tmp_path: Path
) -> None:
    calls(bench.client, 2, provider_name="aws.bedrock", model_name=BEDROCK)
    usage = "USE1-Claude4Sonnet-input-tokens"
    path = cur(
        tmp_path, sonnet("input", "2.5"), ("Credit", usage, "-2", "USD"),
        ("Tax", usage, "0.5", "USD"), ("Fee", "capacity", "90", "USD"),
    )  # fmt: skip
    lines = bench.lines("aws", "--file", path, *PERIOD)
    whole = json.loads(bench.out)

    assert [(line["model"], line["billed_cost_usd"], line["reason"]) for line in lines] == [
        (f"Credit: {usage}", "-2", "credit"),
        ("Fee: capacity", "90", "purchase"),
        (f"Tax: {usage}", "0.5", "tax"),
        (BEDROCK, "2.5", ""),
    ]
    assert {line["cost_drift_percent"] for line in lines[:3]} == {None}
    assert (whole["is_within"], whole["totals"]["billed_cost_usd"]) == (True, "2.5")
    assert whole["notes"] == [
        "$88.5 of the bill is of no use: credits, taxes, purchases; not in the total"
    ]


def test_an_amount_below_0_without_a_model_is_a_credit_and_with_one_is_of_the_model(
    bench: Bench, tmp_path: Path
) -> None:
    calls(bench.client, 2)
    path = tmp_path / "bill.csv"
    path.write_text(
        "day,model,item,cost_usd\n2026-03-31,gpt-4.1,,3\n2026-03-31,gpt-4.1,,-0.5\n"
        "2026-03-31,,goodwill,-7\n2026-03-30,gpt-5,,-4\n"
    )
    lines = bench.lines("csv", "--file", str(path), *PERIOD)

    assert [(line["model"], line["billed_cost_usd"], line["reason"]) for line in lines] == [
        ("gpt-5", "-4", "missing_calls"),
        ("goodwill", "-7", "credit"),
        ("gpt-4.1", "2.5", ""),
    ]


def test_missing_calls_name_the_project_and_key_that_most_of_the_bill_is_of(bench: Bench) -> None:
    calls(bench.client, 1)
    used = [
        Used(DAY, MODEL, 1, 100, 10, usd="1.25", project="proj_1", api_key="key_1"),
        Used(DAY, MODEL, 3, 300, 30, usd="3.75", project="proj_2", api_key="key_9"),
    ]
    (line,) = bench.against(used)

    assert (line["billed_requests"], line["reason"]) == (4, "missing_calls")
    assert line["detail"] == (
        "3 of 4 requests were not recorded; 75 % of the bill's is of project proj_2, key key_9"
    )


def test_a_key_that_nobody_knows_is_named(bench: Bench) -> None:
    calls(bench.client, 1, source="eu")
    used = [
        Used(DAY, MODEL, 1, 100, 10, usd="1.25", api_key="key_1"),
        Used(DAY, MODEL, 1, 100, 10, usd="1.25", api_key="key_9"),
    ]
    lines = bench.against(used, "--by", "api_key", "--recorded-as", "source", "--name", "key_1=eu")

    assert [(line["project"], line["reason"], line["detail"]) for line in lines] == [
        ("eu", "", ""),
        ("key_9", "unknown_owner", "the ledger has no call of key_9"),
    ]
    assert lines[1]["to_do"].startswith("say what the ledger calls it: --name ID=NAME")


def test_a_bill_of_the_collector_s_file_is_compared_by_its_name(
    bench: Bench, tmp_path: Path
) -> None:
    calls(bench.client, 2, provider_name="aws.bedrock", model_name=BEDROCK)
    path = cur(tmp_path, sonnet("input", "2.55"))
    file = tmp_path / "tallyspan.yaml"
    file.write_text(f"reconcile:\n  - {{provider: aws, name: eu, file: {path}, threshold: 3}}\n")
    of_file = ("--config", str(file), *PERIOD)

    assert bench.run("eu", *of_file) == 0
    assert bench.run("eu", *of_file, "--threshold", "1") == 1
    assert bench.client.query("SELECT DISTINCT provider FROM reconciliations").result_rows == [
        ("eu",)
    ]
    assert bench.run("eu", *of_file, "--endpoint", "x") == 2
    assert "the bill 'eu' has its settings in the file" in bench.err
    assert bench.run("us", *of_file) == 2
    assert "'us' is no provider (openai, anthropic, " in bench.err


def test_a_bill_of_the_file_can_be_looked_at_in_another_way_without_keeping_it(
    bench: Bench, tmp_path: Path
) -> None:
    calls(bench.client, 1)
    file = tmp_path / "tallyspan.yaml"
    file.write_text("reconcile:\n  - provider: openai\n")
    flags = ("--config", str(file), "--endpoint", "api.openai.*")
    used = [Used(DAY, MODEL, 1, 100, 10, usd="1.25")]
    with billing_server(BillingServer(used)) as server:
        asked = ("openai", *flags, "--url", server.url, *PERIOD)

        assert bench.run(*asked) == 2
        assert "has its settings in the file: change them there" in bench.err
        assert bench.run(*asked, "--no-store") == 0


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
