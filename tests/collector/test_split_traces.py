"""Spans of one trace come to two collectors: charged as if they had come to one."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from otlp_spans import CHAT, pairs
from running import Running, running_collector
from shared_store import SharedStore
from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.schema import ROLLUPS
from tallyspan_collector.access import keys
from tallyspan_collector.server import worker
from tallyspan_collector.server.several import Several
from waiting import wait_for

# Now: the ledger keeps the ids of answers for 40 days.
START_NS = time.time_ns() - 3_600 * 10**9
TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
OURS, OTHERS = "tallyspan", "opentelemetry.instrumentation.openai"
ANONYMOUS = {name: value for name, value in CHAT.items() if name != "user.id"}
AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "support", "user.id": "eve"}


class Report(NamedTuple):
    """A span: the number in its id, its scope, attributes, the parent's number (0: none)."""

    number: int
    scope: str
    attributes: dict[str, Any]
    parent: int = 0
    trace: int = 1


def answer(name: str) -> dict[str, str]:
    return {"gen_ai.response.id": f"chatcmpl-Bx7Qd{name}9wKfTz4LmV"}


SPLIT: dict[str, tuple[Sequence[Report], Sequence[Report]]] = {
    "one inside the other": (
        [Report(1, OTHERS, CHAT)],
        [Report(2, OURS, ANONYMOUS, parent=1)],
    ),
    "beside each other with one answer id": (
        [Report(1, OTHERS, ANONYMOUS | answer("a"), parent=9)],
        [Report(2, OURS, CHAT | answer("a"), parent=9)],
    ),
    "with one answer id in traces of their own": (
        [Report(1, OTHERS, CHAT | answer("b"))],
        [Report(2, OURS, ANONYMOUS | answer("b"), trace=2)],
    ),
    "beside each other with the same counts": (
        [Report(1, OTHERS, CHAT, parent=9)],
        [Report(2, OURS, ANONYMOUS, parent=9)],
    ),
    "a call, and the agent around it that names the user": (
        [Report(1, OURS, ANONYMOUS, parent=2)],
        [Report(2, OTHERS, AGENT)],
    ),
    "all of it sent to both": (
        [Report(1, OTHERS, AGENT | {"user.id": "ada"}), Report(2, OURS, ANONYMOUS, parent=1)],
        [Report(1, OTHERS, AGENT | {"user.id": "ada"}), Report(2, OURS, ANONYMOUS, parent=1)],
    ),
}
"""How a call may come to two collectors -> what the first gets, and what the second."""
TWO_CALLS: dict[str, tuple[Sequence[Report], Sequence[Report]]] = {
    "two answers, alike in everything else": (
        [Report(1, OURS, CHAT | answer("c"), parent=9)],
        [Report(2, OURS, CHAT | answer("d"), parent=9)],
    ),
    "two calls of one emitter without any id": (
        [Report(1, OURS, CHAT, parent=9)],
        [Report(2, OURS, CHAT, parent=9)],
    ),
}


CASES = [
    (name, SPLIT | TWO_CALLS, order) for name in (*SPLIT, *TWO_CALLS) for order in ((0, 1), (1, 0))
]
PRICE = Decimal("0.00045")
"""Of 1000 tokens at $0.25 and 100 at $2 a million."""


def scopes(reports: Sequence[Report], case: int) -> Iterator[ScopeSpans]:
    """Yield the spans of a case; ids are its own, and a report is within those before it."""
    for each in reports:
        attributes = dict(each.attributes)
        if "gen_ai.response.id" in attributes:
            attributes["gen_ai.response.id"] += f"case{case}"
        span = Span(
            trace_id=(1000 * case + each.trace).to_bytes(16),
            span_id=(1000 * case + each.number).to_bytes(8),
            parent_span_id=(1000 * case + each.parent).to_bytes(8) if each.parent else b"",
            name="chat",
            start_time_unix_nano=START_NS + case * 10**9 + 10 * each.number,
            end_time_unix_nano=START_NS + case * 10**9 + 5_000_000 - 10 * each.number,
            attributes=pairs(attributes),
        )
        yield ScopeSpans(scope=InstrumentationScope(name=each.scope), spans=[span])


def request(of_cases: Mapping[int, Sequence[Report]]) -> bytes:
    resource = Resource(attributes=pairs({"service.name": "shop"}))
    spans = [each for case, reports in of_cases.items() for each in scopes(reports, case)]
    resource_spans = [ResourceSpans(resource=resource, scope_spans=spans)]
    return ExportTraceServiceRequest(resource_spans=resource_spans).SerializeToString()


def requests() -> list[bytes]:
    """Return what each of the collectors gets of all cases."""
    return [
        request(
            {case: kinds[name][order[number]] for case, (name, kinds, order) in enumerate(CASES, 1)}
        )
        for number in (0, 1)
    ]


def wanted() -> dict[int, list[tuple[Any, ...]]]:
    """Return user, input tokens and cost of each call of each case."""
    return {
        case: [("eve" if "names the user" in name else "ada", 1000, PRICE)]
        * (1 if name in SPLIT else 2)
        for case, (name, *_) in enumerate(CASES, 1)
    }


def charged(collector: Running, source: str = "") -> dict[int, list[tuple[Any, ...]]]:
    """Return the same as the ledger has it of a key; empty: without keys."""
    calls: dict[int, list[tuple[Any, ...]]] = {}
    sql = (
        "SELECT toString(trace_id), user_id, sum(input_tokens), sum(cost_usd) FROM llm_calls"
        " WHERE source = {source:String} GROUP BY trace_id, span_id, user_id"
        " HAVING sum(sign) = 1 ORDER BY ALL"
    )
    parameters = {"source": source}
    for trace_id, *call in collector.client.query(sql, parameters=parameters).result_rows:
        calls.setdefault(int(trace_id, 16) // 1000, []).append(tuple(call))
    return calls


def send(collector: Running, body: bytes, token: str = "") -> None:
    metadata = [("authorization", f"Bearer {token}")] if token else None
    with grpc.insecure_channel(collector.ready.otlp_grpc) as channel:
        channel.unary_unary(TRACES)(body, timeout=20, metadata=metadata)
    collector.settle()


def test_what_came_to_two_collectors_is_charged_as_if_to_one(
    tmp_path: Path, empty_store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LOOK_SECONDS", 0.1)
    with ExitStack() as stack:
        two = [
            stack.enter_context(running_collector(tmp_path / name, store=empty_store.url))
            for name in ("one", "other")
        ]
        for collector, body in zip(two, requests(), strict=True):
            send(collector, body)
        wait_for(lambda: charged(two[0]) == wanted(), "one charge a call")
        total = sum(len(each) for each in wanted().values())
        for each in ROLLUPS:
            sums = f"SELECT sum(calls), sum(input_tokens) FROM {each.view}"
            assert [*two[0].client.query(sums).result_rows[0]] == [total, 1000 * total], each.view
        corrections = "tallyspan_split_trace_corrections_total"
        assert sum(each.metric(corrections) for each in two) > 0


def test_after_both_were_away_it_is_the_same_and_another_key_takes_nothing_back(
    tmp_path: Path, empty_store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_looks = Several.look
    monkeypatch.setattr(Several, "look", lambda _: None)
    monkeypatch.setattr(worker, "LOOK_SECONDS", 0.1)
    tokens = {}
    with closing(connect(empty_store.url)) as client:
        for name in ("shop", "a-hostile-one"):
            key, tokens[name] = keys.make("ingest", name, tenant="acme")
            keys.store(client, key)
    folders = tmp_path / "one", tmp_path / "other"
    bodies = requests()
    for number, folder in enumerate(folders):
        with running_collector(folder, store=empty_store.url) as collector:
            send(collector, bodies[number], tokens["shop"])
            for body in bodies:
                send(collector, of_one_token(body), tokens["a-hostile-one"])

    monkeypatch.setattr(Several, "look", with_looks)
    with ExitStack() as stack:
        two = [
            stack.enter_context(running_collector(folder, store=empty_store.url))
            for folder in folders
        ]
        wait_for(lambda: charged(two[0], "shop") == wanted(), "one charge a call")


def of_one_token(body: bytes) -> bytes:
    """Return the request with the same spans, as calls of one token that are for nobody."""
    sent = ExportTraceServiceRequest.FromString(body)
    for scope in sent.resource_spans[0].scope_spans:
        for span in scope.spans:
            kept = [each for each in span.attributes if each.key != "user.id"]
            for each in kept:
                if each.key.startswith("gen_ai.usage"):
                    each.value.int_value = 1
            del span.attributes[:]
            span.attributes.extend(kept)
    return sent.SerializeToString()
