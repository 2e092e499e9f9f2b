"""Rows as aligned text."""

from collections.abc import Mapping, Sequence
from typing import TextIO


def write_table(rows: Sequence[Mapping[str, object]], out: TextIO) -> None:
    """Write the rows (all with the same keys) under their keys; nothing where there are none."""
    if not rows:
        return
    lines = [list(rows[0]), *([_shown(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        out.write("  ".join(cells).rstrip() + "\n")


def _shown(value: object) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(value))
