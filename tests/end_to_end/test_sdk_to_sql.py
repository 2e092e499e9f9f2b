"""From the SDK's call to the row an analyst reads: every part real, nothing in between replaced."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import httpx
import pytest

from running import ADMIN_KEY, Running, running_collector
from shared_store import SharedStore
from tallyspan_collector.demo import oracle
from tallyspan_collector.demo.recordings import load
from tallyspan_collector.demo.run import USERS, replay

RECORDINGS = load()
BEFORE = datetime.now(UTC)


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory, store: SharedStore) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TALLYSPAN_ADMIN_KEY", ADMIN_KEY)
        with running_collector(tmp_path_factory.mktemp("data"), store=store.url) as collector:
            replay(RECORDINGS, collector.ready.otlp_grpc)
            yield collector


def test_every_recorded_call_is_there_once_with_the_tokens_it_states(replayed: Running) -> None:
    rows = replayed.rows("SELECT t.*, usage_source FROM token_usage AS t JOIN calls USING log_id")

    assert len(rows) == len({row["log_id"] for row in rows}) == len(RECORDINGS)
    for ours, key in (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")):
        stated = sorted(each.expected[key] for each in RECORDINGS if key in each.expected)
        assert (
            sorted(
                row[ours]
                for row in rows
                if row["usage_source"] == "provider" and row[ours] is not None
            )
            == stated
        )


def test_each_call_costs_what_the_oracle_says(replayed: Running) -> None:
    rows = replayed.rows(
        "SELECT response_id, sum(cost_usd) AS cost FROM calls WHERE response_id != ''"
        " AND usage_source != 'estimated' GROUP BY 1"
    )
    booked = {row["response_id"]: row["cost"] or Decimal(0) for row in rows}
    expected: defaultdict[str, Decimal] = defaultdict(Decimal)
    for recording in RECORDINGS:
        if (
            recording.expected.get("response_id")
            and recording.response_body
            and not (recording.is_stream and not recording.expected["usage_reported"])
        ):
            expected[recording.expected["response_id"]] += oracle.cost(recording, BEFORE)

    assert booked == expected


def test_users_and_departments_get_their_own_calls(replayed: Running) -> None:
    rows = replayed.rows(
        "SELECT user_id, department, count() AS n FROM token_usage GROUP BY 1, 2 ORDER BY 1"
    )
    expected = {
        (user, department, len(RECORDINGS[number :: len(USERS)]))
        for number, (user, department) in enumerate(USERS)
    }

    assert {(row["user_id"], row["department"], row["n"]) for row in rows} == expected


def test_what_has_no_price_is_unpriced_and_what_was_refused_is_not_billed(
    replayed: Running,
) -> None:
    rows = replayed.rows("SELECT cost_status, unpriced_reason, status, cost_usd FROM calls")
    unpriced = [row for row in rows if row["cost_status"] == "unpriced"]

    assert unpriced
    assert all(row["cost_usd"] is None and row["unpriced_reason"] for row in unpriced)
    assert all(row["status"] == "error" for row in rows if row["cost_status"] == "not_billed")


def test_the_api_adds_up_to_the_same_totals_for_admins_only(replayed: Running) -> None:
    # first: it waits until all calls are booked
    total = replayed.rows("SELECT sum(estimated_cost_usd) AS cost FROM token_usage")[0]["cost"]
    url = f"{replayed.ready.admin}/api/admin/token_usage/summary"
    refused = httpx.get(url, params={"group_by": "user"})
    answer = httpx.get(
        url, params={"group_by": "user"}, headers={"authorization": f"Bearer {ADMIN_KEY}"}
    ).json()

    assert refused.status_code == 401
    assert Decimal(answer["totals"]["cost_usd"]) == total
    assert sum(Decimal(row["cost_usd"] or 0) for row in answer["rows"]) == total
