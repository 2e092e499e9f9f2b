"""CSV that a spreadsheet shows and does not run."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

# Excel, LibreOffice and Google Sheets run a cell that begins so; full-width characters of
# East Asian keyboards count as their plain ones.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001  meant
_SIGNS = frozenset(_FORMULA)
_NUMBER = re.compile(r"-[0-9]+(\.[0-9]+)?")


def cell(value: object) -> object:
    """Return the value for a cell; text that would run as a formula gets an apostrophe in front.

    A sender can choose the names in a ledger. A negative number as text stays one.
    """
    if isinstance(value, str) and value.startswith(_FORMULA) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def cells(row: Mapping[str, str], names: Sequence[str]) -> list[object]:
    """Return the texts of a row for its cells, as `cell` does; empty where it has none."""
    texts = [row.get(name, "") for name in names]
    return [cell(each) if each[:1] in _SIGNS else each for each in texts]


def write_rows(rows: Iterable[Mapping[str, object]], names: Sequence[str], out: TextIO) -> None:
    """Write a header of the names and the rows as CSV, None as an empty field."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([cell(row[name]) for name in names] for row in rows)
