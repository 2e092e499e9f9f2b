"""Pages of the newest calls are read where the rollups say they are, and are all there is."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from history import History, some_history
from ledger import NOON, Entry, book, call, empty
from tallyspan_clickhouse.query.access import Access
from tallyspan_collector.summary import Filters, entries
from tallyspan_collector.summary.newest import pieces

# Hours, months and centuries apart: the rollups' own times end in 2106.
MOMENTS = (
    datetime(1970, 1, 1, tzinfo=UTC),
    NOON - timedelta(days=400),
    *(NOON - timedelta(days=70, minutes=minutes) for minutes in (0, 1, 61)),
    *(NOON - timedelta(minutes=minutes) for minutes in (0, 0, 1, 59, 180, 1_440)),
    datetime(2149, 6, 7, tzinfo=UTC),
    datetime(2196, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
)
FILTERS: tuple[dict[str, Any], ...] = (
    {}, {"user_id": "ada"}, {"user_id": ""}, {"user_id": "nobody"}, {"conversation_id": "c1"},
    {"user_id": "bob", "provider": "openai"}, {"user_id": "ada", "agent_id": "planner"},
    {"model": "claude", "tenant": "acme"}, {"agent_id": "planner"}, {"error_type": "500"},
    {"status": "ok"}, {"status": "error", "user_id": "ada"}, {"cost_status": "unpriced"},
    {"cost_status": "priced"}, {"cost_status": "notional"}, {"usage_source": "estimated"},
    {"usage_source": "provider", "service": "batch"}, {"access": Access(("sales",))},
    {"tags": (("plan", "gold"),)}, {"tags": (("plan", ""),)}, {"tags": (("plan", "x"),)},
    {"tags": (("plan", "gold"),), "user_id": "ada"},
    {"tags": (("plan", "gold"),), "conversation_id": "c2"},
)  # fmt: skip


def spread(history: History, draw: random.Random) -> None:
    """Move each call of the history, with all its entries, to one of MOMENTS, and give it a tag."""
    moved: dict[str, Entry] = {}
    for batch in history.batches:
        for entry in batch:
            new = moved.setdefault(
                entry["span_id"],
                {
                    "start_time": draw.choice(MOMENTS),
                    "tags": draw.choice([{}, {"plan": "gold"}, {"plan": "free", "x": "gold"}]),
                },
            )
            entry.update(new)
    for span_id, entry in history.live.items():
        history.live[span_id] = entry | moved[span_id]


def is_meant(entry: Entry, filters: Filters) -> bool:
    """Return whether the filters let the live call through, as a reader of them would say."""
    said = entry | {
        "model": entry["model_name"],
        "provider": entry["provider_name"],
        "service": entry["service_name"],
        "cost_status": "notional" if entry["is_notional"] else entry["cost_status"],
    }
    names = ("user_id", "conversation_id", "provider", "agent_id", "model", "tenant", "error_type",
             "status", "cost_status", "usage_source", "service")  # fmt: skip
    wanted = {name: filters.get(name) for name in names}
    return (
        all(value is None or said[name] == value for name, value in wanted.items())
        and filters.access.lets(entry["department"], entry["tenant"])
        and all(entry["tags"].get(key, "") == value for key, value in filters.tags)
        and (filters.start is None or entry["start_time"] >= filters.start)
        and (filters.end is None or entry["start_time"] < filters.end)
    )


# Six histories with reversals and price changes, and each of FILTERS once.
@pytest.mark.parametrize(("number", "seed"), [*enumerate((5, 23, 27, 35, 45, 64))])
def test_pages_one_after_another_are_all_calls_that_are_meant_newest_first(
    client: Client, number: int, seed: int
) -> None:
    empty(client)
    draw = random.Random(seed)
    history = some_history(seed)
    spread(history, draw)
    for batch in history.batches:
        book(client, batch)

    for said in FILTERS[number::6]:
        start, end = draw.choice(
            [(None, None), (None, None), (NOON - timedelta(days=71), NOON), (None, MOMENTS[-2])]
        )
        filters = Filters(**said, start=start, end=end)
        found, cursor = entries(client, filters, draw.randint(2, 25))
        while cursor is not None:
            page, cursor = entries(client, filters, draw.randint(2, 25), cursor)
            assert page
            found += page

        meant = [entry for entry in history.live.values() if is_meant(entry, filters)]
        newest_first = sorted(
            ((each["start_time"], f"{each['trace_id']}-{each['span_id']}") for each in meant),
            reverse=True,
        )
        assert [(row["timestamp"], row["log_id"]) for row in found] == newest_first, said


def test_a_page_of_the_newest_calls_reads_their_hour_and_not_the_ledger(client: Client) -> None:
    empty(client)
    book(client, [call(start_time=NOON - timedelta(hours=hour)) for hour in range(200)])

    [text, bounds] = next(pieces(client, Filters(), None, 10))

    assert "toStartOfHour(c.start_time) IN" in text
    assert len(bounds["piece_hours"]) == 10


def test_a_page_of_a_users_calls_reads_their_conversations(client: Client) -> None:
    empty(client)
    book(
        client,
        [
            call(user_id=f"u{n % 3}", conversation_id=f"c{n}", start_time=NOON - timedelta(days=n))
            for n in range(60)
        ],
    )

    [_, bounds] = next(pieces(client, Filters(user_id="u1"), None, 3))

    assert bounds["piece_conversations"] == ["c1", "c4", "c7"]
