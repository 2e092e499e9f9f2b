"""The views of single calls' meters and doubts: a row each, net of what came later."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from ledger import NOON, book, call, price_change, reversal
from tallyspan_clickhouse.schema import FEEDS, SCHEMA
from tallyspan_clickhouse.schema_types import Net

LATER = NOON + timedelta(hours=1)


@pytest.fixture(autouse=True)
def empty(client: Client) -> None:
    for name in ("llm_calls", *FEEDS):
        client.command(f"TRUNCATE TABLE {name}")


def meters(client: Client, where: str = "true") -> dict[str, float]:
    rows = client.query(
        f"SELECT meter, sum(amount) FROM call_meters WHERE {where} GROUP BY meter"
    ).result_rows
    return {str(meter): float(amount) for meter, amount in rows}


def doubts(client: Client) -> list[tuple[Any, ...]]:
    query = "SELECT kind, doubt, cost_usd, other_cost_usd FROM call_doubts ORDER BY ALL"
    return [tuple(row) for row in client.query(query).result_rows]


def test_a_call_has_a_row_for_each_count_that_is_stated_and_each_rarer_meter(
    client: Client,
) -> None:
    book(
        client,
        [
            call(input_tokens=100, output_tokens=0, cache_write_tokens=40,
                 cache_write_1h_tokens=30, meters={"web_search": 2, "seconds": 1.5}),
            call(input_tokens=None, output_tokens=None, user_id="bob", meters={"images": 3}),
        ],
    )  # fmt: skip

    # An output of 0 is stated, the cache reads are not.
    assert meters(client, "user_id = 'ada'") == {
        "input_tokens": 100, "output_tokens": 0, "cache_write_tokens": 40,
        "cache_write_1h_tokens": 30, "web_search": 2, "seconds": 1.5,
    }  # fmt: skip
    assert meters(client, "user_id = 'bob'") == {"images": 3}


def test_meters_of_a_call_that_was_taken_back_and_booked_anew_are_those_of_now(
    client: Client,
) -> None:
    first = call(meters={"web_search": 3}, ingested_at=NOON)
    book(client, [first])
    book(client, [reversal(first) | {"meters": {"web_search": -3}, "ingested_at": LATER}])
    assert meters(client) == {}

    again = first | {"meters": {"web_search": 2}, "ingested_at": LATER + timedelta(seconds=1)}
    book(client, [again])
    # The entry of another price repeats what the call used, and adds nothing to it.
    book(client, [price_change(again, Decimal("0.5"), LATER + timedelta(minutes=1))])
    assert meters(client)["web_search"] == 2
    assert meters(client)["input_tokens"] == 100


def test_every_count_of_the_ledger_is_a_meter_by_its_name(client: Client) -> None:
    counts = [
        each.name
        for each in SCHEMA.columns
        if each.net is Net.SUM and each.name.endswith("_tokens")
    ]
    book(client, [call(**dict.fromkeys(counts, 7), meters={})])

    assert meters(client) == dict.fromkeys(counts, 7)
    assert len(counts) == 11


def test_each_doubt_of_a_call_is_a_row_with_both_of_its_costs(client: Client) -> None:
    book(
        client,
        [
            call(cost_usd=Decimal("1.00"), other_cost_usd=Decimal("1.10"),
                 price_flags=["deployment_unknown"]),
            call(cost_usd=Decimal("2.00"), unread=["usage.hologram_tokens", "usage.tier"],
                 quality_flags=["unread_usage"]),
            call(cost_usd=Decimal("4.00")),
        ],
    )  # fmt: skip

    assert doubts(client) == [
        ("price", "deployment_unknown", Decimal("1.00"), Decimal("1.10")),
        ("quality", "unread_usage", Decimal("2.00"), None),
        ("unread", "usage.hologram_tokens", Decimal("2.00"), None),
        ("unread", "usage.tier", Decimal("2.00"), None),
    ]


def test_a_call_of_the_same_moment_as_a_corrected_one_is_doubted_once(client: Client) -> None:
    at_once = [call(cost_usd=Decimal(cost), price_flags=["x_unknown"]) for cost in (1, 2, 4)]
    book(client, at_once)
    book(client, [price_change(at_once[0], Decimal(8), LATER), reversal(at_once[1])])

    assert doubts(client) == [
        ("price", "x_unknown", Decimal(4), None),
        ("price", "x_unknown", Decimal(8), None),
    ]


def test_a_doubt_that_comes_with_a_later_price_is_about_all_of_the_call(client: Client) -> None:
    sound = call(cost_usd=Decimal(1), input_tokens=70, output_tokens=7)
    book(client, [sound])
    change = price_change(sound, Decimal(3), LATER)
    book(client, [change | {"price_flags": ["x_unknown"], "other_cost_usd": Decimal(5)}])

    assert doubts(client) == [("price", "x_unknown", Decimal(3), Decimal(5))]
    assert client.query("SELECT total_tokens FROM call_doubts").result_rows == [(77,)]


def test_a_doubt_that_a_new_price_decides_is_gone(client: Client) -> None:
    doubtful = call(cost_usd=Decimal(1), other_cost_usd=Decimal("1.1"), price_flags=["x_unknown"])
    book(client, [doubtful])
    decided: dict[str, Any] = {"price_flags": [], "other_cost_usd": None}
    book(client, [price_change(doubtful, Decimal("1.1"), LATER) | decided])

    assert doubts(client) == []
