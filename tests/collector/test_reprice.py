"""Prices that change after the calls were booked."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from ledger import NOON, Entry, book, call, reversal, unpriced
from shared_store import SharedStore
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.ledger_lock import ledger_lock
from tallyspan_collector.booked import missing
from tallyspan_collector.booked.backfill import backfill
from tallyspan_collector.booked.reprice import Reprice, Result, Scope
from tallyspan_collector.booked.run import run
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.check import findings

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
SCOPE = Scope(NOON - timedelta(days=40), NOON + timedelta(days=40))
PRICES = """\
prices:
  - {model: gpt-4.1, unit: 1M tokens, input: 3, output: 10, to: 2026-04-01}
  - {model: gpt-4.1, unit: 1M tokens, input: 6, output: 20, from: 2026-04-01}
  - {model: homemade, unit: 1M tokens, input: 1, output: 1}
"""


@pytest.fixture
def client(empty_store: SharedStore, client: Client) -> Client:
    return client


@pytest.fixture
def prices(tmp_path: Path) -> PriceBook:
    path = tmp_path / "models_pricing.yaml"
    path.write_text(PRICES)
    return PriceBook.load(path)


def ledger(client: Client) -> dict[str, Entry]:
    """A call of March and one of April, one without a price, one reversed, one reported."""
    calls = {
        "march": call(),
        "april": call(start_time=APRIL, user_id="bob"),
        "homemade": unpriced(model_name="homemade", start_time=APRIL),
        "unknown": unpriced(model_name="nobody's"),
        "reversed": call(),
        "reported": call(cost_status="reported", reported_cost_usd=Decimal("0.000123")),
    }
    book(client, [*calls.values(), reversal(calls["reversed"])])
    return calls


def costs(client: Client) -> dict[str, Decimal | None]:
    rows = client.query("SELECT trace_id, cost_usd FROM calls").result_rows
    return {str(trace_id): cost for trace_id, cost in rows}


def apply(client: Client, prices: PriceBook, scope: Scope = SCOPE) -> Result:
    return run(
        client, Reprice(prices, scope), is_applied=True, changed_by="ada", reason="new contract"
    )


def test_a_preview_says_what_would_change_and_changes_nothing(
    client: Client, prices: PriceBook
) -> None:
    ledger(client)
    before = costs(client)
    result = run(client, Reprice(prices, SCOPE), is_applied=False)

    assert costs(client) == before
    assert {
        key: (t.calls, t.newly_priced_calls) for key, t in result.by_month_and_model.items()
    } == {
        ("2026-03", "gpt-4.1"): (1, 0),
        ("2026-04", "gpt-4.1"): (1, 0),
        ("2026-04", "homemade"): (1, 1),
    }
    assert result.total.old_cost_usd == Decimal("0.000246")
    assert result.total.new_cost_usd == Decimal("0.0004") + Decimal("0.0008") + Decimal("0.00011")
    assert result.without_price_calls == 1


def test_applied_each_call_costs_what_its_own_day_s_price_says(
    client: Client, prices: PriceBook
) -> None:
    calls = ledger(client)
    apply(client, prices)
    now = costs(client)

    assert {name: now.get(entry["trace_id"], "gone") for name, entry in calls.items()} == {
        "march": Decimal("0.0004"),
        "april": Decimal("0.0008"),
        "homemade": Decimal("0.00011"),
        "unknown": None,
        "reversed": "gone",
        "reported": Decimal("0.000123"),
    }


def test_a_call_whose_total_nothing_explains_gets_no_price(
    client: Client, prices: PriceBook
) -> None:
    book(client, [unpriced(unpriced_reason="total_mismatch", quality_flags=["total_mismatch"])])
    result = apply(client, prices)

    assert [*costs(client).values()] == [None]
    assert result.without_price_calls == 1


def test_rollups_follow_and_the_call_counts_stay(client: Client, prices: PriceBook) -> None:
    ledger(client)
    before = client.query("SELECT sum(calls), sum(input_tokens) FROM usage_daily").first_row
    apply(client, prices)

    assert client.query("SELECT sum(calls), sum(input_tokens) FROM usage_daily").first_row == before
    in_rollup = client.query("SELECT sum(cost_usd) FROM usage_daily").result_rows
    assert in_rollup[0][0] == sum(cost or 0 for cost in costs(client).values())
    waiting = client.query("SELECT sum(unpriced_calls), sum(unpriced_tokens) FROM usage_daily")
    assert waiting.first_row == (1, 110)


def test_as_booked_stays_to_be_seen(client: Client, prices: PriceBook) -> None:
    ledger(client)
    query = "SELECT sum(cost_usd) FROM llm_calls WHERE entry_kind != 'price_change'"
    booked = client.query(query).first_row
    apply(client, prices)

    assert client.query(query).first_row == booked


def test_a_second_run_finds_nothing_left_to_change(client: Client, prices: PriceBook) -> None:
    ledger(client)
    apply(client, prices)
    after = costs(client)
    again = apply(client, prices)

    assert again.total.calls == 0
    assert costs(client) == after
    assert client.query("SELECT arraySort(groupArray(state)) FROM price_changes").first_row == (
        ["begun", "finished"],
    )


def test_a_run_that_was_broken_off_is_completed_by_the_next(
    client: Client, prices: PriceBook
) -> None:
    calls = ledger(client)
    apply(client, prices, replace(SCOPE, end=APRIL))  # as far as it came
    apply(client, prices)

    assert costs(client)[calls["march"]["trace_id"]] == Decimal("0.0004")
    assert costs(client)[calls["april"]["trace_id"]] == Decimal("0.0008")


def test_prices_can_go_to_and_fro(client: Client, prices: PriceBook, tmp_path: Path) -> None:
    calls = ledger(client)
    path = tmp_path / "other.yaml"
    path.write_text(PRICES.replace("input: 3", "input: 30"))
    other = PriceBook.load(path)
    for each, cost in (
        (other, "0.0031"),
        (prices, "0.0004"),
        (other, "0.0031"),
        (prices, "0.0004"),
    ):
        apply(client, each)
        assert costs(client)[calls["march"]["trace_id"]] == Decimal(cost)


@pytest.mark.parametrize(
    ("narrow", "changed"),
    [
        ({"model": "home*"}, 1),
        ({"provider": "anthropic"}, 0),
        ({"department": "research"}, 3),
        ({"endpoint": "my-gateway"}, 0),
        ({"start": APRIL}, 2),
        ({"only_unpriced": True}, 1),
    ],
)
def test_only_what_was_asked_for_changes(
    client: Client, prices: PriceBook, narrow: dict[str, object], changed: int
) -> None:
    ledger(client)

    assert apply(client, prices, replace(SCOPE, **narrow)).total.calls == changed  # type: ignore[arg-type]


def test_who_changed_what_and_why_is_kept(client: Client, prices: PriceBook) -> None:
    ledger(client)
    apply(client, prices, replace(SCOPE, model="gpt-4.1"))
    (row,) = client.query("SELECT * FROM price_changes WHERE state = 'finished'").named_results()

    assert row["changed_by"] == "ada"
    assert row["reason"] == "new contract"
    assert row["scope"] == '{"model": "gpt-4.1"}'
    assert row["calls"] == 2
    assert row["old_price_ids"] == ["p1"]
    assert [name.split("#")[0] for name in row["new_price_ids"]] == [
        "models_pricing.yaml:gpt-4.1"
    ] * 2
    assert row["new_cost_usd"] - row["old_cost_usd"] == Decimal("0.000954")


def test_missing_prices_are_drafted_most_tokens_first(client: Client) -> None:
    book(
        client,
        [
            unpriced(model_name="small"),
            unpriced(model_name="big", input_tokens=9000),
            unpriced(model_name="broken", unpriced_reason="inconsistent_usage"),
        ],
    )
    draft = missing.draft(missing.find(client, NOON - timedelta(days=1)))

    assert draft.index('model: "big"') < draft.index('model: "small"')
    assert "# 1 calls, 9,010 tokens wait (unknown_model)" in draft
    assert "broken" not in draft


def test_a_draft_that_is_filled_in_is_a_price_file_that_prices_all_calls_that_wait(
    tmp_path: Path, client: Client
) -> None:
    tiers = ("default", "flex")
    book(
        client,
        [unpriced(model_name="crow", service_tier=tier, start_time=NOON - timedelta(days=days))
         for tier, days in zip(tiers, (60, 0), strict=True)]
        + [unpriced(model_name="crow", unpriced_reason="unpriced_unit"),
           unpriced(model_name="owl", service_tier="flex", unpriced_reason="unknown_tier")],
    )  # fmt: skip
    draft = missing.draft(missing.find(client, NOON - timedelta(days=90)))
    path = tmp_path / "models_pricing.yaml"
    path.write_text(draft.replace("# USD", "1"))

    assert draft.count('model: "crow"') == 1
    assert f"from: {NOON - timedelta(days=60):%Y-%m-%d}" in draft
    assert "3 calls" in draft
    assert "(unknown_model, unpriced_unit)" in draft
    assert findings(PriceBook.load(path).file) == []
    assert backfill(client, PriceBook.load(path)) == 4


def test_a_call_with_a_condition_that_nobody_knew_gets_its_price_when_that_arrives(
    tmp_path: Path, client: Client
) -> None:
    regions = ({"geo": "moon", "region": "eu"}, {"geo": "moon"}, {"geo": "moon", "region": "us"})
    book(
        client,
        [
            unpriced(model_name="crow", conditions=conditions, unpriced_reason="unknown_condition")
            for conditions in regions
        ],
    )
    draft = missing.draft(missing.find(client, NOON - timedelta(days=1)))
    path = tmp_path / "models_pricing.yaml"
    path.write_text(
        "prices:\n  - {model: crow, geo: moon, region: eu, unit: 1M tokens, input: 1000, output: 0}\n"
    )

    assert draft.count("geo: ") == 3  # an entry for each: the region may be why, too
    assert backfill(client, PriceBook.load(path)) == 1
    assert sorted(costs(client).values(), key=str) == [Decimal("0.1"), None, None]


def test_two_processes_that_reprice_at_once_book_each_call_once(
    tmp_path: Path, store: SharedStore, client: Client
) -> None:
    """In another time zone than UTC, and with other batches each: neither may matter."""
    path = tmp_path / "models_pricing.yaml"
    path.write_text(PRICES)
    models = ("gpt-4.1", "homemade")
    days = [NOON + timedelta(days=n) for n in range(6)]
    book(
        client,
        [call(model_name=m, start_time=day) for m in models for day in days for _ in range(150)],
    )
    command = [
        sys.executable, "-m", "tallyspan", "reprice", "--data-dir", str(store.data_dir),
        "--prices", str(path), "--from", "2026-03-01", "--to", "2026-04-30", "--apply",
        "--reason", "both",
    ]  # fmt: skip
    environment = os.environ | {"TZ": "America/New_York"}
    subprocess.run(command[:-3], env=environment, check=True)  # a preview
    both = [
        subprocess.Popen([*command, *flags], env=environment, stdout=subprocess.PIPE)
        for flags in ([], ["--model", "gpt*"])
    ]
    done = [(process.communicate(timeout=120), process.returncode) for process in both]

    assert [code for _, code in done] == [0, 0]
    calls = len(models) * len(days) * 150
    assert client.query(
        "SELECT count(), countIf(entry_kind = 'price_change') FROM llm_calls"
    ).first_row == (2 * calls, calls)
    assert set(costs(client).values()) == {Decimal(usd) for usd in ("0.0004", "0.0008", "0.00011")}


def test_who_has_to_wait_too_long_is_told_for_whom(client: Client, prices: PriceBook) -> None:
    ledger(client)
    with (
        ledger_lock(client, "a long run"),
        pytest.raises(StoreError, match=r"\(a long run by process \d+ on .* DROP TABLE tallyspan"),
    ):
        run(client, Reprice(prices, SCOPE), is_applied=True, patience_seconds=0.1)

    assert apply(client, prices).total.calls == 3


def test_a_holder_that_died_is_followed_and_one_that_comes_back_stops(client: Client) -> None:
    with (
        ledger_lock(client, "asleep") as lost,
        ledger_lock(client, "the next", patience_seconds=5, stale_seconds=0),
    ):
        lost._kept -= 60

        with pytest.raises(StoreError, match="was lost while it was held"):
            lost.keep()
