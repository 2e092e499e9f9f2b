"""A call that cannot be priced or written takes its own request along, and no other."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from otlp_spans import CHAT, request, span
from running import running_collector
from shared_store import SharedStore
from tallyspan_collector.columns import block
from tallyspan_collector.columns.priced import PricedRows
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.ingest import loader
from tallyspan_collector.ingest.spool import dead_letters
from tallyspan_collector.ledger import entry
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.read import wire
from tallyspan_collector.read.call import Call, Columns, columns_of
from waiting import wait_for

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def refuse_rows(
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    applies: Callable[[PricedRows], bool] = lambda rows: "poison" in rows.table.texts["user_id"],
) -> None:
    """Let no block of rows be written that has something poisonous in it."""
    sound = block.encode

    def encode(rows: PricedRows, *rest: Any) -> bytes:
        if applies(rows):
            raise error
        return sound(rows, *rest)

    monkeypatch.setattr(block, "encode", encode)


def cannot_be_priced(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = entry.costs

    def costs(calls: Sequence[Call], book: PriceBook, directory: Directory) -> list[Cost]:
        if any(call.user_id == "poison" for call in calls):
            raise ArithmeticError("cannot be priced")
        return sound(calls, book, directory)

    monkeypatch.setattr(entry, "costs", costs)
    refuse_rows(monkeypatch, ArithmeticError("cannot be priced"))


def cannot_be_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def columns(calls: Sequence[Call]) -> Columns:
        return columns_of(
            [
                call._replace(time_to_first_chunk_us=-1) if call.user_id == "poison" else call
                for call in calls
            ]
        )

    monkeypatch.setattr(loader, "columns_of", columns)
    refuse_rows(monkeypatch, ValueError("time_to_first_chunk_us"))


@pytest.mark.parametrize(
    ("befall", "reason"),
    [(cannot_be_priced, "cannot be priced"), (cannot_be_encoded, "time_to_first_chunk_us")],
)
def test_the_requests_around_a_poisonous_one_are_booked(
    befall: Callable[[pytest.MonkeyPatch], None],
    reason: str,
    tmp_path: Path,
    empty_store: SharedStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    befall(monkeypatch)
    with (
        running_collector(tmp_path, store=empty_store.url) as collector,
        grpc.insecure_channel(collector.ready.otlp_grpc) as channel,
    ):
        send = channel.unary_unary(TRACES)
        waiting = [
            send.future(request(span(number, {**CHAT, "user.id": user})), timeout=20)
            for number, user in enumerate(["poison", "a", "b", "poison", "c"], 1)
        ]
        for each in waiting:
            each.result()
        collector.settle()
        file = tmp_path / "spool/0.sqlite"
        wait_for(lambda: len(dead_letters(file)) == 2, "both poisonous requests buried")
        dead = dead_letters(file)
        rows = collector.rows("SELECT user_id FROM calls ORDER BY user_id")

        assert [row["user_id"] for row in rows] == ["a", "b", "c"]
        assert all(reason in each.reason for each in dead)


def test_a_batch_that_only_fails_as_a_whole_waits_and_is_booked_when_it_can_be(
    tmp_path: Path, empty_store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = entry.columns
    attempts: list[int] = []

    def columns(said: Columns, costs: Sequence[Cost], *rest: Any) -> dict[str, Sequence[object]]:
        if len(costs) > 1 and len(attempts) < 2:
            attempts.append(len(costs))
            raise MemoryError("too many at once")
        return sound(said, costs, *rest)

    monkeypatch.setattr(entry, "columns", columns)
    refuse_rows(monkeypatch, MemoryError("too many at once"), lambda rows: len(rows.rows) > 1)
    with (
        running_collector(tmp_path, store=empty_store.url) as collector,
        grpc.insecure_channel(collector.ready.otlp_grpc) as channel,
    ):
        send = channel.unary_unary(TRACES)
        for each in [send.future(request(span(n, CHAT)), timeout=20) for n in (1, 2)]:
            each.result()
        collector.settle()

        assert attempts == [2, 2]
        assert collector.rows("SELECT count() AS calls FROM calls") == [{"calls": 2}]
        assert not dead_letters(tmp_path / "spool/0.sqlite")
        assert httpx.get(f"{collector.ready.admin}/readyz").status_code == 200


def test_nothing_is_buried_while_no_call_at_all_can_be_written(
    tmp_path: Path, empty_store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the collector is newer than the table, and its entries have a column more."""
    sound, is_newer = entry.columns, True

    def columns(said: Columns, costs: Sequence[Cost], *rest: Any) -> dict[str, Sequence[object]]:
        more = {"tide": [""] * len(costs)} if is_newer else {}
        return {**sound(said, costs, *rest), **more}

    monkeypatch.setattr(entry, "columns", columns)
    refuse_rows(monkeypatch, KeyError("tide"), lambda _: is_newer)
    with (
        running_collector(tmp_path, store=empty_store.url) as collector,
        grpc.insecure_channel(collector.ready.otlp_grpc) as channel,
    ):
        channel.unary_unary(TRACES)(request(span(1, CHAT)), timeout=20)
        ready = f"{collector.ready.admin}/readyz"
        wait_for(lambda: "tide" in httpx.get(ready).text, "the reason")
        assert httpx.get(ready).status_code == 503
        assert not dead_letters(tmp_path / "spool/0.sqlite")

        is_newer = False
        collector.settle()
        assert collector.rows("SELECT count() AS calls FROM calls") == [{"calls": 1}]


def test_every_span_of_a_request_that_cannot_be_read_is_counted_as_buried(
    tmp_path: Path, empty_store: SharedStore
) -> None:
    export = wire.Export.FromString(request(span(1, CHAT), span(2, CHAT)))
    export.of_resources[0].resource = b"\xff no resource"
    with (
        running_collector(tmp_path, store=empty_store.url) as collector,
        grpc.insecure_channel(collector.ready.otlp_grpc) as channel,
    ):
        channel.unary_unary(TRACES)(export.SerializeToString(), timeout=20)
        collector.settle()

        assert collector.metric("tallyspan_genai_spans_received_total") == 2
        assert collector.metric("tallyspan_spans_dropped_total") == 2
