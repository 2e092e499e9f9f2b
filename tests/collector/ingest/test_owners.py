"""Whose a call is: what one key or tenant sends changes nothing of what another one sent."""

import itertools
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tallyspan.usage import Usage
from tallyspan_collector.dialects import Kind, Reading
from tallyspan_collector.ingest.journal import Batch, Entries, Journal, recall
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.read.call import Call, columns_of
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

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = Journal(path)
        self.rows: Counter[Call] = Counter()
        self._request = itertools.count(1)

    def book(self, *calls: Call) -> None:
        readings = [Reading(Kind.CALL, "generic", "", each) for each in calls]
        self.journal.book(1, next(self._request), readings, self._build)

    def reopen(self) -> None:
        self.journal.close()
        self.journal = Journal(self.path)

    def _build(self, calls: Sequence[Call], reversals: Sequence[LedgerEntry]) -> Entries:
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
