"""Rows as aligned text in a terminal."""

import codecs
import unicodedata
from collections.abc import Mapping, Sequence
from typing import BinaryIO, TextIO

from tallyspan_collector.units.text import printable


def write_table(rows: Sequence[Mapping[str, object]], out: TextIO, left: int | None = None) -> None:
    """Write the rows, which all have the same keys, under a line of the keys; no rows: nothing.

    The first `left` columns are flush left; None: all.
    """
    if rows:
        cells = [list(rows[0]), *([printable(value) for value in row.values()] for row in rows)]
        flush_left = len(rows[0]) if left is None else left
        out.writelines(f"{line}\n" for line in aligned(cells, flush_left))


def aligned(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Return a line for each row of cells; the first `left` columns are flush left."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return [_line(cells, widths, left) for cells in rows]


class OnTerminal:
    """Writes UTF-8 to a terminal, in any cut, as text that cannot control it; lines stay lines."""

    def __init__(self, terminal: BinaryIO) -> None:
        self._terminal = terminal
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, data: bytes) -> int:
        """Write the characters that are complete."""
        text = self._decoder.decode(data)
        kept = (each if each in "\n\t" else printable(each) for each in text)
        self._terminal.write("".join(kept).encode())
        return len(data)


def width(text: str) -> int:
    """Return how many columns of the terminal the text takes."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)


def _line(cells: Sequence[str], widths: Sequence[int], left: int) -> str:
    padded = []
    for place, (cell, columns) in enumerate(zip(cells, widths, strict=True)):
        space = " " * (columns - width(cell))
        padded.append(cell + space if place < left else space + cell)
    return "  ".join(padded).rstrip()
