"""What holds for every kind of change to booked calls."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from clickhouse_connect.driver.client import Client

from ledger import Entry, call, empty, price_change, reversal, unpriced
from ledger import book as insert
from tallyspan_clickhouse import repair, table_lock
from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.ledger_lock import ledger_lock
from tallyspan_clickhouse.local import LocalStore
from tallyspan_clickhouse.migrate import migrate
from tallyspan_collector.booked import audit, backfill, ledger, move, remainders, reprice, run
from tallyspan_collector.directory import stored
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.directory.period import ALWAYS, FURTHER_NOTICE, Period
from tallyspan_collector.pricing.book import PriceBook

CALLS = 3
START = datetime.now(UTC).replace(microsecond=7) - timedelta(days=2)
PRICES = """\
prices:
  - {model: gpt-4.1, unit: 1M tokens, input: 3, output: 10}
  - {model: homemade, unit: 1M tokens, input: 1, output: 1}
"""
Run = Callable[[Client, PriceBook], int]


def change_prices(client: Client, prices: PriceBook) -> int:
    scope = reprice.Scope(START - timedelta(days=1), START + timedelta(days=1), "gpt-*")
    kind = reprice.Reprice(prices, scope)
    return run.run(client, kind, is_applied=True, patience_seconds=0).total.calls


def book_away(client: Client, _: PriceBook) -> int:
    return remainders.book_away(client)


def correct_departments(client: Client, _: PriceBook) -> int:
    directory = Directory()
    directory.read(client)
    kind = move.Move(directory, move.Scope((), START.date(), START.date()))
    return run.run(client, kind, is_applied=True, patience_seconds=0).total.calls


KINDS: dict[str, Run] = {
    "reprice": change_prices,
    "backfill": backfill.backfill,
    "remainder": book_away,
    "directory correct": correct_departments,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    # A server: an engine in this process cannot insert while a result is read.
    with (
        LocalStore(tmp_path_factory.mktemp("store")) as running,
        connect(running.url) as client,
    ):
        migrate(client)
        legal = Period("", "ada", ALWAYS, FURTHER_NOTICE, "Legal")
        stored.write(client, stored.changes([legal], []), "test", "test")
        yield client


@pytest.fixture
def client(store: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(table_lock, "KEEP_SECONDS", 0.0)
    monkeypatch.setattr(run, "BATCH_CALLS", 1)
    for module in (backfill, run):
        monkeypatch.setattr(module, "BRIEF_PATIENCE_SECONDS", 0.0)
    return store


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> PriceBook:
    path = tmp_path_factory.mktemp("prices") / "models_pricing.yaml"
    path.write_text(PRICES)
    return PriceBook.load(path)


def history() -> list[Entry]:
    """Return `CALLS` calls for each kind to change: some of ada, some unpriced, some taken back."""
    columns = {"start_time": START, "ingested_at": START, "department": ""}
    entries = []
    for _ in range(CALLS):
        gone = call(**columns, user_id="eve")
        now = {"ingested_at": datetime.now(UTC)}
        entries += [
            call(**columns),
            unpriced(**columns, user_id="bob", model_name="homemade"),
            gone,
            price_change(gone, Decimal(1), START + timedelta(hours=1)),
            reversal(gone) | now,
        ]
    return entries


def figures(client: Client) -> list[Sequence[object]]:
    """Return the entries, and what they and a rollup add up to."""
    groups = "user_id, department"
    sums = "sum(cost_usd), sum(unpriced_calls), sum(input_tokens)"
    queries = (
        f"SELECT {groups}, entry_kind, count(), {sums} FROM llm_calls GROUP BY ALL ORDER BY ALL",
        (
            f"SELECT {groups}, sum(calls), {sums} FROM usage_daily GROUP BY user_id, department"
            # what adds up to nothing may be gone, and NULL is nothing
            " HAVING sum(calls) != 0 OR ifNull(sum(cost_usd), 0) != 0 ORDER BY ALL"
        ),
        f"SELECT {groups}, cost_usd FROM calls ORDER BY ALL",
    )
    return [row for query in queries for row in client.query(query).result_rows]


@pytest.mark.parametrize("name", KINDS)
def test_while_a_run_books_nobody_else_gets_the_lock(
    name: str, client: Client, prices: PriceBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def book(client: Client, kind: str, changes: Sequence[ledger.Change]) -> None:
        with (
            pytest.raises(StoreError, match=rf"\({name} by process"),
            ledger_lock(client, "another", patience_seconds=0),
        ):
            pytest.fail("two hold the lock")
        refused.append(kind)
        ledger.book(client, kind, changes)

    monkeypatch.setattr(run, "book", book)
    empty(client)
    insert(client, history())

    assert KINDS[name](client, prices) == CALLS
    assert refused == [name] * CALLS
    assert KINDS[name](client, prices) == 0


@pytest.mark.parametrize("name", KINDS)
def test_a_run_does_not_book_while_another_holds_the_lock(
    name: str, client: Client, prices: PriceBook
) -> None:
    empty(client)
    insert(client, history())
    before = figures(client)
    with (
        ledger_lock(client, "another"),
        pytest.raises(StoreError, match=r"\(another by process"),
    ):
        KINDS[name](client, prices)

    assert figures(client) == before


@pytest.mark.parametrize("name", KINDS)
def test_a_run_that_loses_the_lock_stops_and_the_next_one_completes_it(
    name: str, client: Client, prices: PriceBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = history()
    empty(client)
    insert(client, entries)
    assert KINDS[name](client, prices) == CALLS
    whole = figures(client)

    def book(client: Client, kind: str, changes: Sequence[ledger.Change]) -> None:
        ledger.book(client, kind, changes)
        client.command("DROP TABLE ledger_lock SYNC")
        client.command("CREATE TABLE ledger_lock (held UInt8) ENGINE = Memory COMMENT 'another'")

    empty(client)
    insert(client, entries)
    with monkeypatch.context() as patched:
        patched.setattr(run, "book", book)
        with pytest.raises(StoreError, match="was lost while it was held"):
            KINDS[name](client, prices)
    client.command("DROP TABLE ledger_lock SYNC")

    assert figures(client) != whole
    assert KINDS[name](client, prices) == CALLS - 1
    assert figures(client) == whole


@pytest.mark.parametrize("name", KINDS)
def test_a_batch_that_is_sent_twice_is_booked_once(
    name: str, client: Client, prices: PriceBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[ledger.Row] = []

    def book(client: Client, kind: str, changes: Sequence[ledger.Change]) -> None:
        ledger.book(client, kind, changes)
        ledger.book(client, kind, changes)
        sent.extend(entry for change in changes for entry in change.entries)

    monkeypatch.setattr(run, "book", book)
    entries = history()
    empty(client)
    insert(client, entries)
    KINDS[name](client, prices)

    assert len(sent) >= CALLS
    assert client.query("SELECT count() FROM llm_calls").first_row == (len(entries) + len(sent),)


ROLLUPS = (
    "rollup_hourly",
    "rollup_days WHERE part = 'models'",
    "rollup_conversations",
    "rollup_users",
)


def costs(client: Client) -> set[Decimal]:
    """Return the cost of the ledger and that of each rollup: one figure if they are equal."""
    queries = [f"SELECT sum(cost_usd) FROM {table}" for table in ("llm_calls", *ROLLUPS)]
    return {client.query(query).result_rows[0][0] for query in queries}


def test_rollups_that_a_broken_off_run_left_short_are_right_after_the_next(
    client: Client, prices: PriceBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair, "SETTLED_SECONDS", 0.01)
    empty(client)
    client.command("TRUNCATE TABLE price_changes")
    insert(client, [call(start_time=START, ingested_at=START) for _ in range(CALLS)])

    def dies(self: audit.Audit, totals: object) -> None:
        raise StoreError(f"the store died before it had {totals} of {self}")

    with monkeypatch.context() as dying:
        dying.setattr(audit.Audit, "finish", dies)
        with pytest.raises(StoreError, match="the store died"):
            change_prices(client, prices)
    # 3 calls of 100 and 10 tokens, at 3 and 10 USD a million
    assert costs(client) == {Decimal("0.0012")}
    client.command(
        "INSERT INTO rollup_users (tenant, day, user_id, department, cost_usd)"
        f" VALUES ('', '{START.date()}', 'ada', 'research', -0.0005)"
    )
    assert len(costs(client)) == 2

    assert change_prices(client, prices) == 0
    assert costs(client) == {Decimal("0.0012")}


def test_corrections_that_the_store_lost_behind_their_token_are_added_again(
    client: Client, prices: PriceBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair, "SETTLED_SECONDS", 0.01)
    empty(client)
    insert(client, [call(start_time=START, ingested_at=START)])
    assert change_prices(client, prices) == 1
    # A kill between the log of tokens and the part: the same batch again adds nothing by itself.
    client.command(
        "ALTER TABLE llm_calls DELETE WHERE entry_kind = 'price_change' SETTINGS mutations_sync = 2"
    )

    assert change_prices(client, prices) == 1
    assert costs(client) == {Decimal("0.0004")}
