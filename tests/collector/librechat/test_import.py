"""What only LibreChat's ledger has is booked: once, priced by us, and taken back with its span."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from ledger import book, reversal
from librechat_bench import PERIOD, Bench, span
from librechat_ledger import NOON
from tallyspan_clickhouse.engine import connect
from tallyspan_collector.booked.imports import Booking
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.errors import BillError
from tallyspan_collector.librechat import run, turns
from tallyspan_collector.librechat.mongo import Mongo
from tallyspan_collector.librechat.pairs import Pair
from tallyspan_collector.librechat.settings import LedgerImport
from tallyspan_collector.librechat.turns import Turn
from tallyspan_collector.pricing.book import PriceBook


def test_a_preview_books_nothing(bench: Bench) -> None:
    bench.librechat.call("m1")
    (line,) = bench.imported("--preview")

    assert line["imported_cost_usd"] == "0.000460000000"
    assert bench.client.command("SELECT count() FROM llm_calls") == 0
    assert bench.client.command("SELECT count() FROM librechat_days") == 0


def test_a_span_that_comes_late_takes_the_call_back_and_one_taken_back_books_it_again(
    bench: Bench,
) -> None:
    bench.librechat.call("m1", (1000, 10))
    bench.librechat.call("m1", (2000, 20))
    bench.imported()
    both = bench.calls()
    late = span(bench.client, "m1", input_tokens=1000, output_tokens=10)
    bench.imported()
    one = bench.calls()
    book(bench.client, [reversal(late)])
    bench.imported()

    assert both == bench.calls() == [(1000, 10), (2000, 20)]
    assert one == [(2000, 20)]
    total = "SELECT sum(calls), sum(input_tokens) FROM usage_by_user"
    assert bench.client.query(total).result_rows == [(2, 3000)]

    (trace,) = bench.client.query(
        "SELECT DISTINCT toString(trace_id) FROM llm_calls WHERE source = 'import:librechat'"
    ).result_rows
    bench.name = "explain"
    assert bench.run(*trace) == 0
    assert bench.out.count(", of LibreChat's own ledger: no span tells of it") == 3
    assert bench.out.count(", taken back: a span tells of it") == 1


def test_a_run_that_was_broken_off_is_completed_by_the_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        bench.librechat.call(f"m{number}", (1000 * number, 10))
    monkeypatch.setattr(run, "AT_ONCE", 1)
    reads = iter([1, 2, 3])

    def broken_off(mongo: Mongo, pairs: Sequence[Pair]) -> dict[tuple[str, str], Turn]:
        if next(reads) == 3:
            raise BillError("MongoDB at mongo:27017 cannot be reached")
        return turns.turns_of(mongo, pairs)

    monkeypatch.setattr(run, "turns_of", broken_off)
    code = bench.run("import", "--mongo", bench.librechat.uri, *PERIOD)
    done, noted = len(bench.calls()), bench.client.command("SELECT count() FROM librechat_days")
    monkeypatch.setattr(run, "turns_of", turns.turns_of)
    bench.imported()

    assert (code, done, noted) == (1, 2, 0)
    assert bench.calls() == [(1000, 10), (2000, 10), (3000, 10)]


def test_without_days_a_run_goes_on_where_the_last_one_ended(bench: Bench) -> None:
    today = datetime.now(UTC)
    long_ago = today - timedelta(days=9)
    bench.librechat.call("m1", at=long_ago)
    bench.imported(period=["--from", f"{long_ago:%Y-%m-%d}", "--to", f"{long_ago:%Y-%m-%d}"])
    documents = bench.librechat.call("m2", at=long_ago + timedelta(days=1))
    bench.librechat.call("m3", at=today - timedelta(hours=1))
    bench.librechat.call("m4", at=today - timedelta(minutes=5))
    bench.imported(period=[])

    assert len(bench.calls()) == 3
    # spans of the newest turn may still come
    assert "1 call not settled yet" in bench.err
    last_id = bench.client.command(
        f"SELECT last_id FROM librechat_days FINAL WHERE day = '{long_ago + timedelta(days=1):%F}'"
    )
    assert last_id == str(documents[1]["_id"])

    bench.imported("--wait", "4m", period=[])
    assert len(bench.calls()) == 4


def test_a_version_that_keeps_no_usage_in_messages_counts_as_the_provider_does(
    bench: Bench,
) -> None:
    bench.librechat.message("m1", usage=False)
    bench.librechat.call("m1")
    bench.imported()

    assert bench.calls("usage_source") == [("provider",)]


@pytest.mark.parametrize(
    ("message", "model", "tokens", "input_tokens", "usage_source"),
    [
        ("resp_1", "claude-haiku-4-5", 8998, 6576, "estimated"),
        ("chatcmpl-1", "gpt-5-mini", 8998, 6576, "estimated"),
        ("resp_1", "us.anthropic.claude-haiku-4-5-20251001-v1:0", 8998, 8998, "provider"),
        ("resp_1", "claude-haiku-4-5", 4000, 4000, "provider"),  # 1,578 and a cache of 2,422
        ("m1", "claude-haiku-4-5", 8998, 8998, "provider"),
    ],
)
def test_a_cache_that_the_agents_api_counts_twice_is_booked_once(
    bench: Bench, message: str, model: str, tokens: int, input_tokens: int, usage_source: str
) -> None:
    bench.librechat.call(message, (tokens, 317), cached=(1038, 1384), model=model)
    bench.imported()

    columns = "input_tokens, cache_write_tokens, cache_read_tokens, usage_source"
    assert bench.calls(columns) == [(input_tokens, 1038, 1384, usage_source)]


def test_without_message_ids_only_conversations_that_nobody_recorded_are_booked(
    bench: Bench,
) -> None:
    bench.librechat.call("", conversation="c1")
    bench.librechat.call("", conversation="c2")
    span(bench.client, "other", conversation_id="c1")
    bench.imported()
    bench.imported()

    assert bench.calls("conversation_id") == [("c2",)]
    assert "1 call left out: LibreChat wrote no message id" in bench.err


def test_a_turn_across_midnight_is_whole(bench: Bench) -> None:
    midnight = NOON + timedelta(hours=12)
    bench.librechat.call("m1", (1000, 10), at=midnight - timedelta(seconds=1))
    bench.librechat.call("m1", (2000, 20), at=midnight + timedelta(seconds=1))
    span(bench.client, "m1", input_tokens=2000, output_tokens=20)
    bench.imported(period=["--from", "2026-03-31", "--to", "2026-04-01"])

    assert bench.calls() == [(1000, 10)]
    days = "SELECT day, calls FROM librechat_days FINAL ORDER BY day"
    assert [calls for _, calls in bench.client.query(days).result_rows] == [2, 0]


def test_a_span_of_another_key_hides_no_call_where_the_keys_are_named(bench: Bench) -> None:
    bench.librechat.call("m1")
    bench.librechat.call("m2")
    span(bench.client, "m1")
    span(bench.client, "m2", source="somebody", input_tokens=None, output_tokens=None)
    bench.imported("--source", "librechat-prod", "--source", "preload")

    assert bench.calls("tags") == [({"message_id": "m2"},)]


def test_two_imports_at_once_book_a_call_once(bench: Bench) -> None:
    bench.librechat.call("m1")

    def imported(_: int) -> int:
        booking = Booking(PriceBook(), Directory())
        with connect(bench.store_url) as client, Mongo(bench.librechat.uri) as mongo:
            day = NOON.date()
            return run.run(client, mongo, LedgerImport(), day, day, booking).result.changes

    with ThreadPoolExecutor(2) as both:
        changes = [*both.map(imported, range(2))]

    assert sorted(changes) == [0, 1]
    assert bench.client.command("SELECT count() FROM llm_calls") == 1
