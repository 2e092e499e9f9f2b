"""A day of LibreChat's ledger after its import: what is booked of each turn, and as what."""

from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from librechat_bench import PERIOD, span
from librechat_ledger import NOON, OTHER_PROCESS, USER, LibreChat, object_id
from shared_store import SharedStore
from tallyspan_collector.cli import main

SOURCE = "WHERE source = 'import:librechat'"
Booked = Callable[..., list[tuple[Any, ...]]]


def write_documents(librechat: LibreChat) -> None:
    """Write the turns of the day; the message of each says what it is of."""
    call, message, database = librechat.call, librechat.message, librechat.database
    call("price", rates=(6, 6))
    message("price")
    call("recorded")
    call("recorded", (300, 12), context="title")
    call("title")
    call("title", (300, 12), context="title")
    for number in (1, 2, 3):
        call("loop", (1000 * number, 10 * number))
    call("more-spans", (1000, 10))
    call("cache", (2400, 50), model="claude-sonnet-4-5", cached=(300, 2000))
    message("cache", endpoint="anthropic", model="claude-sonnet-4-5")
    database.agents.insert_one({"id": "agent_A", "name": "Clerk", "provider": "my-gateway"})
    message("agent", endpoint="agents", model="agent_A")
    call("agent")
    made_up = {"conversationId": "c2", "endpoint": "agents", "agent_id": "openAI__gpt-5-mini___GPT"}
    database.conversations.insert_one(made_up)
    call("message-gone", conversation="c2")
    call("all-gone", conversation="c3")
    message("assistant", endpoint="assistants", model="asst_1", usage=False)
    call("assistant", model="gpt-4.1")
    # runs of Assistants and pictures of Gemini name no message
    database.conversations.insert_one({"conversationId": "c5", "endpoint": "assistants"})
    for _ in range(2):
        call("", (912, 282), conversation="c5", model="gpt-4.1")
    for _ in range(2):
        call("", (100, 1290), conversation="c1", model="gemini-2.5-flash-image",
             context="image_generation")  # fmt: skip
    message("uncounted", usage=False)
    call("uncounted")
    call("uncounted", (3, 1), context="title")
    message("cut")
    call("cut", context="incomplete")
    message("failed", usage=False, error=True)
    call("failed", (6, 4))
    (_, answer) = call("half")
    database.transactions.delete_one({"_id": answer["_id"]})
    # the span's machine is hours behind, and another process of LibreChat a minute ahead
    call("clocks", (1000, 10), at=NOON + timedelta(minutes=1), process=OTHER_PROCESS)
    call("clocks", (2000, 20))
    call("tenant", tenantId="t1")
    call("named-tenant", tenantId="t2")
    call("other-tenant", tenantId="t3")
    call("unknown-model", model="a-model-nobody-knows")
    call("unreadable", rawAmount="many")
    odd = {"messageId": "odd", "endpoint": 7, "metadata": "x", "model": ["a"], "error": None}
    database.messages.insert_one(odd)
    database.conversations.insert_one({"conversationId": "c4", "endpoint": {}})
    call("odd", conversation="c4", tokenValue=1e300, model="", of_another_version=1)
    database.transactions.insert_many([
        {"_id": object_id(NOON), "tokenType": "credits", "rawAmount": 20_000},
        {"_id": object_id(NOON), "rawAmount": -1},
    ])  # fmt: skip


def book_spans(client: Client) -> None:
    span(client, "recorded")
    span(client, "recorded", "title", input_tokens=300, output_tokens=12)
    span(client, "title")
    span(client, "loop", input_tokens=3000, output_tokens=30)
    # its usage is not known: it is one of the two that are left, and the first of them
    span(client, "loop", input_tokens=None, output_tokens=None, usage_source="unknown")
    for number in (2, 3):
        span(client, "more-spans", input_tokens=1000 * number, output_tokens=10 * number)
    at = NOON - timedelta(hours=9)
    span(client, "clocks", input_tokens=1000, output_tokens=10, start_time=at)
    span(client, "other-tenant", tenant="acme")
    # what the preload sees of a run of Assistants: who, and how much
    nameless: dict[str, Any] = {"tags": {}, "input_tokens": 912, "output_tokens": 282}
    span(client, **nameless, start_time=NOON - timedelta(minutes=2))
    span(client, **nameless, start_time=NOON - timedelta(minutes=45))
    span(client, **nameless, user_id="somebody else")
    # the preload counts what Gemini thought, too, and knows the conversation
    picture: dict[str, Any] = {"tags": {}, "input_tokens": 100, "output_tokens": 1400}
    span(client, **picture, request_model="gemini-2.5-flash-image", conversation_id="c1")


@pytest.fixture(scope="module")
def notes(store: SharedStore, client: Client, mongo_server: LibreChat) -> Iterator[str]:
    """What the import of the day wrote to stderr."""
    store.empty()
    mongo_server.empty()
    write_documents(mongo_server)
    book_spans(client)
    out, err = StringIO(), StringIO()
    more = ["--names", "t2=acme", "--data-dir", str(store.data_dir)]
    with redirect_stdout(out), redirect_stderr(err):
        assert main(["librechat", "import", "--mongo", mongo_server.uri, *PERIOD, *more]) == 0
    yield err.getvalue()
    store.empty()


@pytest.fixture
def booked(notes: str, client: Client) -> Booked:
    """Returns columns of what was booked of a turn."""

    def calls(message: str, columns: str = "input_tokens, output_tokens") -> list[tuple[Any, ...]]:
        rows = client.query(
            f"SELECT {columns} FROM calls {SOURCE}"
            " AND replaceOne(tags['message_id'], 'title-', '') = {message:String} ORDER BY ALL",
            parameters={"message": message},
        ).result_rows
        return [tuple(row) for row in rows]

    return calls


def test_a_call_that_no_span_tells_of_is_booked_at_our_price(booked: Booked) -> None:
    # 1,200 x 0.25 + 80 x 2 millionths of a dollar; LibreChat charges 6 for either
    assert booked("price", "cost_usd, claimed_cost_usd, cost_status") == [
        (Decimal("0.00046"), Decimal("0.00768"), "priced")
    ]
    assert booked("price", "user_id, conversation_id, endpoint_id, provider_name, tags") == [
        (str(USER), "c1", "openAI", "openai", {"message_id": "price"})
    ]


def test_calls_that_spans_tell_of_are_not_booked(booked: Booked) -> None:
    assert booked("recorded") == []


def test_a_title_is_no_call_of_its_turn(booked: Booked) -> None:
    assert booked("title", "input_tokens, tags") == [
        (300, {"call_kind": "title", "message_id": "title-title"})
    ]


def test_what_spans_lack_of_a_tool_loop_is_booked(booked: Booked) -> None:
    assert booked("loop") == [(2000, 20)]


def test_more_spans_than_librechat_has_calls_leave_nothing_to_book(booked: Booked) -> None:
    assert booked("more-spans") == []


def test_the_cache_is_priced_as_the_provider_bills_it(booked: Booked) -> None:
    # 100 x 3 + 300 x 3.75 + 2,000 x 0.3 + 50 x 15 millionths of a dollar
    assert booked("cache", "provider_name, cache_read_tokens, cache_write_tokens, cost_usd") == [
        ("anthropic", 2000, 300, Decimal("0.002775"))
    ]


@pytest.mark.parametrize(
    ("message", "origin"),
    [
        ("agent", ("my-gateway", "agent_A", "Clerk", "openai")),
        ("message-gone", ("openAI", "", "", "openai")),
        ("all-gone", ("", "", "", "openai")),
        ("assistant", ("assistants", "asst_1", "", "openai")),
    ],
)
def test_endpoint_and_agent_are_those_of_the_turn(
    booked: Booked, message: str, origin: tuple[str, ...]
) -> None:
    assert booked(message, "endpoint_id, agent_id, agent_name, provider_name") == [origin]


def test_a_span_that_knows_the_user_and_not_the_message_is_the_call_of_that_time(
    booked: Booked,
) -> None:
    assert booked("", "conversation_id, input_tokens, output_tokens")[-1:] == [("c5", 912, 282)]
    assert len(booked("")) == 2


def test_a_picture_is_priced_as_one_and_is_of_its_own_provider(booked: Booked) -> None:
    columns = "provider_name, endpoint_id, output_image_tokens, cost_usd, tags"
    # 100 x 0.3 + 1,290 x 30 millionths of a dollar
    assert booked("", columns)[:1] == [
        ("gcp.gemini", "", 1290, Decimal("0.03873"), {"call_kind": "image_generation"})
    ]


def test_an_estimate_is_marked(booked: Booked) -> None:
    assert booked("price", "usage_source") == booked("assistant", "usage_source") == [("provider",)]
    assert booked("uncounted", "input_tokens, usage_source") == [
        (3, "provider"),  # a title: nothing says that it was not counted
        (1200, "estimated"),
    ]
    assert booked("cut", "usage_source") == [("estimated",)]


def test_the_estimate_of_a_turn_that_failed_is_no_call(booked: Booked, notes: str) -> None:
    assert booked("failed") == []
    assert "1 call left out: LibreChat's estimate of a turn that failed" in notes


def test_a_half_alone_is_told_and_not_booked(booked: Booked, notes: str) -> None:
    assert booked("half") == []
    assert "1 document left out: the other half of the call was never written" in notes


def test_documents_in_any_order_and_clocks_apart_change_nothing(booked: Booked) -> None:
    assert booked("clocks") == [(2000, 20)]


def test_tenants_are_those_of_the_documents_unless_they_are_named(
    booked: Booked, notes: str
) -> None:
    assert booked("tenant", "tenant") == [("t1",)]
    assert booked("named-tenant", "tenant") == [("acme",)]
    assert booked("other-tenant") == []
    assert "turns of the tenant 't3' are recorded as those of 'acme'" in notes


def test_documents_that_are_no_calls_are_told_by_what_is_wrong_with_them(
    booked: Booked, notes: str
) -> None:
    assert booked("unreadable") == []
    assert "2 documents left out: rawAmount is no number" in notes
    assert "1 document left out: tokenType is neither prompt nor completion" in notes


def test_odd_fields_and_odd_documents_of_other_collections_cost_no_call(booked: Booked) -> None:
    assert booked("odd", "model_name, endpoint_id, claimed_cost_usd") == [("", "", None)]


def test_imported_calls_are_calls_in_every_total(notes: str, client: Client) -> None:
    totals = "sum({}), sum(input_tokens), sum(cost_usd), sum(unpriced_calls)"
    of_ledger = client.query(f"SELECT {totals.format('sign')} FROM llm_calls").result_rows
    of_rollup = client.query(f"SELECT {totals.format('calls')} FROM usage_by_user").result_rows
    count = client.command("SELECT count() FROM calls")

    assert of_rollup == of_ledger
    assert of_ledger[0][0] == count
    assert of_ledger[0][3] == 2


def test_the_day_is_kept_with_what_became_of_its_calls(notes: str, client: Client) -> None:
    ((calls, recorded, imported, left_out),) = client.query(
        "SELECT calls, recorded, imported, left_out FROM librechat_days FINAL"
    ).result_rows
    count = client.command(f"SELECT count() FROM calls {SOURCE}")

    assert imported == count
    # left out: the estimate of a failed turn, and the half without its other half
    assert calls - recorded - imported == 1
    assert left_out == 1 + 1
    of_view = client.query(
        "SELECT sum(reported_requests), sum(recorded_calls), sum(imported_cost_usd) FROM imports"
    ).result_rows
    cost = client.command(f"SELECT sum(cost_usd) FROM calls {SOURCE}")
    assert of_view == [(calls, recorded, Decimal(str(cost)))]


def test_a_second_run_books_nothing(
    booked: Booked, store: SharedStore, client: Client, mongo_server: LibreChat
) -> None:
    entries = "SELECT count() FROM llm_calls"
    before = client.command(entries)
    more = ["--names", "t2=acme", "--data-dir", str(store.data_dir)]
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        assert main(["librechat", "import", "--mongo", mongo_server.uri, *PERIOD, *more]) == 0

    assert client.command(entries) == before
