"""Columns -> the bytes of an INSERT: ClickHouse Native blocks, and the LZ4 frame they go in."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import lz4.frame
from clickhouse_connect.datatypes.base import ClickHouseType
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.insert import InsertContext
from clickhouse_connect.driver.rustcodec import _make_native_transform

TIMES = ("start_time", "ingested_at")
BLOCK_ROWS = 2_048
"""Rows of a Native block; small ones stay in the CPU's cache."""
_START_OF_DATA = b"FORMAT Native\n"


def payload(blocks: bytes) -> bytes:
    """Return the body of an INSERT of these blocks."""
    packed: bytes = lz4.frame.compress(blocks)
    return packed


class Encoder:
    """Encodes with the ledger's column types, which `open` fetches."""

    def __init__(self, client: Client, table: str) -> None:
        self._client = client
        self._table = table
        self._context: InsertContext | None = None
        self._types: dict[str, ClickHouseType] = {}
        is_rust = find_spec("_ch_core") is not None
        # `insert()` would not return its bytes, and a batch must stay what it is.
        self._codec = _make_native_transform("rust" if is_rust else "python")
        self._formats: dict[str, str | dict[str, str]] = (
            {} if is_rust else dict.fromkeys(TIMES, "int")
        )

    def open(self) -> None:
        """Fetch the column types; a second time does nothing. Raises the errors of the store."""
        if not self._types:
            described = self._client.create_insert_context(self._table, "*")
            self._types = dict(zip(described.column_names, described.column_types, strict=True))

    @property
    def types(self) -> dict[str, str]:
        """The column types, by name, as ClickHouse writes them."""
        return {name: each.name for name, each in self._types.items()}

    def encode(self, columns: Mapping[str, Sequence[Any]]) -> bytes:
        """Return the payload of columns of equal length; `DataError`: a value does not fit."""
        return payload(self.blocks(columns))

    def blocks(self, columns: Mapping[str, Sequence[Any]]) -> bytes:
        """Return blocks of columns of equal length; `DataError`: a value does not fit."""
        names = list(columns)
        rows = len(columns[names[0]])
        context = self._context_of(names)
        blocks = bytearray()
        for start in range(0, rows, BLOCK_ROWS):
            context.data = [columns[name][start : start + BLOCK_ROWS] for name in names]
            refused: list[Exception] = []
            parts = self._codec.build_insert(context, refused.append)
            insert = b"".join(bytes(part) for part in parts)
            if refused:
                raise refused[0]
            blocks += insert[insert.index(_START_OF_DATA) + len(_START_OF_DATA) :]
        return bytes(blocks)

    def _context_of(self, names: list[str]) -> InsertContext:
        # One for all: it refers to itself, so each new one would keep its data until a collection.
        if self._context is None or self._context.column_names != names:
            self._context = InsertContext(
                self._table,
                names,
                [self._types[name] for name in names],
                column_oriented=True,
                column_formats=self._formats,
                block_size=BLOCK_ROWS,
            )
        return self._context
