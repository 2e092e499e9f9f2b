import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from ledger import book, call, unpriced
from shared_store import SharedStore
from tallyspan_clickhouse.engine import connect

README = Path(__file__).parents[2] / "clickhouse" / "README.md"
RECIPES = re.findall(
    r"^### (.+?)\n+```sql\n(.+?)\n```", README.read_text(), re.MULTILINE | re.DOTALL
)


@pytest.fixture(scope="module")
def reader(store: SharedStore, client: Client) -> Iterator[Client]:
    now = datetime.now(UTC) - timedelta(minutes=5)
    book(
        client,
        [
            call(start_time=now, trace_id=f"{1:032x}", cost_usd=Decimal(9), tags={"team": "a"}),
            call(start_time=now, cache_read_tokens=50, tags={}),
            call(start_time=now, model_name="small", claimed_cost_usd=Decimal(1), tags={}),
            call(start_time=now, is_notional=True, tags={}),
            call(
                start_time=now,
                meters={"web_search": 3},
                price_flags=["deployment_unknown"],
                other_cost_usd=Decimal("0.0002"),
            ),
            unpriced(start_time=now, model_name="homemade", tags={}),
            *(call(start_time=now - timedelta(days=day), tags={}) for day in range(1, 7)),
        ],
    )
    with connect(store.url_for("tallyspan_reader")) as reader:
        yield reader


def test_there_are_twenty_seven_recipes() -> None:
    assert len(RECIPES) == 27


@pytest.mark.parametrize(("title", "query"), RECIPES, ids=[title for title, _ in RECIPES])
def test_a_recipe_of_the_cookbook_runs_for_the_reader_and_finds_something(
    reader: Client, title: str, query: str
) -> None:
    answer = reader.query(query)

    assert answer.result_rows
    assert any(value not in (None, 0, "") for value in answer.result_rows[0])
