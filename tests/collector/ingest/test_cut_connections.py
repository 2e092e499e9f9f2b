"""The connection to the store is cut after any byte of a request or an answer: calls are there once."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from clickhouse_connect.driver.client import Client

from batches import a_batch
from front import Front, Mode, fronted
from shared_store import SharedStore
from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.schema import ROLLUPS
from tallyspan_collector.ingest import inserter
from tallyspan_collector.ingest.inserter import Inserter
from tallyspan_collector.metrics.counters import Metrics

INSERT, COUNT = b"insert_deduplication_token", b"select_sequential_consistency"
"""What the requests of a batch contain: the rows, and the question how many are there."""
CALLS = 3
LEDGER = "SELECT batch_id, count(), uniqExact(span_id) FROM llm_calls GROUP BY 1 ORDER BY 1"
SUMS = "SELECT " + ", ".join(f"(SELECT sum(calls) FROM {each.view})" for each in ROLLUPS)


class Sizes(NamedTuple):
    """The bytes of a request, its head among them, and of the answer."""

    head: int
    request: int
    answer: int


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inserter, "MAX_PAUSE_SECONDS", 0.0)


@pytest.fixture
def way(empty_store: SharedStore) -> Iterator[tuple[Front, Client]]:
    """A front of an empty store, and a client that goes through it."""
    with fronted(empty_store.url) as (front, url), connect(url) as client:
        yield front, client


def sizes(front: Front, through: Client, about: bytes, *, is_doubtful: bool) -> Sizes:
    front.befall(Mode.PASS, about)
    Inserter(through, Metrics()).insert(a_batch(through, "ada", CALLS), is_doubtful=is_doubtful)
    request = front.met[-1]
    return Sizes(request.index(b"\r\n\r\n") + 4, len(request), front.answered[-1])


def cuts(of: Sizes, *, at_every_byte: bool) -> Iterator[tuple[Mode, int]]:
    """Yield where a request or its answer is cut; after all of a request its answer is lost."""
    if at_every_byte:
        yield from ((Mode.CUT_REQUEST, at) for at in range(of.request + 1))
        yield from ((Mode.CUT_ANSWER, at) for at in range(of.answer))
    else:
        for at in (1, of.head, of.request - 1, of.request):
            yield Mode.CUT_REQUEST, at
        for at in (0, of.answer - 1):
            yield Mode.CUT_ANSWER, at


@pytest.mark.parametrize("about", [INSERT, COUNT])
def test_a_batch_is_in_ledger_and_rollups_once_wherever_its_connection_was_cut(
    about: bytes,
    way: tuple[Front, Client],
    client: Client,
    pytestconfig: pytest.Config,
) -> None:
    front, through = way
    is_doubtful = about == COUNT
    of = sizes(front, through, about, is_doubtful=is_doubtful)
    batches, at_every_byte = 1, pytestconfig.getoption("--every-point")
    for mode, at in cuts(of, at_every_byte=at_every_byte):
        front.befall(mode, about, times=1, at_byte=at)
        batch = a_batch(client, "ada", CALLS)
        answer = Inserter(through, Metrics()).insert(batch, is_doubtful=is_doubtful)
        batches += 1
        assert (answer, len(front.met)) == ("", 1), (mode, at)

    there = client.query(LEDGER).result_rows
    assert {tuple(row[1:]) for row in there} == {(CALLS, CALLS)}
    assert len(there) == batches > 5
    assert client.query(SUMS).result_rows == [(batches * CALLS,) * len(ROLLUPS)]
