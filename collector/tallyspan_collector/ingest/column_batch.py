"""The calls of a batch that are rows: which of them are booked as they are, and which are not.

A row that is refused a price by columns, whose clock is far off, or that has company that matters
(`resolution/company.py`) leaves: it becomes a reading, and takes the way of those.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallyspan_collector.columns.priced import PricedRows
from tallyspan_collector.columns.table import Table
from tallyspan_collector.dialects.coding_agents import IN_LOGS_AND_SPANS
from tallyspan_collector.dialects.reading import Reading
from tallyspan_collector.ledger.failures import FIRST_WITHOUT_ANSWER
from tallyspan_collector.pricing.price_columns import CostColumns, KindKey, PriceColumns
from tallyspan_collector.resolution.company import (
    alone_in_batch,
    once,
    whole_traces,
)
from tallyspan_collector.resolution.identity import (
    NO_PARENT,
    Identities,
    Owner,
    Remainders,
    number_of,
    owner_of,
)
from tallyspan_collector.resolution.meeting import emitter_of, is_random
from tallyspan_collector.resolution.runs import NO_ROW, NewRun, Runs, first_row

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


class Places(NamedTuple):
    """Where rows may meet reports of other traces: numbers of places, and the rows there."""

    number: Integers
    row: Integers


@dataclass(slots=True)
class ColumnBatch:
    """Rows with their costs and numbers; `is_alone`: booked as it is, `is_again`: known."""

    table: Table
    costs: CostColumns
    traces: Integers
    spans: Integers
    parents: Integers
    emitters: Integers
    is_alone: Booleans
    is_again: Booleans
    places: Places = field(
        default_factory=lambda: Places(np.zeros(0, np.int64), np.zeros(0, np.int64))
    )

    @property
    def kept(self) -> PricedRows | None:
        """Return the rows that are booked as they are; None: no row is."""
        rows = np.nonzero(self.is_alone)[0]
        return PricedRows(self.table, self.costs, rows) if len(rows) else None

    def leave_company(self, runs: Runs, *, may_be_older: bool = False) -> None:
        """Take out of `is_alone` the rows with company among what is known.

        `may_be_older`: what else is known is asked of one span at a time.
        """
        if may_be_older:
            self.is_alone[:] = False
        company = runs.company(self.traces, self.spans, self.parents, self.emitters)
        self.is_again = company.is_again
        self.is_alone &= ~(company.is_again | company.matters)
        taken = runs.places(self.places.number)
        if taken:
            emitters = self.emitters[self.places.row].tolist()
            for row, number, emitter in zip(
                self.places.row.tolist(), self.places.number.tolist(), emitters, strict=True
            ):
                if number in taken and taken[number][1] != emitter:
                    self.is_alone[row] = False
        whole_traces(self.is_alone, self.traces, ~(self.is_alone | self.is_again))
        self._leave_reports()
        # the first at a place is remembered, and no other call
        stays = self.is_alone[self.places.row]
        if taken:
            stays &= ~np.isin(self.places.number, np.fromiter(taken, np.int64, len(taken)))
        self.places = Places(self.places.number[stays], self.places.row[stays])

    def _leave_reports(self) -> None:
        """Take out of `is_alone` calls with the answer of a row which leaves: they may meet."""
        answers = self.table.texts.get("response_id")
        if answers is None or not len(self.places.row):
            return
        leaving = np.nonzero(~(self.is_alone | self.is_again))[0].tolist()
        theirs = {answers[row] for row in leaving}
        for row in self.places.row.tolist():
            if answers[row] in theirs:
                self.is_alone[row] = False  # it begins its trace: nothing else of that is a row

    def leaving(self) -> list[Reading]:
        """Return the rows that are neither booked as they are nor known."""
        rows = np.nonzero(~(self.is_alone | self.is_again))[0].tolist()
        return [self.table.reading(row) for row in rows]

    def remember(self, run: NewRun, sorts: bytes, pieces: list[bytes]) -> None:
        """Add the rows that are booked as they are, packed, to what is known."""
        rows = np.nonzero(self.is_alone)[0]
        numbers = np.full(self.table.rows, NO_ROW, np.int64)
        numbers[rows] = first_row(run.number) + np.arange(len(rows))
        run.sorts, run.pieces = sorts, pieces
        run.add(
            self.traces[rows],
            self.spans[rows],
            self.parents[rows],
            self.emitters[rows],
            numbers[rows],
        )
        places = self.places
        run.add(
            places.number,
            self.traces[places.row],
            NO_PARENT,
            self.emitters[places.row],
            numbers[places.row],
        )


def column_batch(
    table: Table,
    prices: PriceColumns,
    identities: Identities,
    remainders: Remainders,
    readings: Collection[Reading],
    give_way: Callable[[], None] = lambda: None,
) -> ColumnBatch:
    """Return the rows of a table, priced, and which of them are alone in their batch.

    `readings` are the other spans of the batch. `give_way` is called between the steps.
    """
    owners = [Owner.of(receipt.key) for receipt in table.receipts]
    traces, spans, parents = identities.rows(table.ids, owners, table.request, remainders)
    give_way()
    kinds, kind = _kinds(table)
    costs, is_refused = prices.costs(kinds, kind, table.start, table.counts)
    give_way()
    emitters = _emitters(table, [owner.source for owner in owners])
    batch = ColumnBatch(
        table,
        costs,
        traces,
        spans,
        parents,
        emitters,
        ~(is_refused | table.odd | _may_cost_nothing(table)),
        np.zeros(table.rows, bool),
    )
    company = {
        identities.trace(owner_of(call).tenant, call.trace_id)
        for reading in readings
        if (call := reading.call) is not None
    }
    alone_in_batch(batch.is_alone, traces, spans, parents, emitters, company)
    _find_places(batch, [owner.tenant for owner in owners], readings)
    return batch


def _may_cost_nothing(table: Table) -> Booleans:
    """Return the calls whose cost is another question than their price, or that meet anywhere."""
    of_sorts = [
        bool(
            fields["is_cache_hit"]
            or fields["error_type"]
            or fields["http_status"] >= FIRST_WITHOUT_ANSWER
            or fields["operation_name"] == "moderation"
            or fields["usage_source"] == "deferred"
            or fields["dialect"] in IN_LOGS_AND_SPANS
        )
        for fields in (sort.fields for sort in table.sorts)
    ]
    return np.array(of_sorts, bool)[table.sort]


def _kinds(table: Table) -> tuple[list[KindKey], Integers]:
    kinds: dict[KindKey, int] = {}
    of_sorts = []
    for sort in table.sorts:
        fields = sort.fields
        key = (
            fields["provider_name"],
            fields["endpoint_id"],
            fields["response_model"] or fields["request_model"],
            fields["service_tier"],
            tuple(fields["conditions"].items()),
        )
        of_sorts.append(kinds.setdefault(key, len(kinds)))
    return list(kinds), np.array(of_sorts, np.int64)[table.sort]


def _emitters(table: Table, sources: Sequence[str]) -> Integers:
    different = list(dict.fromkeys(sources))
    number = np.array([different.index(each) for each in sources], np.int64)[table.request]
    emitters = [
        [
            emitter_of(sort.fields["scope_name"], sort.fields["service_name"], source)
            for source in different
        ]
        for sort in table.sorts
    ]
    return np.array(emitters, np.int64).reshape(-1, len(different))[table.sort, number]


def _find_places(batch: ColumnBatch, tenants: Sequence[str], readings: Collection[Reading]) -> None:
    """Find the places of calls that begin a trace; two calls at one place of a batch leave."""
    answers = batch.table.texts.get("response_id")
    roots = np.nonzero(batch.is_alone & (batch.parents == NO_PARENT))[0]
    if answers is None or not len(roots):
        return
    rows = [row for row in roots.tolist() if is_random(answers[row])]
    request = batch.table.request
    numbers = np.array([number_of(answers[row], tenants[request[row]]) for row in rows], np.int64)
    row = np.array(rows, np.int64)
    is_single = once(numbers)
    theirs = {reading.call.response_id for reading in readings if reading.call is not None}
    is_single &= np.array([answers[each] not in theirs for each in rows], bool)
    batch.is_alone[row[~is_single]] = False
    batch.places = Places(numbers[is_single], row[is_single])
