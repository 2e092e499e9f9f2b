"""Rows by 63-bit id in SQLite, for ids that come in no order, by the million.

A row put straight into a table of millions dirties a page of its own, so a batch would write the
table nearly whole. New rows are gathered in a small table and moved into the large one together, in
their order: each page is then written once for many rows.

Two large tables take turns, so that forgetting is one DELETE; the small one belongs to the current.
"""

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence

MAX_YOUNG_ROWS = 65_536
"""New rows that each process gathers in the small table."""
_IS_WANTED = "id IN (SELECT value FROM json_each(?))"


def find_rows(
    file: sqlite3.Connection, name: str, ids: Collection[int], turn: int
) -> list[tuple[int, tuple[int, ...]]]:
    """Return the rows of those ids, each after its turn; the youngest are last."""
    wanted = json.dumps(list(ids))
    parts = ((1 - turn, 1 - turn), (turn, turn), (turn, "young"))
    return [
        (of, row)
        for of, part in parts
        for row in file.execute(f"SELECT * FROM {name}_{part} WHERE {_IS_WANTED}", (wanted,))
    ]


class Turns:
    """Which of two sets of tables is the current one, by the window of time, in one file.

    `forgets_one`: however far the clock is ahead of the last look, one set is forgotten and not
    both. A clock that is days ahead for a moment does not empty the file then; after a long rest a
    set is kept for longer than two windows.
    """

    def __init__(self, file: sqlite3.Connection, name: str, *, forgets_one: bool = False) -> None:
        self._forgets_one = forgets_one
        self._file = file
        self._table = f"{name}_turn"
        file.execute(
            f"CREATE TABLE IF NOT EXISTS {self._table}"
            " (one INTEGER PRIMARY KEY, epoch INTEGER NOT NULL)"
        )

    def at(self, epoch: int) -> tuple[int, list[int]]:
        """Return the turn of that window, and the turns to be forgotten because it begins."""
        row = self._file.execute(f"SELECT epoch FROM {self._table}").fetchone()
        last = row[0] if row else epoch
        if row is not None and epoch <= last:  # a clock that goes back changes nothing
            return last % 2, []
        if self._forgets_one and row is not None:
            epoch += (epoch - last) % 2 == 0  # the parity says that the other set is current now
        self._file.execute(f"INSERT OR REPLACE INTO {self._table} VALUES (1, ?)", (epoch,))
        if row is None:
            return epoch % 2, []
        return epoch % 2, [epoch % 2] if epoch == last + 1 or self._forgets_one else [0, 1]


class IdRegistry:
    """One such table, `name`, of integer columns; every method runs in the caller's transaction.

    `turn` is 0 or 1: the large table that new rows end in.
    """

    def __init__(self, file: sqlite3.Connection, name: str, columns: Sequence[str] = ()) -> None:
        self._file = file
        self._name = name
        self._young_rows = 0
        declared = "".join(f", {column} INTEGER NOT NULL" for column in columns)
        for part in ("0", "1", "young"):
            file.execute(
                f"CREATE TABLE IF NOT EXISTS {name}_{part} (id INTEGER PRIMARY KEY{declared})"
            )
        self._values = ", ".join("?" * (1 + len(columns)))

    def find(self, ids: Collection[int], turn: int) -> list[tuple[int, tuple[int, ...]]]:
        """Return the rows of those ids, each after its turn; the youngest are last."""
        return find_rows(self._file, self._name, ids, turn)

    def claim(self, ids: Collection[int], turn: int) -> set[int]:
        """Add the ids that neither turn has; return them."""
        wanted = json.dumps(sorted(ids))
        name = self._name
        fresh = {
            number
            for (number,) in self._file.execute(
                f"INSERT OR IGNORE INTO {name}_young SELECT value FROM json_each(?) RETURNING id",
                (wanted,),
            )
        }
        older = {
            number
            for part in (0, 1)
            for (number,) in self._file.execute(
                f"SELECT id FROM {name}_{part} WHERE {_IS_WANTED}", (wanted,)
            )
        }
        self._grown(len(fresh), turn)
        return fresh - older

    def add(self, rows: Iterable[tuple[int, ...]], turn: int) -> None:
        """Add rows, in place of what their ids had."""
        ordered = sorted(rows)
        self._file.executemany(
            f"INSERT OR REPLACE INTO {self._name}_young VALUES ({self._values})",
            ordered,
        )
        self._grown(len(ordered), turn)

    def add_counted(self, ids: Sequence[int], first: int, turn: int) -> None:
        """Add ids whose one column counts up from `first`, in place of what they had."""
        self._file.execute(
            f"INSERT OR REPLACE INTO {self._name}_young SELECT value, ? + key FROM json_each(?)",
            (first, json.dumps(ids)),
        )
        self._grown(len(ids), turn)

    def delete(self, ids: Iterable[int]) -> None:
        """Forget those ids."""
        wanted = json.dumps(list(ids))
        for part in (0, 1, "young"):
            self._file.execute(f"DELETE FROM {self._name}_{part} WHERE {_IS_WANTED}", (wanted,))

    def begin(self, turn: int, old: Collection[int]) -> None:
        """Begin a turn: the young rows are the other's from now on, the old ones are forgotten."""
        self.settle(1 - turn)
        for each in old:
            self._file.execute(f"DELETE FROM {self._name}_{each}")

    def settle(self, turn: int) -> None:
        """Move the young rows into the large table of this turn."""
        name = self._name
        self._file.execute(
            f"INSERT OR REPLACE INTO {name}_{turn} SELECT * FROM {name}_young ORDER BY id"
        )
        self._file.execute(f"DELETE FROM {name}_young")
        self._young_rows = 0

    def _grown(self, rows: int, turn: int) -> None:
        self._young_rows += rows
        if self._young_rows >= MAX_YOUNG_ROWS:
            self.settle(turn)
