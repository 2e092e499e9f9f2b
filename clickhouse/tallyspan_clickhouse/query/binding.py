"""How a page's query names its range, what its reader chose, and the views it reads.

The same query is written for Grafana, whose ClickHouse plugin puts values into macros and variables
(https://github.com/grafana/clickhouse-datasource#macros), and for the console, where every value is
a bound parameter.
"""

from dataclasses import dataclass
from typing import Protocol

from tallyspan_clickhouse.query.access import LIMITS, own_rows

MAX_ROWS = 20_000
"""Rows of a table in Grafana, and in the console before a file with all of them is asked for."""
MAX_DRAWN_CHOICES = 200


class Binding(Protocol):
    """What differs between the two. A variable has a name, its condition is on a column."""

    @property
    def start(self) -> str:
        """Return the first moment of the range, a DateTime."""

    @property
    def end(self) -> str:
        """Return the last second of the range, a DateTime."""

    @property
    def is_limited(self) -> bool:
        """Whether the reader may not see all departments and tenants."""

    @property
    def is_unfiltered(self) -> bool:
        """Whether every variable with several values is known to be All."""

    def view(self, name: str) -> str:
        """Return what stands behind FROM or JOIN for a view. Raises KeyError for an unknown one."""

    def within(self, column: str) -> str:
        """Return the condition that a time is in the range."""

    def some(self, variable: str, column: str) -> str:
        """Return the condition of a variable with several values or All."""

    def one(self, variable: str, column: str) -> str:
        """Return the condition of a variable with one value; without a value it finds nothing."""

    def name(self, variable: str) -> str:
        """Return SQL of the name that a variable with one value has; empty without a value."""

    def is_all(self, variable: str) -> str:
        """Return SQL that is true where the variable is All, else a constant that reads no row."""

    def searched(self, label: str) -> str:
        """Return the condition that a choice has what its reader typed in its label."""

    def is_searched(self) -> str:
        """Return SQL that is true where the reader typed something."""

    @property
    def most_choices(self) -> int:
        """Return how many choices are listed at most."""

    @property
    def cut(self) -> str:
        """Return the LIMIT of a table's rows."""


class Grafana:
    """Macros and variables of Grafana. Its account sees all departments.

    A value of a variable is `k` and the hexadecimal form of a name: no quote in a name can reach
    the SQL text, and turned back into the name it still finds its rows by the index.
    """

    is_limited = is_unfiltered = False
    start = "$__fromTime"
    end = "$__toTime"

    def view(self, name: str) -> str:
        """Return the view, with its database."""
        if name not in LIMITS:
            raise KeyError(name)
        return f"tallyspan.{name}"

    def within(self, column: str) -> str:
        """Return the plugin's condition, by whole seconds."""
        return f"$__timeFilter({column})"

    def some(self, variable: str, column: str) -> str:
        """Return the condition, which the plugin leaves out for All."""
        names = f"arrayMap(k -> unhex(substring(k, 2)), [${{{variable}:singlequote}}])"
        return f"$__conditionalAll({column} IN ({names}), ${variable})"

    def one(self, variable: str, column: str) -> str:
        """Return the condition on the one name."""
        return f"{column} = {self.name(variable)} AND ${{{variable}:singlequote}} != ''"

    def name(self, variable: str) -> str:
        """Return the name that the key stands for."""
        return f"unhex(substring(${{{variable}:singlequote}}, 2))"

    def is_all(self, variable: str) -> str:
        """Return 1=1 for All, else 0."""
        return f"$__conditionalAll(0, ${variable})"

    def searched(self, label: str) -> str:  # noqa: ARG002  Grafana searches in what it has
        """Return 1: Grafana searches in the list that it has."""
        return "1"

    def is_searched(self) -> str:
        """Return 0."""
        return "0"

    most_choices = 10_000
    cut = f"LIMIT {MAX_ROWS}"


@dataclass(frozen=True, slots=True)
class Bound:
    """Bound parameters: `from_s` and `to_s` in seconds since 1970, an array of names a variable.

    `is_limited`: for readers who may not see everything; each view is then read through
    `own_rows`, whose parameters are bound too. `is_unfiltered`: for a page above which nothing is
    chosen; what is read only for a choice is left out, and need not be planned by the store.
    """

    is_limited: bool = False
    is_unfiltered: bool = False

    @property
    def start(self) -> str:
        """Return the first moment of the range."""
        return "toDateTime({from_s:UInt32}, 'UTC')"

    @property
    def end(self) -> str:
        """Return the last second of the range."""
        return "toDateTime({to_s:UInt32}, 'UTC')"

    def view(self, name: str) -> str:
        """Return the view, of the client's database, or the rows of it the reader may see."""
        own = own_rows(name)
        return f"(SELECT * FROM {name} WHERE {own})" if self.is_limited else name  # noqa: S608  a view of the schema

    def within(self, column: str) -> str:
        """Return the condition, by whole seconds."""
        return f"{column} >= {self.start} AND {column} <= {self.end}"

    def some(self, variable: str, column: str) -> str:
        """Return the condition; an empty array is All."""
        if self.is_unfiltered:
            return "1"
        names = f"{{{variable}:Array(String)}}"
        return f"(empty({names}) OR {column} IN {names})"

    def one(self, variable: str, column: str) -> str:
        """Return the condition; an empty array finds nothing."""
        return f"{column} IN {{{variable}:Array(String)}}"

    def name(self, variable: str) -> str:
        """Return the first of the array."""
        return f"{{{variable}:Array(String)}}[1]"

    def is_all(self, variable: str) -> str:
        """Return whether the array is empty, which is known before anything is read."""
        return "1" if self.is_unfiltered else f"empty({{{variable}:Array(String)}})"

    def searched(self, label: str) -> str:
        """Return the condition, in whatever case; all have an empty text in them."""
        return f"positionCaseInsensitiveUTF8({label}, {{contains:String}}) > 0"

    def is_searched(self) -> str:
        """Return whether there is a text."""
        return "{contains:String} != ''"

    @property
    def most_choices(self) -> int:
        """Return one more than are drawn, which tells that there are more."""
        return MAX_DRAWN_CHOICES + 1

    @property
    def cut(self) -> str:
        """Return a limit that whoever asks decides."""
        return "LIMIT {max_rows:UInt32}"
