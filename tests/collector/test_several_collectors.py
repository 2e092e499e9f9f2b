"""Two collectors on one store: what was sent to both is charged once."""

import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from front import Mode, fronted
from ledger import book, call
from otlp_spans import CHAT, request, span
from running import Running, running_collector
from shared_store import SharedStore
from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.moments import of_microseconds
from tallyspan_clickhouse.schema import ROLLUPS, SCHEMA
from tallyspan_collector.booked.ledger import AMOUNTS
from tallyspan_collector.booked.run import run_if_due
from tallyspan_collector.booked.sent_twice import changes, take_back, windows
from tallyspan_collector.ingest.journal import FILE_NAME, Journal
from tallyspan_collector.metrics.counters import Metrics
from tallyspan_collector.server import several, worker
from tallyspan_collector.server.several import Resolving, Several
from waiting import wait_for

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def send(collector: Running, body: bytes) -> None:
    with grpc.insecure_channel(collector.ready.otlp_grpc) as channel:
        channel.unary_unary(TRACES)(body, timeout=20)
    collector.settle()


def figures(collector: Running) -> set[tuple[Any, ...]]:
    """Return calls and input tokens of ledger and rollups: one value, if they agree."""
    sums = [f"SELECT sum(calls), sum(input_tokens) FROM {each.view}" for each in ROLLUPS]
    sums += ["SELECT sum(sign), sum(input_tokens) FROM llm_calls"]
    return {tuple(collector.client.query(sql).result_rows[0]) for sql in sums}


@pytest.fixture
def two(tmp_path: Path, empty_store: SharedStore, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(worker, "LOOK_SECONDS", 0.1)
    with ExitStack() as stack:
        yield [
            stack.enter_context(running_collector(tmp_path / name, store=empty_store.url))
            for name in ("one", "other")
        ]


def test_what_was_sent_to_both_is_charged_once_and_rollups_and_audit_say_so(
    two: list[Running], tmp_path: Path, empty_store: SharedStore
) -> None:
    one, other = two
    send(one, request(span(1, CHAT), span(2, CHAT)))
    send(other, request(span(2, CHAT), span(3, CHAT)))  # cut otherwise by a queue in between
    wait_for(lambda: figures(one) == {(3, 3000)}, "three calls of 1000 tokens")

    sql = "SELECT sum(sign), count() FROM llm_calls GROUP BY span_id ORDER BY span_id"
    assert one.rows(sql) == [
        {"sum(sign)": 1, "count()": 1},
        {"sum(sign)": 1, "count()": 3},
        {"sum(sign)": 1, "count()": 1},
    ]
    assert len(one.rows("SELECT log_id FROM calls")) == 3
    audit = "SELECT kind, calls FROM price_changes WHERE state = 'finished'"
    assert one.rows(audit) == [{"kind": "sent_twice", "calls": 1}]
    twice = "tallyspan_calls_sent_twice_total"
    assert one.metric(twice) + other.metric(twice) == 1
    ready = httpx.get(f"{one.ready.admin}/readyz")
    assert ready.status_code == 200
    assert str(tmp_path / "other") in ready.text
    assert "send each trace to one of them" in ready.text


def test_what_was_sent_to_both_while_neither_looked_is_found_after_their_restart(
    tmp_path: Path, empty_store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / "one", tmp_path / "other"]
    with_looks = Several.look
    monkeypatch.setattr(Several, "look", lambda _: None)
    booked: set[tuple[Any, ...]] = set()
    for folder in folders:
        with running_collector(folder, store=empty_store.url) as collector:
            send(collector, request(span(1, CHAT)))
            booked = figures(collector)
    assert booked == {(2, 2000)}

    monkeypatch.setattr(Several, "look", with_looks)
    monkeypatch.setattr(worker, "LOOK_SECONDS", 0.1)
    with running_collector(folders[0], store=empty_store.url) as collector:
        wait_for(lambda: figures(collector) == {(1, 1000)}, "one call")


def looked_until(folder: Path) -> datetime:
    """Return up to when a collector says that it looked."""
    return datetime.fromisoformat((folder / "looked_until").read_text().split()[0])


def beside_another(
    client: Client, folder: Path, looked: datetime, through: Client | None = None
) -> Several:
    """Return what a collector that looked up to then does beside one that has stopped.

    It looks `through` a client of its own, if there is one.
    """
    with closing(Journal(folder / FILE_NAME)) as journal:
        own = Resolving(journal.identities, lambda _: {}, lambda *_: [], ())
    client.insert(
        "collector_metrics",
        [[datetime.now(UTC), "other", "tallyspan_collector_stopped", "", "gauge", 0.0]],
        column_names=["at", "collector", "name", "labels", "kind", "value"],
    )
    (folder / "looked_until").write_text(looked.isoformat())
    return Several(through or client, "one", folder / FILE_NAME, timedelta(days=1), Metrics(), own)


def test_what_nobody_could_look_at_is_looked_at_after_both_were_started_again(
    empty_store: SharedStore, client: Client, tmp_path: Path
) -> None:
    """The lock is held, say, while both are killed and started again, more than once."""
    looked = datetime.now(UTC) - timedelta(minutes=30)
    collector = beside_another(client, tmp_path, looked)
    twice = call(ingested_at=looked + timedelta(minutes=5))
    book(client, [twice])
    book(client, [twice | {"batch_id": 2}])

    collector.look()

    assert client.query("SELECT sum(sign) FROM llm_calls").first_row == (1,)
    assert looked_until(tmp_path) > looked + timedelta(minutes=30)


def test_a_look_that_others_keep_from_its_end_goes_on_where_it_was_given_up(
    empty_store: SharedStore, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = datetime.now(UTC) - timedelta(minutes=3)
    look = beside_another(client, tmp_path, looked).look
    minutes: list[int] = []
    run = run_if_due

    def with_lock_held_at(client: Client, make: Any, **options: Any) -> Any:
        begin = of_microseconds(make.args[0]["since"]) + several.CLOCKS_APART
        minutes.append(round((begin - looked) / timedelta(minutes=1)))
        if len(minutes) == 2:
            raise StoreError("booked calls are being changed")
        return run(client, make, **options)

    monkeypatch.setattr(several, "run_if_due", with_lock_held_at)
    with pytest.raises(StoreError, match="are being changed"):
        look()
    assert looked_until(tmp_path) == looked
    given_up = datetime.now(UTC)
    look()

    assert minutes == [0, 2, 2, 4]
    assert looked_until(tmp_path) <= given_up


@pytest.mark.parametrize("hours", [-26, 72])
def test_what_was_sent_to_both_while_a_clock_was_wrong_is_charged_once(
    two: list[Running], monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    real = time.time_ns
    for number, (collector, wrong) in enumerate(zip(two, (hours, 0), strict=True)):
        wait_for(lambda: "book into this" in httpx.get(f"{two[0].ready.admin}/readyz").text, "two")
        monkeypatch.setattr(time, "time_ns", lambda wrong=wrong: real() + wrong * 3_600 * 10**9)
        send(collector, request(span(1, CHAT), span(2 + number, CHAT)))
    wait_for(lambda: figures(two[0]) == {(3, 3000)}, "three calls of 1000 tokens")

    late = "SELECT count() FROM llm_calls WHERE abs(dateDiff('minute', ingested_at, now())) > 5"
    assert two[0].rows(late) == [{"count()": 0}]


def test_a_collector_that_is_stopped_leaves_what_it_looks_at_and_the_lock(
    empty_store: SharedStore, client: Client, tmp_path: Path
) -> None:
    looked = datetime.now(UTC) - timedelta(minutes=5)
    collector = beside_another(client, tmp_path, looked)
    twice = call(ingested_at=looked + timedelta(minutes=1))
    book(client, [twice])
    book(client, [twice | {"batch_id": 2}])

    collector.stop(5)
    with pytest.raises(StoreError, match="the process ends"):
        collector.look()

    assert looked_until(tmp_path) == looked
    assert client.query("SHOW TABLES LIKE 'ledger_lock'").result_rows == []
    beside_another(client, tmp_path, looked).look()
    assert client.query("SELECT sum(sign) FROM llm_calls").first_row == (1,)


def test_a_look_that_gets_no_answer_is_not_over(
    empty_store: SharedStore, client: Client, tmp_path: Path
) -> None:
    """A store with a full disk answers some queries with nothing, as if nothing were there."""
    looked = datetime.now(UTC) - timedelta(minutes=5)
    twice = call(ingested_at=looked + timedelta(minutes=1))
    book(client, [twice])
    book(client, [twice | {"batch_id": 2}])
    with fronted(empty_store.url) as (front, url), connect(url) as through:
        query, left = through.query, 0

        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            front.befall(Mode.PASS if left >= 0 else Mode.EMPTY)
            return query(*arguments, **options)

        through.query = counted  # type: ignore[method-assign]
        for answers in range(9):
            left = answers
            with pytest.raises(StoreError):
                beside_another(client, tmp_path, looked, through).look()
            assert looked_until(tmp_path) == looked

    beside_another(client, tmp_path, looked).look()
    assert client.query("SELECT sum(sign) FROM llm_calls").first_row == (1,)


def test_what_was_booked_while_a_clock_was_ahead_is_found_too(
    empty_store: SharedStore, client: Client
) -> None:
    now = datetime.now(UTC)
    twice = call(ingested_at=now + timedelta(days=3))
    book(client, [twice, call(ingested_at=now + timedelta(days=3))])
    book(client, [twice | {"batch_id": 2, "ingested_at": now + timedelta(days=3, seconds=1)}])

    assert take_back(client, now - timedelta(minutes=1), now + timedelta(minutes=1)) == 1
    assert take_back(client, now - timedelta(minutes=1), now + timedelta(minutes=1)) == 0
    assert client.query("SELECT sum(sign), sum(input_tokens) FROM llm_calls").first_row == (2, 200)


def test_the_time_that_is_looked_at_is_cut_in_pieces_and_has_no_end() -> None:
    start = datetime(2026, 11, 28, 9, tzinfo=UTC)
    minutes = [
        ((begin - start) / timedelta(minutes=1), min(90.0, (end - start) / timedelta(minutes=1)))
        for begin, end in windows(start, start + timedelta(minutes=5))
    ]
    assert minutes == [(0, 2), (2, 4), (4, 90)]


COLUMNS: dict[str, Any] = {each.name: "" for each in SCHEMA.columns} | dict.fromkeys(AMOUNTS, 0)
STEPS = st.sampled_from(["one", "other", "a third", "look"])


@settings(max_examples=200)
@given(st.lists(st.tuples(STEPS, st.integers(1, 3)), max_size=12))
def test_one_booking_of_a_span_is_left_as_long_as_a_collector_has_one(
    steps: list[tuple[str, int]],
) -> None:
    """A collector books the span, takes that back, books it with other amounts, and so on."""
    entries: list[dict[str, Any]] = []
    live: dict[str, int] = {}

    def add(entry_kind: str, sign: int, tokens: int) -> None:
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=len(entries))
        what = {"entry_kind": entry_kind, "sign": sign, "input_tokens": sign * tokens}
        entries.append(COLUMNS | what | {"meters": {}, "ingested_at": at})

    def look() -> None:
        entries.extend({**each, "batch_id": 0} for each in (changes(entries) if entries else ()))

    for collector, tokens in steps:
        if collector == "look":
            look()
        elif collector in live:
            add("reversal", -1, live.pop(collector))
        else:
            live[collector] = tokens
            add("call", 1, tokens)
    look()

    assert sum(each["sign"] for each in entries) == min(1, len(live))
    assert sum(each["input_tokens"] for each in entries) in (set(live.values()) or {0})
    assert not entries or not changes(entries)
