"""What a maintainer of prices looks at every week: the draft, and models that end."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

import price_map
from ledger import book as insert
from ledger import call, unpriced
from price_map import entry
from shared_store import SharedStore
from tallyspan_collector.cli import main
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.pricing import rates, retirements
from tallyspan_collector.pricing.second import differences, extract
from tallyspan_collector.pricing.second.source import Retirement

NOW = datetime.now(UTC).replace(microsecond=0)
TODAY = NOW.date()


def ending(model: str, days: int, provider: str = "openai", successor: str = "") -> Retirement:
    return Retirement(provider, model, TODAY + timedelta(days=days), successor, "https://x")


def test_our_own_list_goes_before_the_others_and_the_earliest_of_those() -> None:
    own = [ending("gpt-1", 9)]
    endings = retirements.by_model(
        own, [ending("GPT-1", 3), ending("gpt-2", 5), ending("gpt-2", 4)]
    )

    assert {name: (each.day - TODAY).days for (_, name), each in endings.items()} == {
        "gpt-1": 9,
        "gpt-2": 4,
    }


def test_a_snapshot_ends_with_its_own_day_or_with_its_models() -> None:
    endings = retirements.by_model(
        [], [ending("gpt-1", 9), ending("gpt-1-2026-01-31", 3), ending("gpt-2", 5)]
    )

    def days(provider: str, model: str) -> int | None:
        match = retirements.of_model(provider, model, endings)
        return None if match is None else (match.day - TODAY).days

    assert days("openai", "gpt-1") == 9
    assert days("openai", "gpt-1-2026-01-31") == 3
    assert days("openai", "gpt-2-2026-01-31") == 5
    assert days("vercel.ai_gateway", "openai/gpt-2") == 5  # the gateway sells the maker's
    assert days("openai", "gpt-3") is None
    assert days("groq", "gpt-1") is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{provider: openai, model: m, ends: soon, source: s, checked: 2026-11-27}", "ends: must"),
        ("{provider: openai, model: m, source: s, checked: 2026-11-27}", "'ends' is missing"),
        ("{provider: openai, model: m, end: 2026-01-31}", "unknown key 'end'"),
    ],
)
def test_a_list_with_a_fault_is_refused_by_line_and_key(
    tmp_path: Path, line: str, message: str
) -> None:
    path = tmp_path / "retirements.yaml"
    path.write_text(f"retirements:\n  - {line}\n")

    with pytest.raises(ConfigError, match=rf"retirements.yaml:2: .*{message}"):
        retirements.load(path)


def test_our_own_list_is_in_order() -> None:
    assert all(each.source.startswith("https://") for each in retirements.load())


def retiring(
    store: SharedStore, path: Path, capsys: pytest.CaptureFixture[str], *more: str
) -> list[dict[str, Any]]:
    arguments = ["--against", str(path), "--data-dir", str(store.data_dir), "--format", "json"]
    assert main(["prices", "retiring", *arguments, *more]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return rows


def test_used_models_that_end_are_listed_with_spend_payers_and_what_follows(
    client: Client, store: SharedStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def used(model: str, usd: str, **more: Any) -> dict[str, Any]:
        spend = Decimal(usd)
        return call(start_time=NOW, request_model=model, model_name=model, cost_usd=spend, **more)

    insert(
        client,
        [
            used("gpt-4.1", "2.50"),
            used("gpt-4.1", "0.25", department="", user_id="bob"),
            used("gpt-4o", "1"),
            used("gpt-5-mini", "3"),
            used("gpt-4.1-mini", "9"),
        ],
    )
    soon, later = TODAY + timedelta(days=30), TODAY + timedelta(days=200)
    path = price_map.write(
        tmp_path,
        {
            "gpt-4.1": entry(deprecation_date=str(soon), successor_model="gpt-5-mini"),
            "gpt-4o": entry(deprecation_date=str(TODAY - timedelta(days=2))),
            "gpt-5-mini": entry(deprecation_date=str(later)),
        },
    )

    ended, ending_ = retiring(store, path, capsys, "--within", "90d")
    # the prices of the package: gpt-4.1 2 and 8, gpt-5-mini 0.25 and 2 for a million tokens
    assert ending_ == {
        "ends": str(soon),
        "days": "30",
        "provider": "openai",
        "model": "gpt-4.1",
        "calls": "2",
        "spend USD": "2.75",
        "by": "research, bob",
        "now": "2 / 8",
        "successor": "gpt-5-mini",
        "then": "0.25 / 2",
        "source": "-",
    }
    assert (ended["model"], ended["days"], ended["successor"]) == ("gpt-4o", "-2", "-")
    assert [row["model"] for row in retiring(store, path, capsys, "--within", "300d")] == [
        "gpt-4o", "gpt-4.1", "gpt-5-mini",
    ]  # fmt: skip


def test_models_that_end_can_be_listed_without_calls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = price_map.write(tmp_path, {"gpt-4.1": entry(deprecation_date=str(TODAY + timedelta(9)))})
    arguments = ["--against", str(path), "--data-dir", str(tmp_path), "--unused"]

    assert main(["prices", "retiring", *arguments]) == 0
    assert "1 model that ends by" in capsys.readouterr().out


def test_the_draft_is_a_price_file_of_what_differs_and_what_is_lacking(
    client: Client, store: SharedStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    insert(client, [unpriced(start_time=NOW, model_name="house-llm", request_model="house-llm")])
    path = price_map.write(
        tmp_path,
        {
            "gpt-4.1": entry(usd="0.000001"),
            "gpt-99": entry(usd="0.000003", input_cost_per_token_above_200k_tokens=6e-06),
            "gpt-4o": entry(usd="0.0000025"),
        },
    )
    code = main(["prices", "draft", "--against", str(path), "--data-dir", str(store.data_dir)])
    draft = tmp_path / "draft.yaml"
    draft.write_text(capsys.readouterr().out)
    prices = {rate.match.model: rate for rate in rates.load(draft).rates}

    assert code == 0
    assert prices.keys() == {"gpt-4.1", "gpt-99"}
    assert {part.meter.name: part.bands for part in prices["gpt-99"].parts} == {
        "input_tokens": ((-1, Fraction(3, 10**6)), (200_000, Fraction(6, 10**6))),
        "output_tokens": ((-1, Fraction(12, 10**6)),),
    }
    text = draft.read_text()
    assert "# input at 10,000 input tokens: ours 2 (openai/gpt-4.1), theirs 1; open:" in text
    assert '#   - model: "house-llm"' in text


def test_the_shipped_comparison_is_stored_once(client: Client) -> None:
    differences.record(client)
    differences.record(client)
    source, day = extract.read(date(2026, 11, 27))
    plain = {(p.place.provider, p.place.model, p.place.tier) for p in source.prices
             if not p.place.conditions}  # fmt: skip

    (counted,) = client.query(
        "SELECT source, compared_on, count(), countIf(state = 'unexplained') FROM second_prices"
        " GROUP BY source, compared_on"
    ).result_rows
    assert counted == (source.name, day, len(plain), 0)
    # input of gpt-4.1: 2 for a million; searches by its tool cost 10 a thousand, 25 at theirs
    assert client.query(
        "SELECT input_usd, output_usd, state, difference_percent FROM second_prices"
        " WHERE provider_name = 'openai' AND model_name = 'gpt-4.1' AND service_tier = ''"
    ).result_rows == [(Decimal(2), Decimal(8), "explained", -60.0)]
