"""What real packages said of one recorded call, put together as one application has them.

Up to four of them and an agent around, inside each other or side by side, in any order, over any
batches and restarts: one net charge, with the recording's tokens and the agent's user.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallyspan import semconv
from tallyspan_collector.demo.recordings import load
from tallyspan_collector.dialects import Kind, Reader
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.read.call import Call
from tallyspan_collector.read.otlp import Span
from tallyspan_collector.resolution.resolver import Resolver

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
START = 1_790_000_000_000_000_000
MS = 1_000_000
TRACE = "0af7651916cd43dd8448eb211c80319c"
ESTIMATE = 17
RECORDINGS = {each.id: each.expected for each in load()}
IN_THE_PROCESS = (
    "anthropic", "genai_openai", "genai_anthropic", "openllmetry_openai", "openllmetry_anthropic",
    "openinference_openai", "openinference_anthropic", "openlit_openai", "openlit_anthropic",
    "langfuse_openai", "litellm_v2", "pydantic_ai_openai", "pydantic_ai_anthropic", "openai_v2_latest",
)  # fmt: skip
"""Who can tell of a call that another of them makes."""
NOT_AROUND = ("openllmetry", "langfuse", "litellm")
"""Whose spans are not the current ones while the call is made: another's may lie beside them."""
INWARDS = ("pydantic_ai", "langfuse", "litellm", "_", "anthropic", "tallyspan")
"""Parts of names: frameworks and wrappers of clients are around the others."""
OVERCOUNTS = {"openllmetry_anthropic/messages_stream"}
"""See STATED_OTHERWISE in test_conformance.py."""
SAYS_NOTHING = {"openlit_anthropic/messages_error"}


def captured() -> dict[str, dict[str, list[Span]]]:
    """Return case and recording -> emitter -> its spans of the call."""
    found: dict[str, dict[str, list[Span]]] = defaultdict(dict)
    for folder in IN_THE_PROCESS:
        for case in (HERE / folder).glob("*.json"):
            said = json.loads(case.read_text())
            name = f"{folder}/{case.stem}"
            if case.stem.endswith(("_script", "_with_native")) or name in SAYS_NOTHING:
                continue
            kind = case.stem.rpartition("_")[2]
            spans = [Span(**span) for span in said["spans"]]
            if folder.endswith("_anthropic"):  # captured with the SDK's own spans beside them
                spans = [each for each in spans if "com.anthropic" not in each.scope_name]
            if spans:
                found[f"{kind} {said['recording']}"][folder] = spans
    return {case: emitters for case, emitters in found.items() if len(emitters) > 1}


READER = Reader()
CASES = captured()


def ours(case: str) -> list[Span]:
    """Return the span of our instrumentation; an answer that was left early is estimated."""
    kind, _, recording = case.partition(" ")
    said = RECORDINGS[recording]
    attributes: dict[str, Any] = {
        semconv.OPERATION: said["operation"], semconv.PROVIDER: said["provider"],
        semconv.REQUEST_MODEL: said.get("request_model") or said["model"],
        semconv.USAGE_SOURCE: {"error": "unknown", "aborted": "estimated"}.get(kind, "provider"),
    }  # fmt: skip
    if "model" in said and kind != "error":
        attributes |= {semconv.RESPONSE_MODEL: said["model"]}
    if "response_id" in said:
        attributes[semconv.RESPONSE_ID] = said["response_id"]
    if kind != "error":
        attributes["gen_ai.usage.input_tokens"] = said["input_tokens"]
        output = ESTIMATE if kind == "aborted" else said.get("output_tokens")
        attributes |= {} if output is None else {"gen_ai.usage.output_tokens": output}
    else:
        attributes[semconv.ERROR_TYPE] = str(said["status"])
    return [
        Span(
            trace_id=TRACE, span_id="0" * 15 + "1", parent_span_id="", start_time_ns=START,
            end_time_ns=START, is_error=kind == "error", attributes=attributes,
            resource={"service.name": "capture"}, scope_name="tallyspan", name="chat", kind=3,
        )
    ]  # fmt: skip


AGENT = Span(
    trace_id=TRACE, span_id="a" * 16, parent_span_id="", start_time_ns=START,
    end_time_ns=START + 100 * MS, is_error=False,
    attributes={"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "support",
                "user.id": "ada", "gen_ai.usage.input_tokens": 99_999,
                "gen_ai.usage.output_tokens": 9_999, "gen_ai.request.model": "gpt-5"},
    resource={"service.name": "capture"}, scope_name="pydantic-ai", name="agent", kind=1,
)  # fmt: skip


def stacked(layers: Sequence[tuple[list[Span], bool]]) -> list[Span]:
    """Return the layers in one trace, each inside the call of the one before, or beside it."""
    made, around, outer = [AGENT], AGENT.span_id, AGENT.span_id
    for depth, (spans, is_beside) in enumerate(layers, 1):
        around = outer if is_beside else around
        own = {span.span_id for span in spans}
        rename = {span_id: f"{depth:04x}{span_id[4:]}" for span_id in own}
        calls = [span for span in spans if READER.read(span).kind is Kind.CALL]
        for span in spans:
            inset = 4 * depth - (0 if span in calls else 2)
            made.append(
                replace(
                    span, trace_id=TRACE, span_id=rename[span.span_id],
                    parent_span_id=rename.get(span.parent_span_id, around),
                    start_time_ns=START + inset * MS, end_time_ns=START + (100 - inset) * MS,
                )
            )  # fmt: skip
        outer, around = rename.get(calls[0].parent_span_id, around), rename[calls[0].span_id]
    return made


def net(batches: Sequence[Sequence[Span]], *, is_restarted: bool) -> list[Call]:
    """Return what stands in the ledger; a restart forgets all but what the file has."""
    standing: list[Call] = []
    with closing(sqlite3.connect(":memory:")) as file:
        resolver = Resolver(file)
        for batch in batches:
            if is_restarted:
                resolver = Resolver(file)
            made = resolver.resolve([READER.read(span) for span in batch])
            resolver.commit(made, [Cost() for _ in made.calls])
            for booked in made.reversals:
                standing.remove(booked.call)
            standing += made.calls
    return standing


@pytest.mark.parametrize("case", CASES)
@given(data=st.data())
@settings(max_examples=60)
def test_one_call_told_of_by_any_real_packages_is_one_charge(
    case: str, data: st.DataObject
) -> None:
    told: dict[str, list[Span]] = {**CASES[case], "tallyspan": ours(case)}
    chosen = data.draw(st.lists(st.sampled_from(sorted(told)), min_size=1, max_size=4, unique=True))
    if "litellm_v2" in chosen:  # it calls Anthropic without the SDK that this one watches
        chosen = [each for each in chosen if each != "openllmetry_anthropic"]
    chosen.sort(key=lambda each: [name in each for name in INWARDS].index(True))
    may_be = [before.startswith(NOT_AROUND) for before in ["", *chosen]]
    spans = stacked(
        [
            (told[name], can and data.draw(st.booleans()))
            for name, can in zip(chosen, may_be, strict=False)
        ]
    )
    order = [spans[at] for at in data.draw(st.permutations(range(len(spans))))]
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(order) - 1)), max_size=3)))
    edges = [0, *cuts, len(order)]
    charged = net(
        [order[a:b] for a, b in pairwise(edges) if a < b],
        is_restarted=data.draw(st.booleans()),
    )

    (call,) = charged
    assert call.user_id == "ada"
    assert call.is_error == case.startswith("error")
    assert call.agent_name
    kind, _, recording = case.partition(" ")
    said = RECORDINGS[recording]
    counts = call.usage.input_tokens, call.usage.output_tokens or None
    if kind == "error":
        assert counts == (None, None)
    elif kind == "aborted":
        if "tallyspan" in chosen:
            assert counts == (said["input_tokens"], ESTIMATE)
            assert call.usage_source == "estimated"
        else:
            assert counts in {(None, None), (said["input_tokens"], None)}
    elif not all(f"{name}/{kind}" in _OVERCOUNTING for name in chosen):
        assert counts == (said["input_tokens"], said.get("output_tokens"))


_OVERCOUNTING = {name.replace("/messages_", "/") for name in OVERCOUNTS}


def test_the_matrix_has_streams_aborted_and_failed_calls_and_embeddings() -> None:
    kinds = {case.partition(" ")[0] for case in CASES}

    assert kinds >= {"plain", "stream", "aborted", "error", "cached", "reasoning"}
    assert any("embed" in case for case in CASES)
    assert max(len(emitters) for emitters in CASES.values()) >= 4
