"""What emitters claim calls cost, against what we work out."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from ledger import book, call, price_change, reversal, unpriced
from shared_store import SharedStore
from tallyspan_clickhouse.engine import connect
from tallyspan_collector.cli import main
from tallyspan_collector.commands.claimed import compare
from tallyspan_collector.summary import RequestError

NOW = datetime.now(UTC).replace(microsecond=0)
SINCE = NOW - timedelta(days=2)


def claim(scope: str, claimed: str, ours: str, **columns: Any) -> dict[str, Any]:
    return call(
        start_time=NOW, scope_name=scope, claimed_cost_usd=Decimal(claimed),
        cost_usd=Decimal(ours), **columns,
    )  # fmt: skip


@pytest.fixture(scope="module")
def reader(store: SharedStore, client: Client) -> Iterator[Client]:
    booked, repriced = claim("litellm", "3", "2"), claim("litellm", "2", "1")
    twice = claim("litellm", "9", "1")
    book(
        client,
        [
            booked,
            repriced,
            price_change(repriced, Decimal(2), NOW + timedelta(minutes=1)),
            twice,
            reversal(twice),
            call(start_time=NOW, scope_name="tallyspan"),
            claim("litellm", "0.5000001", "0.5", model_name="small"),
            unpriced(start_time=NOW, scope_name="openlit", claimed_cost_usd=Decimal("0.25")),
            claim("litellm", "7", "1") | {"start_time": NOW - timedelta(days=40)},
        ],
    )
    with connect(store.url_for("tallyspan_reader")) as reader:
        yield reader


def test_both_costs_stand_beside_each_other_net_of_reversals_and_new_prices(
    reader: Client,
) -> None:
    rows = {
        (row["emitter"], row["model"]): row for row in compare(reader, ["emitter", "model"], SINCE)
    }
    large = rows["litellm", "gpt-4.1"]

    assert (large["calls"], large["differing_calls"]) == (2, 1)
    assert (large["claimed_cost_usd"], large["cost_usd"]) == (5, 4)
    assert (large["difference_usd"], large["drift_percent"]) == (1, 25)
    assert large["largest_difference_usd"] == 1
    assert rows["litellm", "small"]["differing_calls"] == 0
    assert set(rows) == {("litellm", "gpt-4.1"), ("litellm", "small"), ("openlit", "gpt-4.1")}


def test_a_call_we_have_no_price_for_is_counted_and_in_no_amount(
    reader: Client,
) -> None:
    (row,) = [row for row in compare(reader, ["emitter"], SINCE) if row["emitter"] == "openlit"]

    assert (row["calls"], row["unpriced_calls"], row["claimed_cost_usd"]) == (1, 1, 0)
    assert (row["cost_usd"], row["drift_percent"]) == (0, None)


def test_the_report_shows_them_as_table_json_and_csv(
    store: SharedStore, reader: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = {}
    for fmt in ("table", "json", "csv"):
        asked = [
            "report",
            "--claimed",
            "--since",
            "2d",
            "--data-dir",
            str(store.data_dir),
            "--format",
            fmt,
        ]
        assert main(asked) == 0
        shown[fmt] = capsys.readouterr().out
    first = json.loads(shown["json"])["rows"][0]

    assert (first["emitter"], first["difference_usd"]) == ("litellm", "1")
    assert "litellm" in shown["table"]
    assert shown["csv"].splitlines()[0].startswith("emitter,model,calls,unpriced_calls")


def test_groups_it_does_not_have_are_named(reader: Client) -> None:
    with pytest.raises(RequestError, match="user: claimed costs are grouped by emitter"):
        compare(reader, ["user"], SINCE)
