"""The spans of a batch that are rows: which calls are booked as they are, and which are not.

A row that is refused a price by columns, whose clock is far off, or that has company that matters
(`resolution/company.py`) leaves, and its trace with it: it becomes a reading, and takes the way of
those. Spans around calls are not booked: they say who the calls are for (`resolution/around.py`),
and are remembered.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallyspan_collector.columns.identities import Remainders
from tallyspan_collector.columns.priced import PricedRows
from tallyspan_collector.columns.table import Table
from tallyspan_collector.dialects.coding_agents import IN_LOGS_AND_SPANS
from tallyspan_collector.dialects.reading import Kind, Reading
from tallyspan_collector.ledger.failures import FIRST_WITHOUT_ANSWER
from tallyspan_collector.pricing.price_columns import CostColumns, KindKey, PriceColumns
from tallyspan_collector.read.call import BLANK
from tallyspan_collector.resolution.around import agreed, nearest, outer_rows
from tallyspan_collector.resolution.charge import IDENTITY
from tallyspan_collector.resolution.company import (
    WRAPPER,
    Spans,
    alone_in_batch,
    once,
    whole_traces,
)
from tallyspan_collector.resolution.identity import (
    NO_PARENT,
    Identities,
    Owner,
    number_of,
    owner_of,
)
from tallyspan_collector.resolution.meeting import emitter_of, is_random
from tallyspan_collector.resolution.runs import NO_ROW, NewRun, Runs, first_row

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
_LOOKED_AT = ("tenant", "request_model")
"""The first names of those fields of identity that are not only about who a call is for."""


class Places(NamedTuple):
    """Where rows may meet reports of other traces: numbers of places, and the rows there."""

    number: Integers
    row: Integers


@dataclass
class ColumnBatch:
    """Rows with their costs and numbers.

    `is_alone`: the row is booked as it is, or, of a span around calls, only remembered; `is_again`:
    it is known. `inherited`: fields of identity -> the rows that the calls have them from, -1: from
    none.
    """

    table: Table
    costs: CostColumns
    spans: Spans
    is_alone: Booleans
    is_again: Booleans
    inherited: Mapping[tuple[str, ...], Integers]
    places: Places = field(
        default_factory=lambda: Places(np.zeros(0, np.int64), np.zeros(0, np.int64))
    )

    @property
    def calls_again(self) -> int:
        """Return how many of the calls are known."""
        return int((self.is_again & self.table.is_call).sum())

    @cached_property
    def kept(self) -> PricedRows | None:
        """Return the calls that are booked as they are, and what is around them; None: no call is.

        Final: it is asked for when all have left that do.
        """
        rows = np.nonzero(self.is_alone & self.table.is_call)[0]
        if not len(rows):
            return None
        remembered = np.nonzero(self.is_alone)[0]
        inherited = {
            names: sources
            for names, sources in self.inherited.items()
            if (sources[rows] >= 0).any()
        }
        table = self.table.inheriting(inherited)
        is_inherited = {names: sources >= 0 for names, sources in inherited.items()}
        return PricedRows(table, self.costs, rows, remembered, is_inherited)

    def leave_company(self, runs: Runs, *, may_be_older: bool = False) -> None:
        """Take out of `is_alone` the rows with company among what is known.

        `may_be_older`: what else is known is asked of one span at a time.
        """
        if may_be_older:
            self.is_alone[:] = False
        spans = self.spans
        company = runs.company(spans.trace, spans.span, spans.parent, spans.emitter)
        self.is_again = company.is_again
        self.is_alone &= ~(company.is_again | company.matters)
        taken = runs.places(self.places.number)
        if taken:
            emitters = spans.emitter[self.places.row].tolist()
            for row, number, emitter in zip(
                self.places.row.tolist(), self.places.number.tolist(), emitters, strict=True
            ):
                if number in taken and taken[number][1] != emitter:
                    self.is_alone[row] = False
        whole_traces(self.is_alone, spans.trace, ~(self.is_alone | self.is_again))
        self._leave_reports()
        if not (self.is_alone & self.table.is_call).any():
            self.is_alone[:] = False  # nothing is booked as rows: nothing is remembered as rows
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
        """Add the rows that are not looked at one by one, packed, to what is known."""
        spans, rows = self.spans, np.nonzero(self.is_alone)[0]
        numbers = np.full(self.table.rows, NO_ROW, np.int64)
        numbers[rows] = first_row(run.number) + np.arange(len(rows))
        run.sorts, run.pieces = sorts, pieces
        run.add(
            spans.trace[rows],
            spans.span[rows],
            spans.parent[rows],
            spans.emitter[rows],
            numbers[rows],
        )
        places = self.places
        run.add(
            places.number,
            spans.trace[places.row],
            NO_PARENT,
            spans.emitter[places.row],
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
    costs, is_refused = prices.costs(kinds, kind, table.start, table.counts, give_way)
    give_way()
    emitters = _emitters(table, [owner.source for owner in owners])
    emitters[~table.is_call] = WRAPPER
    different = list(dict.fromkeys(owners))
    owner = np.array([different.index(each) for each in owners], np.int64)[table.request]
    of_rows = Spans(traces, spans, parents, emitters, owner, outer_rows(spans, parents))
    is_alone = ~(is_refused & table.is_call | table.odd | _may_cost_nothing(table))
    company = {
        identities.trace(owner_of(call).tenant, call.trace_id)
        for reading in readings
        if (call := reading.call) is not None
    }
    give_way()
    alone_in_batch(is_alone, of_rows, company)
    give_way()
    inherited = _inherited(table, of_rows, is_alone)
    batch = ColumnBatch(table, costs, of_rows, is_alone, np.zeros(table.rows, bool), inherited)
    _find_places(batch, [owner.tenant for owner in owners], readings)
    return batch


def _may_cost_nothing(table: Table) -> Booleans:
    """Return the calls whose cost is another question than their price, or that meet anywhere."""
    of_sorts = [
        fields["dialect"] in IN_LOGS_AND_SPANS
        or (
            kind is Kind.CALL
            and (
                fields["is_cache_hit"]
                or bool(fields["error_type"])
                or fields["http_status"] >= FIRST_WITHOUT_ANSWER
                or fields["operation_name"] == "moderation"
                or fields["usage_source"] == "deferred"
            )
        )
        for kind, fields in ((sort.kind, sort.fields) for sort in table.sorts)
    ]
    return np.array(of_sorts, bool)[table.sort]


def _inherited(table: Table, spans: Spans, is_alone: Booleans) -> dict[tuple[str, ...], Integers]:
    """Return from which rows calls have who they are for, and take out what has more from them.

    A model or a tenant of another span decides about price and place: such a trace is looked at.
    """
    is_call = spans.is_call
    inherited: dict[tuple[str, ...], Integers] = {}
    if not (is_alone & ~is_call).any():
        return inherited
    for names in IDENTITY:
        has = _has(table, names)
        wrappers = np.nonzero(has & is_alone & ~is_call)[0]
        lacks = is_alone & is_call & ~has
        if not len(wrappers) or not lacks.any():
            continue

        def value(row: int, names: tuple[str, ...] = names) -> tuple[str, ...]:
            return tuple(table.text(name, row) for name in names)

        sources = nearest(spans.outer, lacks, has)
        in_common = agreed(spans.trace, lacks & (sources < 0), wrappers, value)
        sources = np.where(sources < 0, in_common, sources)
        if not (sources >= 0).any():
            continue
        if names[0] in _LOOKED_AT:
            leaves = sources >= 0
            is_alone[leaves] = False
            whole_traces(is_alone, spans.trace, leaves)
        else:
            inherited[names] = sources
    return inherited


def _has(table: Table, names: Sequence[str]) -> Booleans:
    """Return which rows have one of these texts."""
    of_sorts = [any(sort.fields[name] for name in names) for sort in table.sorts]
    has: Booleans = np.array(of_sorts, bool)[table.sort]
    for name in names:
        if name in table.texts:
            has |= np.fromiter(map(bool, table.texts[name]), bool, table.rows)
        if name == "tenant":  # a key has the last word
            has |= np.array([each.key is not None for each in table.receipts], bool)[table.request]
    return has


def _kinds(table: Table) -> tuple[list[KindKey], Integers]:
    kinds: dict[KindKey, int] = {}
    of_sorts = []
    for sort in table.sorts:
        # what is no call has no price
        fields = sort.fields if sort.kind is Kind.CALL else BLANK
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
    is_root = batch.spans.parent == NO_PARENT
    roots = np.nonzero(batch.is_alone & batch.table.is_call & is_root)[0]
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
