"""Coding agents tell of a call in a log record, a span or both: one net charge, whatever comes when."""

import itertools
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallyspan_collector.dialects import Reader, Reading
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.read.call import Call
from tallyspan_collector.read.otlp import Span
from tallyspan_collector.resolution import resolver
from tallyspan_collector.resolution.node import LAYOUT, Trace
from tallyspan_collector.resolution.resolver import Resolver

pytestmark = pytest.mark.slow

START = 1_790_000_000_000_000_000
MS = 1_000_000
COUNTS = [(8, 1, 0), (1007, 59, 0), (3, 33, 1111)]
"""Agents ask the same little question again and again: counts alone name no call."""


def item(number: int, scope: str, said: dict[str, Any], at: tuple[int, int], parent: int) -> Span:
    return Span(
        trace_id=f"{parent or number:032x}", span_id=f"{number:016x}",
        parent_span_id=f"{parent:016x}" if parent else "", start_time_ns=START + at[0] * MS,
        end_time_ns=START + at[1] * MS, is_error=False, attributes=said,
        resource={"service.name": "agent"}, scope_name=scope, name="", kind=1,
    )  # fmt: skip


def claude(number: int, session: str, counts: tuple[int, int, int], at: int) -> list[Reading]:
    """The log record and the span of one call; many calls have one trace."""
    given_, made, cached = counts
    said = {"session.id": session, "input_tokens": given_, "output_tokens": made,
            "cache_read_tokens": cached, "cache_creation_tokens": 0}  # fmt: skip
    log = {**said, "event.name": "api_request", "model": "claude-sonnet-4-6", "duration_ms": 40}
    span = {**said, "span.type": "llm_request", "model": "sonnet", "gen_ai.system": "anthropic"}
    scope, reader = "com.anthropic.claude_code", Reader()
    return [
        reader.read_log(item(10_000 + number, f"{scope}.events", log, (at + 50, at + 50), 0)),
        reader.read(item(20_000 + number, f"{scope}.tracing", span, (at, at + 45), 7)),
    ]


def codex(number: int, session: str, counts: tuple[int, int, int], at: int) -> list[Reading]:
    """The log record, and the span of the answer within the turn that knows the model."""
    given_, made, cached = counts
    given_ += cached
    log = {"event.name": "codex.sse_event", "event.kind": "response.completed",
           "conversation.id": session, "model": "gpt-5.2", "input_token_count": str(given_),
           "output_token_count": str(made), "cached_token_count": str(cached)}  # fmt: skip
    span = {"gen_ai.usage.input_tokens": given_, "gen_ai.usage.output_tokens": made,
            "gen_ai.usage.cache_read.input_tokens": cached}  # fmt: skip
    turn = {"model": "gpt-5.2", "thread.id": session}
    reader, parent = Reader(), 30_000 + number
    records = item(10_000 + number, "codex_otel.log_only", log, (at + 40, at + 40), 0)
    answer = item(20_000 + number, "codex_exec", span, (at + 45, at + 50), parent)
    around = item(parent, "codex_exec", turn, (at, at + 60), 0)
    answer.name, around.name = "handle_responses", "session_task.turn"
    return [reader.read_log(records), reader.read(answer), reader.read(around)]


def net(path: Path, batches: list[list[Reading]], restarts: list[bool]) -> list[Call]:
    standing: list[Call] = []
    file = sqlite3.connect(path)
    one = Resolver(file)
    for number, batch in enumerate(batches):
        made = one.resolve(batch)
        one.commit(made, [Cost() for _ in made.calls])
        file.commit()
        for booked in made.reversals:
            standing.remove(booked.call)
        standing += made.calls
        if restarts[number % len(restarts)]:
            file.close()
            file = sqlite3.connect(path)
            one = Resolver(file)
    with closing(file):
        return standing


@pytest.mark.parametrize("agent", [claude, codex])
@given(data=st.data())
@settings(deadline=None)
def test_a_call_in_a_log_in_a_span_or_in_both_is_charged_once(
    tmp_path_factory: pytest.TempPathFactory, agent: Any, data: st.DataObject
) -> None:
    calls = data.draw(
        st.lists(
            st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(COUNTS), st.sampled_from("lsb")),
            min_size=1, max_size=6,
        )
    )  # fmt: skip
    items: list[Reading] = []
    for number, (session, counts, told_in) in enumerate(calls, 1):
        log, *spans = agent(number, session, counts, number * 1_000)
        items += [log] * (told_in in "lb") + spans * (told_in in "sb")
    order = data.draw(st.permutations(items))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(order)), max_size=4)))
    edges = [0, *cuts, len(order)]
    batches = [order[a:b] for a, b in itertools.pairwise(edges) if a < b]
    path = tmp_path_factory.mktemp("index") / "traces.sqlite"
    charged = net(path, batches, data.draw(st.lists(st.booleans(), min_size=1, max_size=3)))

    def told(call: Call) -> tuple[int | None, int | None, int | None]:
        usage = call.usage
        return usage.input_tokens, usage.output_tokens, usage.cache_read_tokens

    expected = [(given_ + cached, made, cached) for _, (given_, made, cached), _ in calls]
    assert sorted(map(told, charged), key=str) == sorted(expected, key=str)
    assert sorted(call.conversation_id for call in charged) == sorted(each[0] for each in calls)
    assert all(call.model_name and call.provider_name for call in charged)


def test_a_request_that_failed_is_no_call_of_its_span() -> None:
    said = {"span.type": "llm_request", "model": "claude-sonnet-4-6", "success": False}
    reading = Reader().read(item(1, "com.anthropic.claude_code.tracing", said, (0, 9), 0))

    assert reading.kind == "wrapper"


def test_very_many_equal_records_of_a_conversation_do_not_make_one_endless_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would cost as much as all before it; beyond the limit they are charged one by one."""
    monkeypatch.setattr(resolver, "MAX_AGENT_NODES", 8)
    records = [claude(number, "a", COUNTS[0], number * 1_000)[0] for number in range(1, 101)]
    path = tmp_path / "traces.sqlite"
    charged = net(path, [records[at : at + 10] for at in range(0, 100, 10)], [False])

    with closing(sqlite3.connect(path)) as file:
        sizes = [
            len(Trace.load(state, LAYOUT).nodes)
            for turn in (0, 1)
            for (state,) in file.execute(f"SELECT state FROM traces_{turn}")
        ]
    assert (len(charged), max(sizes)) == (100, 8)
