"""Random lives of a collector against a model of it: what is charged, at which price, to whom.

The parts are the real ones, in this process, on a real engine; only their threads are left out, so
that a step ends before the next begins and a failure can be run again.
"""

import asyncio
import itertools
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from otlp_spans import CHAT, START_NS, pairs
from tallyspan_clickhouse.schema import ROLLUPS
from tallyspan_collector.access.keys import Key, Keys
from tallyspan_collector.booked.move import Move
from tallyspan_collector.booked.move import Scope as Days
from tallyspan_collector.booked.remainders import book_away
from tallyspan_collector.booked.reprice import Reprice, Scope
from tallyspan_collector.booked.run import run
from tallyspan_collector.columns.reader import PYTHON
from tallyspan_collector.directory import stored
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.directory.period import FURTHER_NOTICE, Period
from tallyspan_collector.ingest.inserter import Inserter
from tallyspan_collector.ingest.journal import Journal
from tallyspan_collector.ingest.loader import Loader
from tallyspan_collector.ingest.spool import Spool
from tallyspan_collector.metrics.counters import Metrics
from tallyspan_collector.pricing.book import PriceBook

Emitter = Literal["application", "gateway", "agent"]
TRACES, CALLS = 3, 2
"""Traces of a life, and the calls in each."""
KEYS = ("application", "gateway")
HOUR_NS = 3_600_000_000_000
CLAIM = Decimal("0.25")
PRICES = "prices:\n  - {{model: gpt-5-mini, unit: 1M tokens, input: {usd}, output: 0}}\n"
SUMS = "sum({}), sum(input_tokens), sum(cost_usd)"
CLAIMED = "SELECT sum(claimed_cost_usd) FROM llm_calls WHERE tenant = {tenant:String}"
QUERY = " UNION ALL ".join(
    f"SELECT '{table}' AS name, {sums} FROM {table} WHERE tenant = {{tenant:String}}"
    for table, sums in {
        "llm_calls": SUMS.format("sign"),
        **{each.view: SUMS.format("calls") for each in ROLLUPS},
    }.items()
)
lives = itertools.count(1)


def tokens(call: int) -> int:
    return int(f"1{'0' * call}000")  # each sum of some calls is another number


class Model:
    """What must be charged: each call once that an application or a gateway reported."""

    def __init__(self, *, are_keys_trusted: bool) -> None:
        self.are_keys_trusted = are_keys_trusted
        self.reported: dict[int, set[tuple[str, Emitter]]] = {}
        self.usd, self.department = 1, ""

    def report(self, key: str, call: int, emitter: Emitter) -> None:
        if emitter != "agent":
            self.reported.setdefault(call, set()).add((key, emitter))

    def has_claim(self, call: int) -> bool:
        """A gateway says what a call cost: if its key is the one that is charged."""
        reports = self.reported[call]
        charged, _ = min(reports)  # the first by name
        return any(
            emitter == "gateway" and (self.are_keys_trusted or key == charged)
            for key, emitter in reports
        )

    def claimed(self) -> Decimal:
        return CLAIM * sum(self.has_claim(call) for call in self.reported)

    def sums(self) -> tuple[int, int, Decimal]:
        """Return calls, input tokens, and USD at today's price."""
        used = sum(tokens(call) for call in self.reported)
        return len(self.reported), used, Decimal(used * self.usd) / 10**6

    def departments(self) -> dict[str, int]:
        """Return the tokens of each department: an application says who a call is for."""
        used: dict[str, int] = {}
        for call, reports in self.reported.items():
            is_known = any(emitter == "application" for _, emitter in reports)
            name = self.department if is_known else ""
            used[name] = used.get(name, 0) + tokens(call)
        return used


class Collector(RuleBasedStateMachine):
    """A life: requests come, are booked and inserted; between any two steps it may be killed."""

    client: Client

    @initialize(are_keys_trusted=st.booleans())
    def begin(self, are_keys_trusted: bool) -> None:
        self.model, self.life = Model(are_keys_trusted=are_keys_trusted), next(lives)
        self.trusted = KEYS if are_keys_trusted else ()
        self.tenant = f"tenant-{self.life}"
        self.start_ns = START_NS - START_NS % HOUR_NS + self.life * HOUR_NS
        self.files = TemporaryDirectory(prefix="tallyspan-tests-")
        self.folder = Path(self.files.name)
        keys = [Key(name, "ingest", name, f"digest of {name}", tenant=self.tenant)
                for name in KEYS]  # fmt: skip
        self.keys = Keys(keys)
        self.book = PriceBook()
        self._use_price()
        self._open()

    def _open(self) -> None:
        self.directory = Directory()
        self.directory.read(self.client)
        self.spool = Spool(self.folder / "0.sqlite", 1 << 30)
        self.journal = Journal(self.folder / "journal.sqlite", trusted_keys=self.trusted)
        self.journal._resolver._quiet_ms = 86_400_000  # no agent is charged for its calls
        self.loader = Loader(
            self.client, self.spool, self.journal, self.book, self.keys, Metrics(),
            self.directory, PYTHON,
        )  # fmt: skip
        assert self.loader.warning == ""
        self.inserter = Inserter(self.client, Metrics())
        self.planned = [*self.loader._recovered]
        self.is_doubtful = True

    def _use_price(self) -> None:
        path = self.folder / "prices.yaml"
        path.write_text(PRICES.format(usd=self.model.usd))
        self.book.use(PriceBook.load(path).file, self.book.data)

    @rule(
        reports=st.lists(
            st.tuples(
                st.integers(0, TRACES * CALLS - 1),
                st.sampled_from(["application", "gateway", "agent"]),
            ),
            min_size=1,
            max_size=4,
        ),
        key=st.sampled_from(KEYS),
        times=st.integers(1, 2),
    )
    def receive(self, reports: Sequence[tuple[int, Emitter]], key: str, times: int) -> None:
        for call, emitter in reports:
            self.model.report(key, call, emitter)
        body = ExportTraceServiceRequest(
            resource_spans=[
                ResourceSpans(
                    scope_spans=[
                        ScopeSpans(
                            scope=InstrumentationScope(name=f"emitter.{emitter}"),
                            spans=[self._span(call, emitter)],
                        )
                        for call, emitter in reports
                    ]
                )
            ]
        ).SerializeToString()
        for _ in range(times):
            asyncio.run(self.spool.put(key, body))

    def _span(self, call: int, emitter: Emitter) -> Span:
        trace = call // CALLS + 1
        ids = {"agent": 100 + trace, "application": 200 + call, "gateway": 300 + call}
        parents = {"agent": 0, "application": ids["agent"], "gateway": ids["application"]}
        starts = {"agent": 0, "application": 10 + call, "gateway": 12 + call}
        start = self.start_ns + starts[emitter] * 1_000_000
        attributes: dict[str, Any] = {
            "agent": {"gen_ai.operation.name": "invoke_agent"},
            "application": {**CHAT, "gen_ai.response.id": f"chatcmpl-answer-{call}"},
            "gateway": {
                **CHAT,
                "gen_ai.response.id": f"chatcmpl-answer-{call}",
                "gen_ai.usage.cost": float(CLAIM),
            },
        }[emitter]
        if emitter != "agent":
            attributes["gen_ai.usage.input_tokens"] = tokens(call)
        if emitter == "gateway":
            del attributes["user.id"]
        parent = parents[emitter]
        return Span(
            trace_id=(self.life << 32 | trace).to_bytes(16),
            span_id=ids[emitter].to_bytes(8),
            parent_span_id=parent.to_bytes(8) if parent else b"",
            name=emitter,
            start_time_unix_nano=start,
            end_time_unix_nano=start + 5_000_000,
            attributes=pairs(attributes),
        )

    @rule()
    def plan(self) -> None:
        held = []
        while taken := self.spool.take(0):
            for request in taken:
                readings = self.loader._read(request)
                assert readings is not None
                held.append((request, readings))
        if not held:
            return
        self.loader._rows = self.loader._reader.take()
        self.loader._plan(held)
        while not self.loader._batches.empty():
            batch = self.loader._batches.get()
            assert batch is not None
            self.planned.append(batch)

    @rule(is_told=st.booleans())
    def insert(self, is_told: bool) -> None:
        for batch in self.planned:
            assert self.inserter.insert(batch, is_doubtful=self.is_doubtful) == ""
            if is_told:
                self.loader._ended.put((batch, ""))
        if is_told:
            self.loader._settle()
            self.planned, self.is_doubtful = [], False
        else:
            self.restart()  # killed before the journal knew

    @rule()
    def restart(self) -> None:
        self._close()
        self._open()

    @rule(usd=st.integers(1, 3))
    def change_price(self, usd: int) -> None:
        self.model.usd = usd
        self._use_price()

    @precondition(lambda self: self.model.reported)
    @rule()
    def reprice(self) -> None:
        moment = datetime.fromtimestamp(self.start_ns // 10**9, UTC)
        scope = Scope(moment, moment + timedelta(hours=1))
        run(self.client, Reprice(self.book, scope), is_applied=True)

    @rule(department=st.sampled_from(["research", "sales"]))
    def move_user(self, department: str) -> None:
        self.model.department = department
        period = Period(self.tenant, "ada", date(1970, 1, 1), FURTHER_NOTICE, department)
        changes = stored.changes([period], stored.stored(self.client, tenant=self.tenant))
        stored.write(self.client, changes, "test", "test")
        self.directory.read(self.client)

    @rule()
    def check(self) -> None:
        """All that was acknowledged is in the ledger once, and each rollup says the same."""
        self.plan()
        self.insert(is_told=True)
        self.reprice()
        book_away(self.client)
        parameters = {"tenant": self.tenant}
        there = {
            str(name): tuple(value or 0 for value in sums)
            for name, *sums in self.client.query(QUERY, parameters=parameters).result_rows
        }
        assert there == dict.fromkeys(there, self.model.sums())
        [(claimed,)] = self.client.query(CLAIMED, parameters=parameters).result_rows
        assert (claimed or 0) == self.model.claimed()

    def teardown(self) -> None:
        if not hasattr(self, "files"):
            return
        try:
            self.check()
            self._check_departments()
        finally:
            self._close()
            self.files.cleanup()

    def _check_departments(self) -> None:
        """Moved by correction, each call is its user's department's; nothing else changes."""
        day = datetime.fromtimestamp(self.start_ns // 10**9, UTC).date()
        in_a_day = datetime.now(UTC) + timedelta(days=1)  # traces are settled by then
        move = Move(self.directory, Days((), day, day), in_a_day)
        run(self.client, move, is_applied=True, changed_by="test", reason="test")
        rows = self.client.query(
            "SELECT department, sum(input_tokens) FROM rollup_hourly"
            " WHERE tenant = {tenant:String} GROUP BY 1 HAVING sum(calls) != 0",
            parameters={"tenant": self.tenant},
        ).result_rows
        moved = {str(row[0]): row[1] for row in rows}
        assert moved == self.model.departments()

    def _close(self) -> None:
        self.journal.close()
        self.spool.close()


def test_every_life_charges_each_call_once_at_its_price_to_its_department(
    client: Client, pytestconfig: pytest.Config
) -> None:
    Collector.client = client
    many = pytestconfig.getoption("--every-point")
    run_state_machine_as_test(
        Collector,
        settings=settings(
            max_examples=100 if many else 8,
            stateful_step_count=40 if many else 12,
            derandomize=not many,  # many: others every time
            phases=[Phase.explicit, Phase.generate],  # a life takes too long to be shortened
            report_multiple_bugs=False,
        ),
    )
