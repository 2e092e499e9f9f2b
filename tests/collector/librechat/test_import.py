"""What only LibreChat's ledger has is booked: once, priced by us, and taken back with its span."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ledger import book, reversal
from librechat_bench import PERIOD, Bench, span
from librechat_ledger import NOON, OTHER_PROCESS, USER, object_id
from tallyspan_collector.errors import BillError
from tallyspan_collector.librechat import run, turns
from tallyspan_collector.librechat.mongo import Mongo
from tallyspan_collector.librechat.pairs import Pair
from tallyspan_collector.librechat.turns import Turn


def test_a_call_that_no_span_tells_of_is_booked_at_our_price(bench: Bench) -> None:
    bench.librechat.call("m1", (1200, 80), rates=(6, 6))
    bench.librechat.message("m1")
    (line,) = bench.imported()

    # 1,200 x 0.25 + 80 x 2 millionths of a dollar; LibreChat charges 6 for either
    assert bench.calls("cost_usd, claimed_cost_usd, cost_status") == [
        (Decimal("0.00046"), Decimal("0.00768"), "priced")
    ]
    assert bench.calls(
        "model_name, user_id, conversation_id, endpoint_id, provider_name, usage_source, tags"
    ) == [("gpt-5-mini", str(USER), "c1", "openAI", "openai", "provider", {"message_id": "m1"})]
    assert (line["calls"], line["recorded_calls"], line["imported_calls"]) == (1, 0, 1)


def test_a_second_run_books_nothing(bench: Bench) -> None:
    bench.librechat.call("m1")
    bench.imported()
    entries = "SELECT count() FROM llm_calls"
    before = bench.client.command(entries)
    bench.imported()

    assert bench.client.command(entries) == before == 1


def test_a_preview_books_nothing(bench: Bench) -> None:
    bench.librechat.call("m1")
    (line,) = bench.imported("--preview")

    assert line["imported_cost_usd"] == "0.000460000000"
    assert bench.client.command("SELECT count() FROM llm_calls") == 0
    assert bench.client.command("SELECT count() FROM librechat_days") == 0


def test_calls_that_spans_tell_of_are_not_booked(bench: Bench) -> None:
    bench.librechat.call("m1")
    bench.librechat.call("m1", (300, 12), context="title")
    span(bench.client, "m1")
    span(bench.client, "m1", "title", input_tokens=300, output_tokens=12)
    (line,) = bench.imported()

    assert bench.calls() == []
    assert (line["calls"], line["recorded_calls"], line["imported_calls"]) == (2, 2, 0)


def test_a_title_is_no_call_of_its_turn(bench: Bench) -> None:
    bench.librechat.call("m1")
    bench.librechat.call("m1", (300, 12), context="title")
    span(bench.client, "m1")
    bench.imported()

    assert bench.calls("input_tokens, tags") == [
        (300, {"call_kind": "title", "message_id": "title-m1"})
    ]


def test_what_spans_lack_of_a_tool_loop_is_booked(bench: Bench) -> None:
    for number in (1, 2, 3):
        bench.librechat.call("m1", (1000 * number, 10 * number))
    span(bench.client, "m1", input_tokens=3000, output_tokens=30)
    # its usage is not known: it is one of the two that are left, and the first of them
    span(bench.client, "m1", input_tokens=None, output_tokens=None, usage_source="unknown")
    (line,) = bench.imported()

    assert bench.calls() == [(2000, 20)]
    assert (line["calls"], line["recorded_calls"], line["imported_calls"]) == (3, 2, 1)


def test_more_spans_than_librechat_has_calls_leave_nothing_to_book(bench: Bench) -> None:
    bench.librechat.call("m1", (1000, 10))
    for number in (2, 3):
        span(bench.client, "m1", input_tokens=1000 * number, output_tokens=10 * number)
    bench.imported()

    assert bench.calls() == []


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
    again = bench.calls()
    span(bench.client, "m1", input_tokens=2000, output_tokens=20)
    bench.imported()

    assert both == again == [(1000, 10), (2000, 20)]
    assert one == [(2000, 20)]
    assert bench.calls() == [(1000, 10)]
    total = "SELECT sum(calls), sum(input_tokens) FROM usage_by_user"
    assert bench.client.query(total).result_rows == [(2, 3000)]


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
    long_ago = today - timedelta(days=30)
    bench.librechat.call("m1", at=long_ago)
    bench.imported(period=["--from", f"{long_ago:%Y-%m-%d}", "--to", f"{long_ago:%Y-%m-%d}"])
    documents = bench.librechat.call("m2", at=long_ago + timedelta(days=1))
    bench.librechat.call("m3", at=today - timedelta(hours=1))
    bench.librechat.call("m4", at=today)
    bench.imported(period=[])

    assert len(bench.calls()) == 3
    # spans of the newest turn may still come
    assert "1 call not settled yet" in bench.err
    last_id = bench.client.command(
        f"SELECT last_id FROM librechat_days FINAL WHERE day = '{long_ago + timedelta(days=1):%F}'"
    )
    assert last_id == str(documents[1]["_id"])


def test_the_wait_can_be_shorter(bench: Bench) -> None:
    bench.librechat.call("m1", at=datetime.now(UTC) - timedelta(seconds=5))
    bench.imported("--wait", "1s", period=[])

    assert len(bench.calls()) == 1


def test_the_cache_is_priced_as_the_provider_bills_it(bench: Bench) -> None:
    bench.librechat.call("m1", (2400, 50), model="claude-sonnet-4-5", cached=(300, 2000))
    bench.librechat.message("m1", endpoint="anthropic", model="claude-sonnet-4-5")
    bench.imported()

    # 100 x 3 + 300 x 3.75 + 2,000 x 0.3 + 50 x 15 millionths of a dollar
    assert bench.calls("provider_name, cache_read_tokens, cache_write_tokens, cost_usd") == [
        ("anthropic", 2000, 300, Decimal("0.002775"))
    ]


def test_endpoint_and_agent_are_those_of_the_turn(bench: Bench) -> None:
    database = bench.librechat.database
    database.agents.insert_one({"id": "agent_A", "name": "Clerk", "provider": "my-gateway"})
    database.conversations.insert_one(
        {"conversationId": "c2", "endpoint": "agents", "agent_id": "openAI__gpt-5-mini___GPT"}
    )
    bench.librechat.message("m1", endpoint="agents", model="agent_A")
    bench.librechat.call("m1")
    bench.librechat.call("m2", conversation="c2")  # its message is gone
    bench.librechat.call("m3", conversation="c3")  # and so is all else
    bench.librechat.message("m4", endpoint="assistants", model="asst_1", usage=False)
    bench.librechat.call("m4", model="gpt-4.1")
    bench.imported()

    assert bench.calls("conversation_id, endpoint_id, agent_id, agent_name, provider_name") == [
        ("c1", "assistants", "asst_1", "", "openai"),
        ("c1", "my-gateway", "agent_A", "Clerk", "openai"),
        ("c2", "openAI", "", "", "openai"),
        ("c3", "", "", "", "openai"),
    ]


def test_an_estimate_is_marked(bench: Bench) -> None:
    for number, usage in ((1, True), (2, False)):
        bench.librechat.message(f"m{number}", usage=usage)
        bench.librechat.call(f"m{number}", (number, 1))
    bench.librechat.call("m2", (3, 1), context="title")
    bench.librechat.call("m1", (4, 1), context="incomplete")
    bench.imported()

    assert bench.calls("input_tokens, usage_source") == [
        (1, "provider"), (2, "estimated"), (3, "provider"), (4, "estimated"),
    ]  # fmt: skip


def test_a_version_that_keeps_no_usage_in_messages_counts_as_the_provider_does(
    bench: Bench,
) -> None:
    bench.librechat.message("m1", usage=False)
    bench.librechat.call("m1")
    bench.imported()

    assert bench.calls("usage_source") == [("provider",)]


def test_the_estimate_of_a_turn_that_failed_is_no_call(bench: Bench) -> None:
    bench.librechat.message("m0")
    bench.librechat.message("m1", usage=False, error=True)
    bench.librechat.call("m1", (6, 4))
    bench.imported()

    assert bench.calls() == []
    assert "1 call left out: LibreChat's estimate of a turn that failed" in bench.err


def test_a_half_alone_is_told_and_not_booked(bench: Bench) -> None:
    documents = bench.librechat.call("m1")
    bench.librechat.database.transactions.delete_one({"_id": documents[1]["_id"]})
    bench.imported()

    assert bench.calls() == []
    assert "1 document left out: the other half of the call was never written" in bench.err


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


def test_documents_in_any_order_and_clocks_apart_change_nothing(bench: Bench) -> None:
    # the span's machine is hours behind, and another process of LibreChat a minute ahead
    bench.librechat.call("m1", (1000, 10), at=NOON + timedelta(minutes=1), process=OTHER_PROCESS)
    bench.librechat.call("m1", (2000, 20))
    span(
        bench.client, "m1", input_tokens=1000, output_tokens=10,
        start_time=NOON - timedelta(hours=9),
    )  # fmt: skip
    bench.imported()

    assert bench.calls() == [(2000, 20)]


def test_tenants_are_those_of_the_documents_or_the_one_that_is_named(bench: Bench) -> None:
    bench.librechat.call("m1", tenantId="t1")
    bench.librechat.call("m2", tenantId="t2")
    bench.imported("--names", "t2=acme")
    as_they_say = bench.calls("tenant")
    span(bench.client, "m3", tenant="acme")
    bench.librechat.call("m3", tenantId="t3")
    bench.imported("--names", "t2=acme")

    assert as_they_say == bench.calls("tenant") == [("acme",), ("t1",)]
    assert "turns of the tenant 't3' are recorded as those of 'acme'" in bench.err


def test_documents_that_are_no_calls_are_told_by_what_is_wrong_with_them(bench: Bench) -> None:
    bench.librechat.call("m1", rawAmount="many")
    bench.librechat.call("m2")
    bench.librechat.database.transactions.insert_one(
        {"_id": object_id(NOON), "tokenType": "credits", "rawAmount": 20_000}
    )
    bench.librechat.database.transactions.insert_one({"_id": object_id(NOON), "rawAmount": -1})
    bench.imported()

    assert len(bench.calls()) == 1
    assert "2 documents left out: rawAmount is no number" in bench.err
    assert "1 document left out: tokenType is neither prompt nor completion" in bench.err


def test_imported_calls_are_calls_in_every_total(bench: Bench) -> None:
    bench.librechat.call("m1", model="a-model-nobody-knows")
    bench.librechat.call("m2")
    bench.imported()
    totals = "SELECT sum(calls), sum(input_tokens), sum(cost_usd), sum(unpriced_calls) FROM {}"

    expected = [(2, 2400, Decimal("0.00046"), 1)]
    assert bench.client.query(totals.format("usage_by_user")).result_rows == expected
    of_ledger = "(SELECT sign AS calls, * FROM llm_calls)"
    assert bench.client.query(totals.format(of_ledger)).result_rows == expected
    assert len(bench.calls("conversation_id")) == 2
