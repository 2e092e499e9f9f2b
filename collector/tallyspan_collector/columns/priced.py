"""Rows of a table with what they cost and who pays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallyspan_collector.columns.native import numbered
from tallyspan_collector.columns.table import Table
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.pricing.price_columns import CostColumns

Integers = NDArray[np.int64]
PAYERS = ("span", "directory", "key", "")
"""Who names the department of a call."""


@dataclass(slots=True)
class Payers:
    """Who pays for each row: the department and who named it, by number (`PAYERS`)."""

    departments: Sequence[str]
    department: Integers
    source: Integers


@dataclass(slots=True)
class PricedRows:
    """The rows of a table that are written together, and what they cost; costs are of all rows.

    `remembered` are the same rows, in the same order, and between them those of spans that are no
    calls. `is_inherited`: fields -> which rows of the table have them from another span.
    """

    table: Table
    costs: CostColumns
    rows: Integers
    remembered: Integers
    is_inherited: Mapping[tuple[str, ...], NDArray[np.bool_]]

    def of(self, column: NDArray[Any]) -> NDArray[Any]:
        """Return a column's values of these rows."""
        return column if len(self.rows) == self.table.rows else column[self.rows]

    def values(self, column: Sequence[Any]) -> Sequence[Any]:
        """Return the values of a sequence."""
        if len(self.rows) == self.table.rows:
            return column
        return [column[row] for row in self.rows.tolist()]


def payers(rows: PricedRows, directory: Directory) -> Payers:
    """Return who pays, as `entry.costs` decides it: the span, the directory, the key."""
    table = rows.table
    keys = [each.key for each in table.receipts]
    sort = rows.of(table.sort)
    if "department" in table.texts:
        departments, department = numbered(rows.values(table.texts["department"]))
    else:
        departments, numbers = numbered(each.fields["department"] for each in table.sorts)
        department = numbers[sort]
    source = np.zeros(len(sort), np.int64)
    is_open = np.array([not each for each in departments], bool)
    lacking = np.nonzero(is_open[department])[0]
    if len(lacking):
        at = {name: number for number, name in enumerate(departments)}
        texts = table.texts.get("user_id")
        users = None if texts is None else rows.values(texts)
        request, start = rows.of(table.request), rows.of(table.start)
        for row in lacking.tolist():
            key = keys[request[row]]
            tenant = table.sorts[sort[row]].fields["tenant"] if key is None else key.tenant
            name = directory.department(tenant, users[row] if users else "", int(start[row]))
            of_key = "" if key is None else key.department
            source[row] = 1 if name else 2 if of_key else 3
            department[row] = at.setdefault(name or of_key, len(at))
        departments = list(at)
    return Payers(departments, department, source)


def claimed_of(claimed: Sequence[int | None]) -> Integers:
    """Return what emitters claim, in pico-dollars; -1: nothing."""
    return np.array([-1 if each is None else each for each in claimed], np.int64)
