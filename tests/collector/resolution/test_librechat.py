"""LibreChat's titles are of their turn; a call that a user aborted is one call however it is told of."""

import itertools
import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from net_ledger import NetLedger
from tallyspan_collector.read.call import ABORTED, Call
from tallyspan_collector.read.otlp import Span

OM, TM = "langfuse.observation.metadata.", "langfuse.trace.metadata."
START = 1_790_000_000_000_000_000
MS = 1_000_000
TURN, TITLE = "m-1", "title-m-1"


def trace_of(message: str) -> str:
    return sha256(message.encode()).hexdigest()[:32]


def generation(number: int, message: str, at: tuple[int, int], more: dict[str, Any]) -> Span:
    said = {
        "langfuse.observation.type": "generation",
        "langfuse.observation.model.name": "gpt-5-mini",
        "langfuse.observation.usage_details": json.dumps({"input": 20, "output": 3}),
        f"{OM}ls_provider": "openai",
        f"{OM}ls_model_name": "gpt-5-mini",
        f"{TM}messageId": message,
        "user.id": "ada",
        "session.id": "c-7",
        **more,
    }
    kept = {key: value for key, value in said.items() if value is not None}
    return Span(
        trace_of(message), f"{number:016x}", "f" * 16, START + at[0] * MS, START + at[1] * MS,
        is_error=False, attributes=kept, resource={}, scope_name="langfuse-sdk", name="llm", kind=1,
    )  # fmt: skip


def turn(number: int, agent: str, name: str, at: int, endpoint: str = "anthropic") -> Span:
    who = {f"{OM}agentId": agent, f"{OM}agentName": name, f"{OM}endpoint": endpoint}
    return generation(number, TURN, (at, at + 90), who)


def title(name: str, trace: str = TITLE) -> Span:
    tags = {"langfuse.trace.tags": ["librechat", "title"], f"{TM}agentName": name}
    return generation(9, trace, (100, 190), tags)


SAVED = [turn(1, "agent_abc", "Support", 0), turn(2, "agent_xyz", "Writer", 95)]
INVENTED = [turn(1, "openAI__gpt-5-mini", "Mini", 0)]


@pytest.fixture
def ledger(tmp_path: Path) -> NetLedger:
    return NetLedger(tmp_path / "traces.sqlite")


def the_title(ledger: NetLedger) -> Call:
    (call,) = (each for each in ledger.net if each.tags.get("call_kind") == "title")
    return call


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("batches", [1, 3], ids=["one batch", "a batch each, and restarts"])
def test_a_title_is_of_the_agent_that_its_turn_began_with_in_whatever_order_they_come(
    ledger: NetLedger, order: Sequence[int], batches: int
) -> None:
    spans = [[*SAVED, title("Support")][place] for place in order]
    for batch in [spans] if batches == 1 else [[span] for span in spans]:
        ledger.book(batch)
        ledger.restart()
    call = the_title(ledger)

    assert len(ledger.net) == 3
    assert (call.agent_id, call.agent_name, call.endpoint_id) == (
        "agent_abc", "Support", "anthropic",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["openAI__gpt-5-mini", "Mini"])
def test_a_title_of_a_turn_without_an_agent_has_none(ledger: NetLedger, name: str) -> None:
    ledger.book([title(name)])
    ledger.book(INVENTED)
    call = the_title(ledger)

    assert (call.agent_id, call.agent_name, call.endpoint_id) == ("", "", "openAI")


def test_a_title_whose_turn_never_comes_keeps_what_it_says(ledger: NetLedger) -> None:
    ledger.book([title("Support")])
    call = the_title(ledger)

    assert (call.agent_id, call.agent_name, call.endpoint_id) == ("", "Support", "")


def test_a_title_of_versions_that_number_traces_otherwise_stays_apart(ledger: NetLedger) -> None:
    of_older = Span(**{name: getattr(title("Support"), name) for name in Span.__slots__})
    of_older.trace_id = "7" * 32
    ledger.book([of_older, *SAVED])

    assert the_title(ledger).agent_id == ""
    assert the_title(ledger).trace_id == "7" * 32


def aborted(number: int, at: tuple[int, int], model: str = "gpt-5-mini") -> Span:
    said = {
        "langfuse.observation.usage_details": None,
        "langfuse.observation.level": "ERROR",
        "langfuse.observation.status_message": "Error: AbortError: User aborted the request.",
        f"{OM}ls_model_name": model,
        f"{OM}endpoint": "openAI",
        f"{OM}agentId": "agent_abc",
    }
    return generation(number, TURN, at, said)


def counted(number: int, at: tuple[int, int], user: str = "ada", model: str = "gpt-5-mini") -> Span:
    """What an instrumentation that counts reports of the call, in a trace of its own."""
    return Span(
        f"{number:032x}", f"{number:016x}", "", START + at[0] * MS, START + at[1] * MS,
        is_error=True,
        attributes={
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
            "gen_ai.request.model": model, "server.address": "api.openai.com", "user.id": user,
            "gen_ai.usage.input_tokens": 30, "gen_ai.usage.output_tokens": 7,
            "tallyspan.usage.source": "estimated", "error.type": ABORTED,
        },
        resource={"service.name": "librechat"}, scope_name="tallyspan", name="chat", kind=3,
    )  # fmt: skip


@pytest.mark.parametrize("is_counted_first", [True, False])
@pytest.mark.parametrize("batches", [1, 2])
def test_what_a_user_aborted_is_one_call_with_the_tokens_of_who_counted_them(
    ledger: NetLedger, is_counted_first: bool, batches: int
) -> None:
    spans = [aborted(1, (0, 900)), counted(7, (10, 890))]
    spans = spans[::-1] if is_counted_first else spans
    for batch in [spans] if batches == 1 else [[span] for span in spans]:
        ledger.book(batch)
        ledger.restart()
    (call,) = ledger.net

    assert (call.usage.input_tokens, call.usage.output_tokens) == (30, 7)
    assert (call.usage_source, call.error_type) == ("estimated", ABORTED)
    assert (call.user_id, call.conversation_id, call.agent_id) == ("ada", "c-7", "agent_abc")
    assert call.endpoint_id == "openAI"
    assert call.tags["message_id"] == TURN


@pytest.mark.parametrize(
    "other",
    [
        counted(7, (10, 890), user="bob"),
        counted(7, (10, 890), model="gpt-4.1"),
        counted(7, (2_010, 2_890)),
    ],
    ids=["another user", "another model", "another time"],
)
def test_what_another_aborted_is_another_call(ledger: NetLedger, other: Span) -> None:
    ledger.book([aborted(1, (0, 900)), other])

    assert len(ledger.net) == 2


def test_of_two_agents_whose_run_is_aborted_each_gets_its_own_counts(ledger: NetLedger) -> None:
    ledger.book([aborted(1, (0, 900)), aborted(2, (400, 900))])
    ledger.book([counted(7, (410, 890)), counted(8, (10, 890))])

    assert [(call.span_id[-1], call.start_time_ns - START) for call in ledger.net] == [
        ("8", 10 * MS), ("7", 410 * MS),
    ]  # fmt: skip


def test_a_turn_without_an_agent_takes_none_from_an_earlier_one_of_the_same_message(
    ledger: NetLedger,
) -> None:
    """The message was first answered by an agent, then generated anew by a model alone."""
    agent = {"langfuse.observation.type": "agent", f"{OM}agentId": "agent_abc"}
    ledger.book([SAVED[0], generation(20, TURN, (0, 95), agent)])
    ledger.book([turn(3, "openAI__gpt-5-mini", "Mini", 500)])

    assert [call.agent_id for call in ledger.net] == ["agent_abc", ""]
