"""A trace in parts at several collectors: the ledger comes to what one collector would book."""

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tallyspan_collector.booked.ledger import AMOUNTS, KEY, Row
from tallyspan_collector.booked.sent_twice import correction
from tallyspan_collector.dialects import Reader, Reading
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.read.call import Call
from tallyspan_collector.read.otlp import Span
from tallyspan_collector.resolution.identity import SpanKey, span_key
from tallyspan_collector.resolution.node import Trace
from tallyspan_collector.resolution.resolver import Resolver
from tallyspan_collector.several.joint import changes
from tallyspan_collector.several.parts import Part, parts_of
from tallyspan_collector.several.price import entries_of

START = 1_790_000_000_000_000_000
BOOK = PriceBook()
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5-mini",
    "gen_ai.usage.input_tokens": 1200,
    "gen_ai.usage.output_tokens": 80,
}
AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "support", "user.id": "eve"}
OURS, OTHERS, AGENTS = "tallyspan", "opentelemetry.instrumentation.openai", "pydantic-ai"
FIRST, SECOND = "chatcmpl-Bx7Qd1a9wKfTz4LmV", "chatcmpl-Bx7Qd2b8wKfTz4LmV"


class Report(NamedTuple):
    """A span of key `source`: numbers of span, parent and trace, scope, attributes, times in ms."""

    number: int
    scope: str
    attributes: Mapping[str, Any]
    parent: int = 0
    trace: int = 1
    at: tuple[int, int] = (0, 100)
    source: str = ""

    def reading(self) -> Reading:
        span = Span(
            trace_id=f"{self.trace:032x}",
            span_id=f"{self.number:016x}",
            parent_span_id=f"{self.parent:016x}" if self.parent else "",
            start_time_ns=START + self.at[0] * 1_000_000,
            end_time_ns=START + self.at[1] * 1_000_000,
            is_error=False,
            attributes=dict(self.attributes),
            resource={"service.name": "shop"},
            scope_name=self.scope,
            name="chat",
            kind=3,
        )
        reading = Reader().read(span)
        assert reading.call is not None
        if self.source:
            reading.call = reading.call._replace(tenant="acme", source=self.source)
        return reading


def with_id(answer: str, **more: Any) -> dict[str, Any]:
    return {**CHAT, "gen_ai.response.id": answer, **more}


REPORTS = [
    Report(1, AGENTS, AGENT, at=(0, 500)),
    Report(2, OTHERS, with_id(FIRST), 1, at=(10, 90)),
    Report(3, OURS, with_id(FIRST), 2, at=(20, 80)),
    Report(4, OTHERS, with_id(SECOND), 1, at=(110, 190)),
    Report(5, OURS, with_id(SECOND, **{"user.id": "ada"}), 1, at=(120, 180)),
    Report(6, OURS, CHAT, 1, at=(210, 290)),  # a call of its own
    Report(7, OTHERS, with_id(FIRST + "x"), trace=2, at=(10, 90)),
    Report(8, OURS, with_id(FIRST + "x"), trace=3, at=(20, 80)),
]


class Collectors:
    """Two collectors and the ledger that both book into."""

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        self.trusted = trusted
        self.resolvers = {
            name: Resolver(sqlite3.connect(":memory:", isolation_level=None), trusted=trusted)
            for name in ("one", "other")
        }
        self.entries: list[Row] = []
        self.booked: dict[tuple[str, SpanKey], Row] = {}

    def send(self, name: str, reports: Sequence[Report]) -> None:
        """Book what is new to the collector: it knows a span that is sent again."""
        resolver = self.resolvers[name]
        known = {key for trace in self.traces(name) for key in trace.nodes}
        readings = [each.reading() for each in reports]
        fresh = {span_key(each.call): each for each in readings if each.call is not None}
        made = resolver.resolve([each for key, each in fresh.items() if key not in known])
        resolver.commit(made, [Cost() for _ in made.calls])
        for reversal in made.reversals:
            row = self.booked.pop((name, span_key(reversal.call)))
            self.add(correction(row, -1, self.now) | {"entry_kind": "reversal"})
        for call in made.calls:
            (row,) = entries_of([call], BOOK, Directory(), name)
            self.booked[name, span_key(call)] = row
            self.add(row)

    @property
    def now(self) -> datetime:
        return datetime(2026, 9, 22, tzinfo=UTC) + timedelta(seconds=len(self.entries))

    def add(self, row: Row) -> None:
        ids = {each: row[each] for each in ("trace_id", "span_id")}
        as_read = {name: value.encode() if isinstance(value, str) else value
                   for name, value in ids.items()}  # fmt: skip
        self.entries.append({**row, **as_read, "ingested_at": self.now, "batch_id": 1})

    def traces(self, name: str) -> list[Trace]:
        resolver = self.resolvers[name]
        ids = [("acme" if each.source else "", f"{each.trace:032x}")
               for each in self.all_reports]  # fmt: skip
        numbers = {resolver.identities.trace(*each) for each in ids}
        traces = resolver.traces(numbers, START // 10**6)
        return list({id(trace): trace for trace in traces.values()}.values())

    all_reports: Sequence[Report] = REPORTS

    def look(self) -> None:
        parts: list[Part] = []
        for name in self.resolvers:
            for trace in self.traces(name):
                parts += [Part(id_, name, part) for id_, part in parts_of(trace).items()]

        def price(calls: Sequence[Call]) -> list[Row]:
            return entries_of(calls, BOOK, Directory(), "one")

        for row in changes(self.entries, parts, price, self.trusted):
            self.add(row)

    def net(self) -> Counter[tuple[Any, ...]]:
        return net(self.entries)


def net(entries: Sequence[Row]) -> Counter[tuple[Any, ...]]:
    """Return how often each call stands in the ledger, by all that is added up or grouped by."""
    count: Counter[tuple[Any, ...]] = Counter()
    for row in entries:
        amounts = (None if row[name] is None else row["sign"] * row[name] for name in AMOUNTS)
        keys = (row[name] for name in KEY)
        count[(*keys, row["source"], *amounts)] += row["sign"]
    return Counter({key: times for key, times in count.items() if times})


def as_one(reports: Sequence[Report], trusted: Sequence[str] = ()) -> Counter[tuple[Any, ...]]:
    """Return what one collector charges for the reports."""
    one = Collectors(trusted)
    one.all_reports = reports
    one.send("one", reports)
    return one.net()


TRUSTED = st.sampled_from([(), ("app", "gateway")])
WHERE = st.sampled_from([("one",), ("other",), ("one", "other"), ("other", "one")])


@settings(max_examples=60, phases=[Phase.explicit, Phase.generate])
@given(st.lists(st.tuples(st.sampled_from(REPORTS), WHERE, st.booleans()), min_size=1, max_size=14))
def test_whatever_came_to_which_collector_the_ledger_is_that_of_one(
    steps: list[tuple[Report, tuple[str, ...], bool]],
) -> None:
    collectors = Collectors()
    for report, names, is_looked_at in steps:
        for name in names:
            collectors.send(name, [report])
        if is_looked_at:
            collectors.look()
    collectors.look()

    assert collectors.net() == as_one([report for report, *_ in steps])


def test_a_second_look_changes_nothing() -> None:
    collectors = Collectors()
    collectors.send("one", REPORTS[:5])
    collectors.send("other", REPORTS[3:])
    collectors.look()
    entries = len(collectors.entries)
    collectors.look()

    assert len(collectors.entries) == entries


@settings(max_examples=60, phases=[Phase.explicit, Phase.generate])
@given(
    st.lists(
        st.tuples(st.sampled_from(REPORTS), st.sampled_from(["app", "gateway"]), WHERE),
        min_size=1,
        max_size=10,
    ),
    TRUSTED,
)
def test_the_same_holds_for_reports_of_two_keys(
    steps: list[tuple[Report, str, tuple[str, ...]]], trusted: tuple[str, ...]
) -> None:
    reports = [report._replace(source=source) for report, source, _ in steps]
    collectors = Collectors(trusted)
    collectors.all_reports = reports
    for report, (*_, names) in zip(reports, steps, strict=True):
        for name in names:
            collectors.send(name, [report])
    collectors.look()

    assert collectors.net() == as_one(reports, trusted)
