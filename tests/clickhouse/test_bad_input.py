"""Whatever a span says ends up as data: whole, found again, and added up."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from clickhouse_connect.driver.client import Client

from ledger import NOON, book, call, empty

NASTY = [
    "' OR 1=1 --",
    '"double"',
    "`tick`",
    "back\\slash\\",
    "zero\0byte",
    "tab\tline\r\n",
    "\\N",
    "é中🎉",
    "{x:String}",
    "%s %(a)s",
    "x" * 10_240,
    " padded ",
]


@pytest.fixture
def client(client: Client) -> Client:
    empty(client)
    return client


@pytest.mark.parametrize("column", ["user_id", "conversation_id", "department", "model_name"])
def test_any_text_is_kept_as_it_is_and_found_again(client: Client, column: str) -> None:
    book(client, [call(**{column: text}) for text in (*NASTY, "other")])

    for text in NASTY:
        found = client.query(
            f"SELECT {column}, count() FROM calls WHERE {column} = {{text:String}} GROUP BY {column}",
            parameters={"text": text},
        )
        assert found.result_rows == [(text, 1)]
        if column != "conversation_id":
            rolled = f"SELECT sum(calls) FROM usage_daily WHERE {column} = {{text:String}}"
            assert client.query(rolled, parameters={"text": text}).result_rows == [(1,)], text


@pytest.mark.parametrize(
    "at",
    [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
        datetime(2106, 2, 8, tzinfo=UTC),
        datetime(2250, 1, 1, tzinfo=UTC),
    ],
)
def test_a_time_far_away_is_kept_and_the_totals_hold(client: Client, at: datetime) -> None:
    book(client, [call(start_time=at), call(start_time=NOON)])

    assert client.query("SELECT count() FROM calls").result_rows == [(2,)]
    stored = client.query(
        "SELECT start_time FROM calls ORDER BY start_time = {noon:DateTime}, 1",
        parameters={"noon": NOON},
    ).result_rows
    assert stored[0][0].replace(tzinfo=UTC) == at
    for view in ("usage_daily", "usage_hourly"):
        assert client.query(f"SELECT sum(calls) FROM {view}").result_rows == [(2,)]


@pytest.mark.parametrize("tokens", [2**32, 2**53 + 1, 2**61])
def test_a_count_beyond_32_bits_is_exact_everywhere(client: Client, tokens: int) -> None:
    book(client, [call(input_tokens=tokens, output_tokens=1)])

    for view in ("calls", "usage_daily", "usage_hourly", "conversations"):
        answer = client.query(f"SELECT sum(v.input_tokens), sum(v.total_tokens) FROM {view} AS v")
        assert answer.result_rows == [(tokens, tokens + 1)]


def test_the_largest_cost_of_a_call_adds_up_without_a_rounding(client: Client) -> None:
    most = Decimal("999999.999999999999")
    book(client, [call(cost_usd=most) for _ in range(50)])

    for view in ("calls", "usage_daily", "usage_hourly", "conversations"):
        assert client.query(f"SELECT sum(v.cost_usd) FROM {view} AS v").result_rows == [
            (most * 50,)
        ]


def test_a_price_change_of_one_call_leaves_the_others_as_they_are(client: Client) -> None:
    same = call(user_id="ada")
    book(
        client,
        [
            same,
            call(user_id="bob"),
            same
            | {
                "entry_kind": "price_change",
                "sign": 0,
                "input_tokens": None,
                "output_tokens": None,
            },
        ],
    )

    rows = client.query("SELECT user_id, total_tokens, cost_usd FROM calls ORDER BY user_id")
    assert rows.result_rows == [
        ("ada", 110, Decimal("0.000246")),
        ("bob", 110, Decimal("0.000123")),
    ]
