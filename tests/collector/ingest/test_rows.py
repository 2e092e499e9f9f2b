"""Calls that are booked as rows of a table: the same ledger as when each span is read by itself."""

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lz4.block
import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from captured_requests import captured_requests, inside_another
from cases import cases
from otlp_spans import CHAT, START_NS, pairs
from tallyspan_collector.access.keys import Key, Keys
from tallyspan_collector.columns import shapes as limits
from tallyspan_collector.columns.part import Part
from tallyspan_collector.columns.reader import PYTHON, SpanReader, compiled
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.ingest.journal import Journal
from tallyspan_collector.ingest.loader import Loader
from tallyspan_collector.ingest.spool import TRACES, Spool, SpooledRequest
from tallyspan_collector.metrics.counters import Metrics
from tallyspan_collector.pricing.book import PriceBook

LEDGER = "ledger_without_rollups"
RECEIVED_MS = START_NS // 1_000_000 + 60_000
BOOK = PriceBook()
KEYS = [
    Key("1", "ingest", "shop", "digest-1", tenant="acme", department="sales"),
    Key("2", "ingest", "gateway", "digest-2", tenant="acme"),
    Key("3", "ingest", "other", "digest-3", tenant="rival"),
]


class AllLeave:
    """A decoder that takes nothing: each span is read by itself."""

    def __init__(self, _: object) -> None:
        self.refused: Counter[str] = Counter()
        self.not_calls = self.rows = 0

    def add(self, body: bytes, request: int) -> list[bytes]:
        return [body]

    def take(self) -> list[Part]:
        return []


ALONE = PYTHON._replace(name="alone", decoder=AllLeave)
READERS = [PYTHON, *([each] if isinstance(each := compiled(), SpanReader) else [])]


class Collector:
    """What the collector does behind the acknowledgement, one batch at a time."""

    def __init__(self, folder: Path, client: Client, reader: SpanReader) -> None:
        folder.mkdir(parents=True)
        self.client = client
        self.spool = Spool(folder / "0.sqlite", 1 << 30)
        self.journal = Journal(folder / "journal.sqlite")
        # agents that wait must be charged by neither of two collectors, or at one moment
        self.journal._resolver._quiet_ms = 86_400_000
        keys = Keys(KEYS)
        self.loader = Loader(
            client, self.spool, self.journal, BOOK, keys, Metrics(), Directory(), reader
        )
        self.requests = 0

    def book(self, bodies: Iterable[tuple[str, bytes]]) -> None:
        """Book requests, each after the id of its ingest key, as one batch."""
        held = []
        for source, body in bodies:
            self.requests += 1
            packed = lz4.block.compress(body)
            request = SpooledRequest(self.requests, RECEIVED_MS, TRACES, source, packed)
            readings = self.loader._read(request)
            assert readings is not None
            held.append((request, readings))
        self.loader._rows = self.loader._reader.take()
        self.loader._plan(held)
        while not self.loader._batches.empty():
            batch = self.loader._batches.get()
            assert batch is not None
            self.client.raw_insert(
                LEDGER, batch.columns, batch.payload, fmt="Native", compression="lz4"
            )

    def close(self) -> None:
        self.journal.close()
        self.spool.close()

    def ledger(self) -> Counter[tuple[Any, ...]]:
        """Return the entries in the store, and empty it."""
        rows = self.client.query(f"SELECT * EXCEPT (batch_id, ingested_at) FROM {LEDGER}")
        self.client.command(f"TRUNCATE TABLE {LEDGER}")
        return Counter(
            tuple(f"{name} {value!r}" for name, value in zip(rows.column_names, row, strict=True))
            for row in rows.result_rows
        )


def assert_equal(both: Sequence[Collector], batches: Sequence[Sequence[tuple[str, bytes]]]) -> None:
    ledgers = []
    for each in both:
        for batch in batches:
            each.book(batch)
        ledgers.append(each.ledger())
    one, other = ledgers
    lines = _differences([*(one - other).elements()], [*(other - one).elements()])
    assert not lines, "\n".join(lines)


def _differences(one: list[Any], other: list[Any]) -> list[str]:
    """Return what entries of two ledgers differ in, so that a failure can be read."""
    lines = [f"{len(one)} and {len(other)} entries"] if len(one) != len(other) else []
    for row, theirs in zip(sorted(one), sorted(other), strict=False):
        spans = [each for each in (*row, *theirs) if each.startswith(("trace_id", "span_id"))]
        pairs_of = [f"{a} is not {b}" for a, b in zip(row, theirs, strict=True) if a != b]
        lines.append(f"{spans}: {pairs_of}")
    return lines


def request(*spans: tuple[str, Span], service: str = "shop") -> bytes:
    return ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(
                resource=Resource(attributes=pairs({"service.name": service})),
                scope_spans=[
                    ScopeSpans(scope=InstrumentationScope(name=scope), spans=[span])
                    for scope, span in spans
                ],
            )
        ]
    ).SerializeToString()


MODELS = ["gpt-5-mini", "gpt-5", "no-such-model"]
SCOPES = ["", "opentelemetry.instrumentation.openai_v2", "tallyspan"]


@st.composite
def spans(draw: Any) -> tuple[str, Span]:
    number, parent = draw(st.integers(1, 6)), draw(st.sampled_from([0, 0, 1, 2, 7]))
    start = START_NS + draw(st.integers(0, 3)) * 1_000_000
    attributes: dict[str, Any] = {
        **CHAT,
        "gen_ai.request.model": draw(st.sampled_from(MODELS)),
        "gen_ai.usage.input_tokens": draw(st.sampled_from([10, 1000])),
    }
    choices: dict[str, list[Any]] = {
        "gen_ai.response.id": ["chatcmpl-ab12cd34ef56gh78", "chatcmpl-zz98yy76xx54ww32"],
        "gen_ai.operation.name": ["chat", "embeddings", "invoke_agent", "execute_tool"],
        "gen_ai.agent.name": ["router", "writer"],
        "gen_ai.conversation.id": ["c-1", "c-2"],
        "tallyspan.department": ["Sales", "Support"],
        "gen_ai.usage.cache_read.input_tokens": [5, 800],
        "user.id": ["ada", "bob"],
        "tallyspan.tag.team": ["blue", ""],
        "error.type": ["500", "TimeoutError"],
        "gen_ai.response.model": ["gpt-5-2025-08-07"],
        "tallyspan.meter.web_search": [2],
        "gen_ai.response.time_to_first_chunk": [0.25],
        "gen_ai.response.finish_reasons": [["stop"], ["length"]],
    }
    for key, values in choices.items():
        choice = draw(st.sampled_from([None, None, *values]))
        if choice is not None:
            attributes[key] = choice
    span = Span(
        trace_id=draw(st.integers(1, 4)).to_bytes(16),
        span_id=number.to_bytes(8),
        parent_span_id=parent.to_bytes(8) if parent and parent != number else b"",
        name="chat",
        kind=draw(st.sampled_from([Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_CLIENT])),
        start_time_unix_nano=start,
        end_time_unix_nano=start + 5_000_000,
        attributes=pairs(attributes),
    )
    return draw(st.sampled_from(SCOPES)), span


BATCHES = st.lists(
    st.lists(
        st.tuples(st.sampled_from(["", "1", "2", "3"]), st.lists(spans(), min_size=1, max_size=3)),
        min_size=1,
        max_size=3,
    ),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module", params=READERS, ids=[each.name for each in READERS])
def both(
    request: pytest.FixtureRequest, client: Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Collector]]:
    folder = tmp_path_factory.mktemp("rows")
    client.command(f"CREATE TABLE {LEDGER} AS llm_calls ENGINE = Memory")
    collectors = [Collector(folder / each.name, client, each) for each in (ALONE, request.param)]
    yield collectors
    for each in collectors:
        each.close()
    client.command(f"DROP TABLE {LEDGER}")


EXAMPLES = itertools.count(1)


def of_example(number: int, span: Span) -> Span:
    """Return the span in a trace, and with an answer, that no other example has."""
    span = Span.FromString(span.SerializeToString())
    span.trace_id = (number << 8 | span.trace_id[-1]).to_bytes(16)
    for attribute in span.attributes:
        if attribute.key == "gen_ai.response.id":
            attribute.value.string_value += f"-{number}"
    return span


@given(BATCHES)
@settings(max_examples=cases(15, 300))
def test_random_batches_make_the_same_ledger(
    both: list[Collector], batches: list[list[tuple[str, list[tuple[str, Span]]]]]
) -> None:
    number = next(EXAMPLES)

    assert_equal(
        both,
        [
            [
                (key, request(*((scope, of_example(number, span)) for scope, span in each)))
                for key, each in batch
            ]
            for batch in batches
        ],
    )


WRAPPERS: list[dict[str, Any]] = [
    {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "router", "user.id": "ada"},
    {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "writer",
     "gen_ai.conversation.id": "c-1", "gen_ai.usage.input_tokens": 2000},
    {"gen_ai.operation.name": "execute_tool", "tallyspan.department": "Sales"},
    {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.id": "a-1", "user.id": "bob",
     "gen_ai.request.model": "gpt-5"},
]  # fmt: skip


@st.composite
def agents(draw: Any) -> list[tuple[int, str, str, Span]]:
    """The spans of an agent's trace with batch, key and scope: wrappers in wrappers, with calls.

    Mostly all of it comes at once from one emitter, and each call is in a wrapper.
    """

    def rarely(of: int = 20) -> bool:
        return bool(draw(st.integers(0, of - 1)) == of - 1)

    trace, number_of_wrappers = draw(st.integers(1, 40)), draw(st.integers(1, 4))
    comes_apart, batch = rarely(3), draw(st.integers(0, 2))
    # beside them one that has not arrived
    wrappers = [*range(1, number_of_wrappers + 1), 9]
    spans = []
    for number in range(1, number_of_wrappers + 1 + draw(st.integers(1, 4))):
        is_call = number > number_of_wrappers
        if is_call:
            attributes = {key: CHAT[key] for key in CHAT if key != "user.id"}
            for key in ("gen_ai.response.id", "user.id", "gen_ai.agent.name"):
                if rarely(3):
                    attributes[key] = f"{key[-4:]}-{number}"
            if rarely():
                del attributes["gen_ai.request.model"]
        else:
            attributes = {**draw(st.sampled_from(WRAPPERS))}
        outer = draw(st.sampled_from([each for each in [0, *wrappers] if not is_call or each]))
        if rarely(6):
            outer = draw(st.integers(0, 8))
        span = Span(
            trace_id=trace.to_bytes(16),
            span_id=number.to_bytes(8),
            parent_span_id=outer.to_bytes(8) if outer else b"",
            kind=Span.SPAN_KIND_CLIENT if is_call or rarely() else Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=START_NS,
            end_time_unix_nano=START_NS + 5_000_000,
            attributes=pairs(attributes),
        )
        scope = "opentelemetry.instrumentation.openai_v2" if rarely() else ""
        key = "2" if rarely() else "1"
        spans.append((draw(st.integers(0, 2)) if comes_apart else batch, key, scope, span))
    return spans


@given(st.lists(agents(), min_size=1, max_size=4))
@settings(max_examples=cases(20, 300))
def test_traces_of_agents_make_the_same_ledger(
    both: list[Collector], traces: list[list[tuple[int, str, str, Span]]]
) -> None:
    number = next(EXAMPLES)
    batches: list[list[tuple[str, bytes]]] = [[], [], []]
    for batch, key, scope, span in itertools.chain(*traces):
        batches[batch].append((key, request((scope, of_example(number, span)))))

    assert_equal(both, [batch for batch in batches if batch])


ANSWER = "chatcmpl-ab12cd34ef56gh78"


def root(trace: int, number: int, parent: int = 0, **more: object) -> Span:
    """A span of a trace of this example, with the answer that several report."""
    return Span(
        trace_id=trace.to_bytes(16),
        span_id=number.to_bytes(8),
        parent_span_id=parent.to_bytes(8) if parent else b"",
        name="chat",
        start_time_unix_nano=START_NS,
        end_time_unix_nano=START_NS + 5_000_000,
        attributes=pairs({**CHAT, "gen_ai.response.id": f"{ANSWER}-{trace >> 8}", **more}),
    )


@pytest.mark.parametrize(
    "batches",
    [
        pytest.param(
            [[("tallyspan", 1, 1, 0, {}), ("", 2, 2, 0, {"error.type": "TimeoutError"})]],
            id="one report is read by itself",
        ),
        pytest.param(
            [[("", 1, 1, 0, {"gen_ai.response.id": "another"})],
             [("tallyspan", 2, 2, 0, {}), ("", 1, 3, 1, {})]],
            id="one report is in a trace that is known",
        ),
    ],
)  # fmt: skip
def test_two_reports_of_one_answer_in_one_batch_are_one_charge(
    both: list[Collector], batches: list[list[tuple[str, int, int, int, dict[str, object]]]]
) -> None:
    number = next(EXAMPLES)

    assert_equal(
        both,
        [
            [("1", request(*(
                (scope, root(number << 8 | trace, span, parent, **more))
                for scope, trace, span, parent, more in batch
            )))]
            for batch in batches
        ],
    )  # fmt: skip


def test_agents_named_anew_in_every_call_make_the_same_ledger(
    both: list[Collector], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_SORTS", 10)
    number = next(EXAMPLES)
    calls = [
        root(number << 8 | each, each, 0, **{"gen_ai.agent.name": f"agent-{each}"})
        for each in range(1, 31)
    ]
    calls = [of_example(number, call) for call in calls]
    batches = [[("1", request(("", call))) for call in calls[at : at + 15]] for at in (0, 15)]

    assert_equal(both, batches)
    assert any("agent_name" in each["texts"] for each in pieces(both[1]))


def pieces(collector: Collector) -> Iterator[Any]:
    """What the texts of the collector's pieces say, newest first."""
    for (blob,) in collector.journal._file.execute("SELECT calls FROM pieces ORDER BY piece DESC"):
        raw = lz4.block.decompress(blob)
        yield json.loads(raw[4 : 4 + int.from_bytes(raw[:4], "little")])


def test_rows_were_booked(both: list[Collector]) -> None:
    alone, by_rows = (
        each.journal._file.execute("SELECT count(*) FROM pieces").fetchone()[0] for each in both
    )

    assert by_rows
    assert not alone


def test_captured_spans_make_the_same_ledger(both: list[Collector]) -> None:
    batches = [
        [("1", of_capture.SerializeToString())]
        for _, capture in captured_requests()
        for of_capture in (capture, inside_another(capture))
    ]

    assert_equal(
        both, [[*itertools.chain(*batches[at : at + 300])] for at in range(0, len(batches), 300)]
    )
