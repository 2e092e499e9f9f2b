"""Rows that are booked, kept in pieces: enough to make the call and its cost of any of them again.

So are the spans around them, which cost nothing.

A piece is the rows' own values, compressed; what their sorts have in common, the prices and the
ingest keys are written once for all pieces of a batch. Everything is kept by name: a name that this
version does not have is refused, and never misread.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import lz4.block
import numpy as np
import orjson
from numpy.typing import NDArray

from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.access.keys import Key
from tallyspan_collector.columns.part import ID_BYTES
from tallyspan_collector.columns.priced import PAYERS, Payers, PricedRows, claimed_of
from tallyspan_collector.columns.shapes import Sort
from tallyspan_collector.columns.table import FLAGS, in_use
from tallyspan_collector.dialects.reading import Kind
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.pricing.price_columns import REASONS
from tallyspan_collector.read.call import BLANK, Call, call_of

PIECE_ROWS = 2_048
"""Rows of a piece: one of them is read by unpacking all."""
_SIZE = 4
"""Bytes that say how long the text of a piece is; its numbers follow."""
_TUPLES = frozenset(name for name, blank in BLANK.items() if blank == ())


def pack(
    rows: PricedRows, payer: Payers, give_way: Callable[[], None] = lambda: None
) -> tuple[bytes, list[bytes]]:
    """Return what all the rows have in common, and the rows in pieces.

    `give_way` is called between the steps.
    """
    payer = _of_remembered(rows, payer)
    rows = replace(rows, rows=rows.remembered)
    table, costs = rows.table, rows.costs
    prices, price = in_use(rows.of(costs.price), len(costs.prices))
    keys = [each.key for each in table.receipts]
    different = list(dict.fromkeys(keys))
    key = np.array([different.index(each) for each in keys], np.int64)[rows.of(table.request)]
    common = orjson.dumps(
        {
            "sorts": [_sort(sort) for sort in table.sorts],
            "prices": [costs.prices[number] for number in prices.tolist()],
            "keys": [_fields_of_key(each) for each in different],
            "flags": [str(flag) for flag in FLAGS],
            "departments": payer.departments,
            "reasons": REASONS,
            "wrappers": [
                number for number, sort in enumerate(table.sorts) if sort.kind is not Kind.CALL
            ],
            "inherited": [*rows.is_inherited],
        }
    )
    numbers: dict[str, NDArray[Any] | None] = {
        "start": rows.of(table.start),
        "end": rows.of(table.end),
        "sort": rows.of(table.sort),
        "is_error": rows.of(table.is_error),
        "flags": rows.of(table.flags),
        "key": key,
        "first_chunk_us": None if table.first_chunk_us is None else rows.of(table.first_chunk_us),
        "claimed": None if table.claimed is None else rows.of(claimed_of(table.claimed)),
        "price": price,
        "department": payer.department,
        "department_source": payer.source,
        "inherited": _inherited(rows),
        **{
            name: rows.of(getattr(costs, name))
            for name in (
                "cost",
                "input",
                "output",
                "reason",
                "other",
                "has_other",
                "saved",
                "has_saved",
            )
        },
        **{
            name: None if column is None else rows.of(column)
            for name, column in zip(TOKEN_FIELDS, table.counts, strict=True)
        },
    }
    give_way()
    columns = {name: column for name, column in numbers.items() if column is not None}
    zeros = [name for name, column in columns.items() if not column.any()]
    columns = {
        name: np.ascontiguousarray(column, np.int64)
        for name, column in columns.items()
        if name not in zeros
    }
    give_way()
    texts = {name: rows.values(values) for name, values in table.texts.items()}
    tags = None if table.tags is None else rows.values(table.tags)
    ids = np.ascontiguousarray(rows.of(table.ids))
    pieces = []
    give_way()
    for first in range(0, len(rows.rows), PIECE_ROWS):
        part = slice(first, first + PIECE_ROWS)
        text = orjson.dumps(
            {
                "rows": len(ids[part]),
                "numbers": list(columns),
                "zeros": zeros,
                "texts": {name: values[part] for name, values in texts.items()},
                "tags": None if tags is None else tags[part],
            }
        )
        parts = [len(text).to_bytes(_SIZE, "little"), text, ids[part].tobytes()]
        parts += (column[part].tobytes() for column in columns.values())
        pieces.append(lz4.block.compress(b"".join(parts)))
        give_way()
    return lz4.block.compress(common), pieces


def _of_remembered(rows: PricedRows, payer: Payers) -> Payers:
    """Return who pays, for the rows that are remembered; nobody does for a span around calls."""
    is_call = rows.table.is_call[rows.remembered]
    department, source = (np.zeros(len(is_call), np.int64) for _ in range(2))
    department[is_call], source[is_call] = payer.department, payer.source
    return Payers(payer.departments, department, source)


def _inherited(rows: PricedRows) -> NDArray[np.int64]:
    """Return a bit for each of the fields that may be inherited: whether they are."""
    bits = np.zeros(len(rows.rows), np.int64)
    for at, is_inherited in enumerate(rows.is_inherited.values()):
        bits |= rows.of(is_inherited).astype(np.int64) << at
    return bits


def _sort(sort: Sort) -> Mapping[str, object]:
    return {name: value for name, value in sort.fields.items() if value != BLANK[name]}


def _fields_of_key(key: Key | None) -> Mapping[str, str]:
    if key is None:
        return {}
    return {"source": key.source, "tenant": key.tenant, "key_department": key.department}


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece that is read again, see `pack`."""

    common: Mapping[str, Any]
    ids: bytes
    numbers: Mapping[str, NDArray[np.int64]]
    zeros: frozenset[str]
    texts: Mapping[str, Sequence[str]]
    tags: Sequence[Mapping[str, str]] | None

    def entry(self, row: int) -> tuple[Call, Cost]:
        """Return the call at a place, as it was booked, and its cost.

        Raises `TypeError`, with its name, for a field that does not exist (any more).
        """
        return self.call(row), self._cost(row)

    def is_call(self, row: int) -> bool:
        """Whether the span at a place is a call; else it has no entry."""
        return self._of("sort", row) not in self.common.get("wrappers", ())

    def reported(self, row: int, call: Call) -> Call:
        """Return the call at a place without what it has from the spans around it; often itself."""
        mask = self._of("inherited", row)
        if not mask:
            return call
        fields = (names for at, names in enumerate(self.common["inherited"]) if mask >> at & 1)
        blank: dict[str, Any] = {name: "" for names in fields for name in names}
        return call._replace(**blank)

    def _number(self, name: str, row: int) -> int | None:
        """Return a number of the row; None: it is not known."""
        if name in self.zeros:
            return 0
        column = self.numbers.get(name)
        return None if column is None else int(column[row])

    def _count(self, name: str, row: int) -> int | None:
        """Return a number of the row that is -1 where it is not known."""
        number = self._number(name, row)
        return None if number is None or number < 0 else number

    def _of(self, name: str, row: int) -> int:
        return self._number(name, row) or 0

    def call(self, row: int) -> Call:
        """Return the span at a place, a call as it was booked."""
        common = self.common
        draft = BLANK | _with_tuples(common["sorts"][self._of("sort", row)])
        ids = self.ids[ID_BYTES * row : ID_BYTES * (row + 1)]
        draft["trace_id"], draft["span_id"] = ids[:16].hex(), ids[16:24].hex()
        draft["parent_span_id"] = ids[24:32].hex() if ids[32] else ""
        draft["start_time_ns"], draft["end_time_ns"] = self._of("start", row), self._of("end", row)
        draft |= {name: column[row] for name, column in self.texts.items()}
        if self.tags is not None:
            draft["tags"] = self.tags[row]
        draft["is_error"] = bool(self._of("is_error", row))
        draft["time_to_first_chunk_us"] = self._count("first_chunk_us", row)
        draft["claimed_cost_picousd"] = self._count("claimed", row)
        draft["usage"] = Usage(*(self._count(name, row) for name in TOKEN_FIELDS))
        mask = self._of("flags", row)
        flags = (flag for at, flag in enumerate(common["flags"]) if mask >> at & 1)
        draft["quality_flags"] = (*draft["quality_flags"], *flags)
        return call_of(draft | common["keys"][self._of("key", row)])

    def _cost(self, row: int) -> Cost:
        common = self.common
        paid = (
            common["departments"][self._of("department", row)],
            PAYERS[self._of("department_source", row)],
        )
        if reason := common["reasons"][self._of("reason", row)]:
            return Cost(None, None, None, "unpriced", reason, "", "", None, *paid)
        price_id, source, flags = common["prices"][self._of("price", row)]
        cost, prompt, answer = (self._of(name, row) for name in ("cost", "input", "output"))
        return Cost(
            cost,
            prompt,
            answer,
            "priced",
            "",
            price_id,
            source,
            None,
            *paid,
            tuple(flags),
            self._of("other", row) if self._of("has_other", row) else None,
            self._of("saved", row) if self._of("has_saved", row) else None,
        )


def read_piece(sorts: bytes, calls: bytes) -> Piece:
    """Return a piece; `sorts` is what `pack` returns for all of them."""
    raw = lz4.block.decompress(calls)
    at = _SIZE + int.from_bytes(raw[:_SIZE], "little")
    text = orjson.loads(raw[_SIZE:at])
    rows = text["rows"]
    ids = raw[at : at + ID_BYTES * rows]
    at += len(ids)
    values = np.frombuffer(raw, np.int64, offset=at).reshape(len(text["numbers"]), rows)
    return Piece(
        orjson.loads(lz4.block.decompress(sorts)),
        ids,
        dict(zip(text["numbers"], values, strict=True)),
        frozenset(text["zeros"]),
        text["texts"],
        text["tags"],
    )


def _with_tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with tuples where JSON has lists."""
    return {name: tuple(value) if name in _TUPLES else value for name, value in fields.items()}
