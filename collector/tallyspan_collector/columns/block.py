"""A table of calls and what they cost -> the ledger's columns, as one Native block.

The same columns that `ledger/entry.py` makes of calls one by one, in the same order. A field that
repeats from call to call is encoded once a sort and taken by row.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from tallyspan.usage import TOKEN_FIELDS
from tallyspan_collector.columns import native
from tallyspan_collector.columns.priced import PAYERS, Payers, PricedRows, claimed_of
from tallyspan_collector.columns.table import FLAGS, in_use
from tallyspan_collector.ledger import entry
from tallyspan_collector.ledger.entry import AS_IN_CALL, NS_PER_US, Cost
from tallyspan_collector.pricing.price_columns import REASONS
from tallyspan_collector.read.call import BLANK, call_of, columns_of

Integers = NDArray[np.int64]
NAMES = tuple(
    entry.columns(columns_of([call_of(BLANK | {"trace_id": "", "span_id": ""})]), [Cost()], 0, 0)
)
"""The ledger's columns in the order of an INSERT."""
_STATUS = ("priced", "unpriced")
_AMOUNTS = {"cost_usd": "cost", "input_cost_usd": "input", "output_cost_usd": "output"}


def encode(
    rows: PricedRows,
    payer: Payers,
    types: dict[str, str],
    batch_id: int,
    ingested_ms: int,
    give_way: Callable[[], None] = lambda: None,
    collector: str = "",
) -> bytes:
    """Return the rows as one Native block.

    `types` are the ledger's, by column. `give_way` is called between the columns. `collector` books
    them.
    """
    return native.block(
        _Encoding(rows, payer, give_way).columns(batch_id, ingested_ms, types, collector),
        types,
        len(rows.rows),
    )


class _Encoding:
    def __init__(
        self,
        rows: PricedRows,
        payer: Payers,
        give_way: Callable[[], None],
    ) -> None:
        self.rows, self.payer, self.give_way = rows, payer, give_way
        table = rows.table
        self.size = len(rows.rows)
        self.sorts, self.sort = table.sorts, rows.of(table.sort)
        # requests with one key, or without, say the same of their calls
        names = [
            None if each.key is None else (each.key.source, each.key.tenant)
            for each in table.receipts
        ]
        different = list(dict.fromkeys(names))
        number = np.array([different.index(each) for each in names], np.int64)
        self.keys, self.key = different, number[rows.of(table.request)]

    def columns(
        self, batch_id: int, ingested_ms: int, types: dict[str, str], collector: str
    ) -> dict[str, bytes]:
        result: dict[str, bytes] = {
            "entry_kind": self._same("call"),
            "collector": self._same(collector),
            "sign": b"\1" * self.size,
            "reported_cost_usd": native.nulls(self.size),
            "batch_id": batch_id.to_bytes(8, "little") * self.size,
            "ingested_at": ingested_ms.to_bytes(8, "little") * self.size,
        }
        for name, column in chain(self._of_spans(), self._of_payers(), self._of_costs()):
            result[name] = column
            self.give_way()
        for name in (*AS_IN_CALL, "meters"):
            if name not in result:
                result[name] = self._of_call(name, types[name])
                self.give_way()
        return {name: result[name] for name in NAMES}

    def _of_spans(self) -> Iterator[tuple[str, bytes]]:
        rows, table = self.rows, self.rows.table
        start, end, ids = rows.of(table.start), rows.of(table.end), rows.of(table.ids)
        models = [
            each.fields["response_model"] or each.fields["request_model"] for each in self.sorts
        ]
        yield "start_time", (start // NS_PER_US).tobytes()
        yield "duration_us", ((end - start) // NS_PER_US).tobytes()
        yield "model_name", self._by_sort(models)
        yield "status", native.labels(("ok", "error"), rows.of(table.is_error).view(np.uint8))
        yield "trace_id", native.hexadecimal(ids[:, :16]).tobytes()
        yield "span_id", native.hexadecimal(ids[:, 16:24]).tobytes()
        yield "parent_span_id", _parents(ids)
        yield "time_to_first_chunk_us", self._nullable(table.first_chunk_us)
        claimed = None if table.claimed is None else claimed_of(table.claimed)
        yield "claimed_cost_usd", self._nullable(claimed)
        yield "tags", self._tags()
        yield "quality_flags", self._quality_flags()
        for name, counts in zip(TOKEN_FIELDS, table.counts, strict=True):
            yield name, self._nullable(counts)

    def _of_payers(self) -> Iterator[tuple[str, bytes]]:
        yield "tenant", self._by_key(1, "tenant")
        yield "source", self._by_key(0, "source")
        yield "department", native.labels(self.payer.departments, self.payer.department)
        yield "department_source", native.labels(PAYERS, self.payer.source)

    def _of_costs(self) -> Iterator[tuple[str, bytes]]:
        rows, costs = self.rows, self.rows.costs
        reason = rows.of(costs.reason)
        is_unpriced = reason > 0
        price = np.where(is_unpriced, len(costs.prices), rows.of(costs.price))
        prices = [*costs.prices, ("", "", ())]
        yield "cost_status", native.labels(_STATUS, is_unpriced.view(np.uint8))
        yield "unpriced_reason", native.labels(REASONS, reason)
        yield "price_flags", native.arrays([each[2] for each in prices], price)
        yield "other_cost_usd", native.nullable(rows.of(costs.other), ~rows.of(costs.has_other))
        yield "cache_saved_usd", native.nullable(rows.of(costs.saved), ~rows.of(costs.has_saved))
        for at, name in enumerate(("price_id", "price_source")):
            words, numbers = native.numbered(str(each[at]) for each in prices)
            yield name, native.labels(words, numbers[price])
        for name, amount in _AMOUNTS.items():
            yield name, native.nullable(rows.of(getattr(costs, amount)), is_unpriced)

    def _of_call(self, name: str, kind: str) -> bytes:
        """Return a field of calls that is no part of what this module works out."""
        texts = self.rows.table.texts.get(name)
        if texts is not None:
            own = self.rows.values(texts)
            has_labels = kind == "LowCardinality(String)"
            return native.labels(*native.numbered(own)) if has_labels else native.strings(own)
        values = [each.fields[name] for each in self.sorts]
        match kind:
            case "LowCardinality(String)":
                return self._by_sort(values)
            case "String":
                return native.strings([values[at] for at in self.sort.tolist()])
            case "Bool":
                return bytes(np.array(values, bool)[self.sort])
            case "Array(LowCardinality(String))":
                return native.arrays(values, self.sort)
            case "Map(LowCardinality(String), LowCardinality(String))":
                return native.maps(values, self.sort, has_labels=True)
            case "Map(LowCardinality(String), Float64)" if not any(values):
                return native.maps((), np.zeros(0, np.int64), has_labels=False) + bytes(
                    8 * self.size
                )
            case _:
                raise TypeError(f"no rule encodes {name} ({kind}) by columns")

    def _by_sort(self, values: Sequence[str]) -> bytes:
        words, number = native.numbered(values)
        return native.labels(words, number[self.sort])

    def _by_key(self, at: int, name: str) -> bytes:
        """Return what the ingest key decides; without one the call's own."""
        of_keys = [None if key is None else key[at] for key in self.keys]
        if None not in of_keys:
            words, number = native.numbered(map(str, of_keys))
            return native.labels(words, number[self.key])
        own = [each.fields[name] for each in self.sorts]
        words, number = native.numbered([*own, *(each or "" for each in of_keys)])
        is_own = np.array([each is None for each in of_keys], bool)[self.key]
        of_key = number[len(own) :][self.key]
        return native.labels(words, np.where(is_own, number[: len(own)][self.sort], of_key))

    def _same(self, word: str) -> bytes:
        return native.labels([word], np.zeros(self.size, np.int64))

    def _nullable(self, column: Integers | None) -> bytes:
        if column is None:
            return native.nulls(self.size)
        column = self.rows.of(column)
        return native.nullable(column, column < 0)

    def _tags(self) -> bytes:
        tags = self.rows.table.tags
        if tags is None:
            return native.maps([{}], np.zeros(self.size, np.int64), has_labels=False)
        return native.maps(self.rows.values(tags), np.arange(self.size), has_labels=False)

    def _quality_flags(self) -> bytes:
        mask = self.rows.of(self.rows.table.flags)
        values: dict[tuple[str, ...], int] = {}
        width = 1 << len(FLAGS)
        different, number = in_use(self.sort * width + mask, len(self.sorts) * width)
        numbers = []
        for each in different.tolist():
            at, bits = divmod(each, width)
            more = (flag.value for place, flag in enumerate(FLAGS) if bits >> place & 1)
            flags = (*self.sorts[at].fields["quality_flags"], *more)
            numbers.append(values.setdefault(tuple(map(str, flags)), len(values)))
        return native.arrays(list(values), np.array(numbers, np.int64)[number])


def _parents(ids: NDArray[np.uint8]) -> bytes:
    """Return the parents' ids; the last eight bytes of a row's ids say whether there is one."""
    has_parent = ids[:, 32] != 0
    digits = native.hexadecimal(ids[:, 24:32])
    if has_parent.all():
        column = np.empty((len(ids), 17), np.uint8)
        column[:, 0], column[:, 1:] = 16, digits
        return column.tobytes()
    raw = digits.tobytes()
    return b"".join(
        b"\x10" + raw[16 * row : 16 * row + 16] if there else b"\0"
        for row, there in enumerate(has_parent.tolist())
    )
