"""A call that cannot be priced or written takes its own request along, and no other."""

import time
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest

from otlp_spans import CHAT, request, span
from running import running_collector
from tallyspan_collector import entry
from tallyspan_collector.call import Call
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.entry import Cost
from tallyspan_collector.ingest.spool import dead_letters
from tallyspan_collector.pricing.book import PriceBook

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def test_the_requests_around_a_poisonous_one_are_booked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = entry.costs

    def costs(calls: Sequence[Call], book: PriceBook, directory: Directory) -> list[Cost]:
        if any(call.user_id == "poison" for call in calls):
            raise ArithmeticError("cannot be priced")
        return sound(calls, book, directory)

    monkeypatch.setattr(entry, "costs", costs)
    with (
        running_collector(tmp_path) as collector,
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
        until = time.monotonic() + 10
        while len(dead := dead_letters(tmp_path / "spool/0.sqlite")) < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        rows = collector.rows("SELECT user_id FROM calls ORDER BY user_id")

        assert [row["user_id"] for row in rows] == ["a", "b", "c"]
        assert all("cannot be priced" in each.reason for each in dead)
