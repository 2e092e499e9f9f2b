"""Whose a call is: what one key or tenant sends changes nothing of what another one sent."""

import itertools
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallyspan.usage import Usage
from tallyspan_collector.columns.priced import PricedRows
from tallyspan_collector.dialects import Kind, Reading
from tallyspan_collector.ingest.journal import Batch, Entries, Journal, recall
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.read.call import Call, Flag, columns_of
from tallyspan_collector.resolution import identity
from tallyspan_collector.resolution.node import LedgerEntry

TRACE, OTHER_TRACE = "0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c"
ANSWER = "chatcmpl-C1KMEUDb1vVwsROQUCZTgG6A6vtWo"
START = 1_790_000_000_000_000_000
MS = 1_000_000


def call(tenant: str, source: str, number: int = 1, **fields: object) -> Call:
    usual = Call(
        TRACE, f"{number:016x}", "", START, START + 100 * MS, "openai", "chat", "gpt-5-mini",
        response_model="gpt-5-mini-2025-08-07", usage=Usage(input_tokens=1200, output_tokens=80),
        usage_source="provider", response_id=ANSWER, scope_name="tallyspan", tenant=tenant,
        source=source, user_id="ada",
    )  # fmt: skip
    return usual._replace(**fields)  # type: ignore[arg-type]


class Books:
    """A journal, and what all entries booked with it add up to."""

    def __init__(self, path: Path, trusted: Sequence[str] = ()) -> None:
        self.path = path
        self.journal = Journal(path, trusted_keys=trusted)
        self.rows: Counter[Call] = Counter()
        self._request = itertools.count(1)

    def book(self, *calls: Call) -> None:
        self.take([Reading(Kind.CALL, "generic", "", each) for each in calls])

    def book_wrapper(self, wrapper: Call) -> None:
        self.take([Reading(Kind.WRAPPER, "generic", "", wrapper)])

    def take(self, readings: Sequence[Reading]) -> None:
        self.journal.book(1, next(self._request), readings, self._build)

    def _build(
        self, calls: Sequence[Call], reversals: Sequence[LedgerEntry], _: PricedRows | None
    ) -> Entries:
        for each in calls:
            self.rows[hashable(each)] += 1
        for booked in reversals:
            self.rows[hashable(booked.call)] -= 1
        batch = Batch(next(self._request), len(calls) + len(reversals), ("a",), b"")
        columns = columns_of([*calls, *(each.call for each in reversals)])
        return Entries(batch, [Cost(7) for _ in calls], columns)

    @property
    def net(self) -> list[Call]:
        assert min(self.rows.values(), default=0) >= 0
        return sorted(self.rows.elements(), key=lambda each: (each.tenant, each.source, repr(each)))


def hashable(each: Call) -> Call:
    """A call without its mappings, which these tests leave empty."""
    return each._replace(tags=(), meters=(), conditions=())  # type: ignore[arg-type]


def ids_of(reading: Reading) -> tuple[str, ...]:
    """What one key reports a span by; it is sent once, or which report is kept depends on time."""
    assert reading.call is not None
    return reading.call.source, reading.call.trace_id, reading.call.span_id


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path / "journal.sqlite")


OF_OTHERS = {
    "the very same ids": {},
    "as a cache hit of that very call": {
        "number": 2, "is_cache_hit": True, "same_call_id": f"{TRACE}-{1:016x}",
    },
    "as one token, with the answer's id, in a trace of its own": {
        "trace_id": OTHER_TRACE, "scope_name": "x",
        "usage": Usage(input_tokens=1, output_tokens=0),
    },
    "as a span inside": {"number": 2, "parent_span_id": f"{1:016x}", "user_id": "mallory"},
    "as the span around": {"number": 9, "start_time_ns": START - MS, "user_id": "mallory"},
}  # fmt: skip


@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize("what", OF_OTHERS)
def test_reports_of_two_tenants_never_meet(books: Books, what: str, *, is_first: bool) -> None:
    own = call("acme", "shop", parent_span_id=f"{9:016x}")
    other = call("globex", "shop", **OF_OTHERS[what])  # type: ignore[arg-type]
    for each in (other, own) if is_first else (own, other):
        books.book(each)
    books.book(own, other)  # and sent again

    assert books.net == [hashable(own), hashable(other)]


def test_two_tenants_in_one_batch_never_meet(books: Books) -> None:
    own, other = call("acme", "shop"), call("globex", "shop", user_id="mallory")
    books.book(own, other)

    assert books.net == [hashable(own), hashable(other)]
    assert [len(recall(books.path, TRACE, [name])) for name in ("acme", "globex", "")] == [1, 1, 0]


def test_a_tenant_that_a_span_names_without_a_key_keeps_nothing_apart(books: Books) -> None:
    books.book(call("acme", "", scope_name="tallyspan"))
    books.book(call("", "", 2, parent_span_id=f"{1:016x}", scope_name="pydantic-ai"))

    assert [each.tenant for each in books.net] == ["acme"]


def as_earlier_versions(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("DROP TABLE identity")
    file.close()


@pytest.mark.parametrize("tenant", ["", "acme"])
def test_what_an_earlier_version_booked_is_known_for_a_window(
    books: Books, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier versions have neither tenant nor key in a number, and no prime of their own."""
    own = call(tenant, "shop")
    beside = call(tenant, "shop", 2, trace_id=OTHER_TRACE, scope_name="openllmetry")
    inside = call(tenant, "shop", 3, parent_span_id=own.span_id, scope_name="openinference")
    books.journal.close()
    books.path.unlink()
    with monkeypatch.context() as earlier:
        earlier.setattr(identity, "_random_prime", lambda: identity.FIRST_PRIME)
        earlier.setattr(identity.Identities, "shift", lambda *_: 0)
        earlier.setattr("tallyspan_collector.resolution.meeting.number_of", number_without_tenant)
        books.journal = Journal(books.path)
        books.book(own)
        books.journal.close()
    as_earlier_versions(books.path)
    assert len(recall(books.path, TRACE, [tenant])) == 1
    books.journal = Journal(books.path)
    for again in (own, beside, inside):
        books.book(again)

    assert books.net == [hashable(own)]


def number_without_tenant(text: str, _of: str = "") -> int:
    return identity.number_of(text)


APP = call("acme", "app", scope_name="tallyspan", department="Support", conversation_id="c-7",
           agent_name="support")  # fmt: skip
"""The application's report: $0.0003 + $0.00016 at $0.25 and $2 a million tokens."""
SQUATS: dict[str, dict[str, object]] = {
    "cost to 0, as a cache hit of that very call": {
        "number": 2, "is_cache_hit": True, "same_call_id": f"{TRACE}-{1:016x}",
    },
    "cost to 0, as what the provider charged": {"number": 2, "reported_cost_picousd": 0},
    "one token, named as the very call": {
        "number": 2, "same_call_id": f"{TRACE}-{1:016x}",
        "usage": Usage(input_tokens=1, output_tokens=0),
    },
    "one token, with the answer's id in a trace of its own": {
        "number": 2, "trace_id": OTHER_TRACE, "usage": Usage(input_tokens=1, output_tokens=0),
    },
    "one token, as a span inside": {
        "number": 2, "parent_span_id": f"{1:016x}",
        "usage": Usage(input_tokens=1, output_tokens=0),
    },
    "one token, with the very same ids": {"usage": Usage(input_tokens=1, output_tokens=0)},
    "raised to $1800": {
        "number": 2, "usage": Usage(input_tokens=7_200_000_000, output_tokens=80),
        "parent_span_id": f"{1:016x}",
    },
    "raised to $1800, as what the provider charged": {
        "reported_cost_picousd": 1800 * 10**12,
    },
    "another model, with the very same ids": {
        "request_model": "gpt-5-pro", "response_model": "gpt-5-pro",
    },
    "more of it from a cache": {
        "number": 2, "parent_span_id": f"{1:016x}",
        "usage": Usage(input_tokens=1200, output_tokens=80, cache_read_tokens=1200),
    },
}  # fmt: skip


@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize("what", SQUATS)
def test_another_key_of_the_tenant_changes_nothing_of_a_call(
    books: Books, what: str, *, is_first: bool
) -> None:
    squat = call("acme", "mallory", **SQUATS[what] | {"user_id": "mallory"})  # type: ignore[arg-type]
    for each in (squat, APP) if is_first else (APP, squat):
        books.book(each)

    assert of(books, "app") == [plain(APP)]


@pytest.mark.parametrize("what", [name for name in SQUATS if "cache" not in name])
def test_what_another_key_claims_of_a_call_is_its_own_charge_and_both_are_flagged(
    books: Books, what: str
) -> None:
    squat = call("acme", "mallory", **SQUATS[what])  # type: ignore[arg-type]
    books.book(APP)
    books.book(squat)

    assert [each.source for each in books.net] == ["app", "mallory"]
    assert all(each.quality_flags == (Flag.REPORTS_DISAGREE,) for each in books.net)


ALIKE: dict[str, dict[str, object]] = {
    "inside": {"number": 2, "parent_span_id": f"{1:016x}", "endpoint_id": "api.openai.com"},
    "beside, with the answer's id": {"trace_id": OTHER_TRACE, "number": 2},
    "the very same span": {},
    "around": {"number": 9, "start_time_ns": START - MS, "end_time_ns": START + 101 * MS},
    "without usage": {"number": 2, "parent_span_id": f"{1:016x}", "usage": Usage()},
}


@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize("what", ALIKE)
def test_what_application_and_gateway_report_with_two_keys_is_one_charge(
    books: Books, what: str, *, is_first: bool
) -> None:
    """The gateway alone knows the agent, the application alone the user."""
    app = call("acme", "app")
    gateway = call("acme", "gateway", **{"scope_name": "litellm", "service_name": "gateway",
                   "user_id": "", "agent_name": "support"} | ALIKE[what])  # type: ignore[arg-type]  # fmt: skip
    if what == "around":
        app = app._replace(parent_span_id=gateway.span_id)
    for each in (gateway, app) if is_first else (app, gateway):
        books.book(each)

    assert books.net == [hashable(app._replace(agent_name="support"))]


def test_keys_that_are_trusted_correct_each_other(tmp_path: Path) -> None:
    """The gateway has the provider's usage, the application an estimate of a stream."""
    books = Books(tmp_path / "journal.sqlite", trusted=("app", "gateway"))
    books.book(APP._replace(usage=Usage(1100, 90), usage_source="estimated"))
    books.book(call("acme", "gateway", 2, parent_span_id=APP.span_id, scope_name="litellm"))

    (charged,) = books.net
    assert (charged.usage.input_tokens, charged.usage.output_tokens) == (1200, 80)
    assert charged.conversation_id == "c-7"


def test_a_report_of_a_trusted_key_goes_before_others(tmp_path: Path) -> None:
    books = Books(tmp_path / "journal.sqlite", trusted=("gateway",))
    books.book(APP._replace(usage=Usage(1100, 90), usage_source="estimated"))
    books.book(call("acme", "gateway", 2, parent_span_id=APP.span_id, user_id=""))

    (charged,) = books.net
    assert (charged.source, charged.usage.input_tokens, charged.user_id) == ("gateway", 1200, "ada")
    assert charged.quality_flags == (Flag.REPORTS_DISAGREE,)


def test_a_user_whom_only_a_span_of_another_key_around_the_call_names_is_taken(
    books: Books,
) -> None:
    agent = APP._replace(span_id=f"{9:016x}", operation_name="invoke_agent", usage=Usage())
    books.book_wrapper(agent)
    books.book(call("acme", "gateway", parent_span_id=f"{9:016x}", user_id=""))

    (charged,) = books.net
    assert (charged.source, charged.user_id, charged.conversation_id) == ("gateway", "ada", "c-7")


def of(books: Books, *sources: str) -> list[Call]:
    return [plain(each) for each in books.net if each.source in sources]


def plain(each: Call) -> Call:
    return hashable(each)._replace(quality_flags=())


TRACES = [TRACE, OTHER_TRACE]
ANSWERS = [ANSWER, ANSWER[::-1], "r-1", ""]
USAGES = [Usage(1200, 80), Usage(1200, 80, cache_read_tokens=1000), Usage(1, 0), Usage(),
          Usage(7_200_000_000, 80)]  # fmt: skip
SCOPES = ["tallyspan", "litellm"]


@st.composite
def reports(draw: st.DrawFn, source: str, tenant: str = "acme") -> Reading:
    """Any report with any of a few ids, so that those of all keys meet in every way."""
    named = f"{draw(st.sampled_from(TRACES))}-{draw(st.integers(1, 5)):016x}"
    same_call_id = draw(st.sampled_from(["", "", named]))
    start = START + draw(st.sampled_from([0, 5, 20_000])) * MS
    each = call(
        tenant,
        source,
        draw(st.integers(1, 5)),
        trace_id=same_call_id[:32] or draw(st.sampled_from(TRACES)),
        parent_span_id=draw(st.sampled_from(["", *(f"{number:016x}" for number in range(1, 7))])),
        start_time_ns=start,
        end_time_ns=start + draw(st.sampled_from([50, 100])) * MS,
        response_id=draw(st.sampled_from(ANSWERS)),
        usage=draw(st.sampled_from(USAGES)),
        scope_name=draw(st.sampled_from(SCOPES)),
        same_call_id=same_call_id,
        is_cache_hit=draw(st.sampled_from([False, False, True])),
        reported_cost_picousd=draw(st.sampled_from([None, None, 0, 1800 * 10**12])),
        user_id=f"user of {source}",
        department="Support",
        conversation_id="c-7",
        agent_name="support",
    )
    kind = draw(st.sampled_from([Kind.CALL, Kind.CALL, Kind.WRAPPER]))
    return Reading(kind, "generic", "", each)


@pytest.mark.slow
@settings(max_examples=30)
@given(
    st.lists(reports("app") | reports("gateway"), min_size=1, max_size=5, unique_by=ids_of),
    st.sampled_from([("zorro", "acme", ()), ("any", "acme", ("app", "gateway")),
                     ("app", "globex", ())]).flatmap(
        lambda who: st.tuples(st.just(who[2]), st.lists(reports(who[0], who[1]), max_size=5))),
    st.randoms(use_true_random=False),
    st.lists(st.booleans(), min_size=10, max_size=10),
)  # fmt: skip
def test_what_honest_keys_sent_is_booked_as_if_a_hostile_one_had_not_spoken(
    tmp_path_factory: pytest.TempPathFactory,
    honest: list[Reading],
    hostile: tuple[tuple[str, ...], list[Reading]],
    random: Any,
    cuts: list[bool],
) -> None:
    """Every field but the flags is the same, and with them the cost.

    The hostile key is of the tenant and its name is the last, or the honest ones are trusted; or it
    has the name of an honest one in another tenant.
    """
    trusted, forged = hostile
    alone = Books(tmp_path_factory.mktemp("alone") / "journal.sqlite", trusted)
    beside = Books(tmp_path_factory.mktemp("beside") / "journal.sqlite", trusted)
    for each in honest:
        alone.take([each])
    mixed = list(honest)
    for each in forged:
        mixed.insert(random.randint(0, len(mixed)), each)
    batch: list[Reading] = []
    for each, is_cut in zip(mixed, cuts, strict=False):
        batch.append(each)
        if is_cut:
            beside.take(batch)
            batch = []
    beside.take(batch)

    assert of_honest(beside) == of_honest(alone)
    alone.journal.close()
    beside.journal.close()


def of_honest(books: Books) -> list[Call]:
    names = ("app", "gateway")
    return [plain(each) for each in books.net if each.tenant == "acme" and each.source in names]
