"""What the schema is described with: columns, measures, rollups and views as frozen values."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

NAME = re.compile(r"[a-z][a-z0-9_]*")
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
CONVERSATION_HASH = "conversation_hash"
"""Key beside the columns of the ledger: conversations are counted by it."""
PART = "part"
"""Key of a table that several rollups share: which of them a row is of."""


class SchemaError(Exception):
    """Two values of the schema contradict each other; the message names both."""


class Net(StrEnum):
    """How the entries of one call become its one value in the view `calls`."""

    KEY = "key"
    """All entries of a call have the same value."""
    LATEST = "latest"
    """The value of the newest entry that is no reversal."""
    SUM = "sum"
    """The sum over all entries; NULL where no entry has a value."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """How calls are told apart by a column: its name in `group_by` and its name as a filter.

    `values`: all there are, of a closed set; empty: any text.
    """

    group: str
    filter: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the ledger `llm_calls`.

    `comment` says what it holds and its unit; `codec`, `default` and `ttl` are SQL. `net` says how
    the entries of a call become one value; None: it is of single entries. `field` is its name in
    the API's calls and in `token_usage` where that differs. `usage` is its SQL over an entry `l`
    where rollups group by something else than the plain column, and `usage_comment` what it means
    there.
    """

    name: str
    type: str
    comment: str
    codec: str = ""
    default: str = ""
    ttl: str = ""
    net: Net | None = None
    is_in_calls: bool = True
    """Whether the view `calls` has it as it is."""
    dimension: Dimension | None = None
    field: str = ""
    is_listed: bool = True
    """Whether the API shows it with a call."""
    usage: str = ""
    usage_comment: str = ""

    @property
    def is_shown(self) -> bool:
        """Whether it is a column of the view `calls`."""
        return self.net is not None and self.is_in_calls

    @property
    def call_type(self) -> str:
        """Return its type in the view `calls`: sums are wider, fixed strings are text."""
        if self.net is Net.SUM:
            return self.type.replace("Decimal(18", "Decimal(38")
        return "String" if self.type.startswith("FixedString") else self.type

    @property
    def usage_sql(self) -> str:
        """Return its SQL over an entry `l`, as rollups group by it."""
        return self.usage or f"l.{self.name}"


@dataclass(frozen=True, slots=True)
class CallColumn:
    """A column that the view `calls` works out: `one` of a call's only entry, `several` of all.

    Both are SQL over entries `l`. It stands behind the column `after`.
    """

    name: str
    type: str
    comment: str
    one: str
    several: str
    after: str
    dimension: Dimension | None = None
    field: str = ""
    is_listed: bool = True

    @property
    def call_type(self) -> str:
        """Return its type in the view `calls`."""
        return self.type


@dataclass(frozen=True, slots=True)
class Measure:
    """Something that is added up.

    `entry` is the SQL of what an entry `l` adds, never NULL; `entry_or_null` the same where unknown
    is NULL, for the view of single entries. `view` is the SQL over a row `r` of a rollup where that
    is not the plain sum, with `view_type` and `view_comment`. `call` is the SQL of its sum over
    calls `c`, for measures that the API adds up. A histogram is a map that is added up key by key.
    `is_everywhere`: every rollup has it; else those that name it in `more`.
    """

    name: str
    type: str
    comment: str
    entry: str
    entry_or_null: str = ""
    view: str = ""
    view_type: str = ""
    view_comment: str = ""
    call: str = ""
    codec: str = "T64, ZSTD(1)"
    is_everywhere: bool = True

    @property
    def is_histogram(self) -> bool:
        """Whether its values are maps."""
        return self.type.startswith("Map(")

    @property
    def sum(self) -> str:
        """Return the SQL of its sum over entries `l`."""
        return f"sumMap({self.entry})" if self.is_histogram else f"sum({self.entry})"

    @property
    def stored_type(self) -> str:
        """Return its type in the table of a rollup."""
        return f"SimpleAggregateFunction(sumMap, {self.type})" if self.is_histogram else self.type


@dataclass(frozen=True, slots=True)
class RollupTable:
    """A table of sums of all measures by `key`, its columns in the order of the sorting key.

    `day` or `hour` is one of them; with both, the hour is kept and the day is worked out of it. The
    table is filled by `feed`, a materialized view, from the ledger or from what is inserted into
    the table `fed_by`. `more` are measures beyond those that every table has. With `parts` each row
    fed is added up once for each of the rollups of these names, by the columns that it has: a view
    costs every insert as much as a thousand rows do, a part of a table hardly anything.
    """

    name: str
    key: tuple[str, ...]
    about: str
    more: tuple[str, ...] = ()
    fed_by: str = ""
    parts: tuple[str, ...] = ()

    @property
    def feed(self) -> str:
        """Return the name of the materialized view that fills the table."""
        return f"{self.name}_feed"

    @property
    def time(self) -> str:
        """Return its column of time: `day` (Date) or `hour` (DateTime), both UTC."""
        return "hour" if "hour" in self.key else "day"

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of its key that are stored."""
        return tuple(name for name in self.key if name != "day" or self.time == "day")


@dataclass(frozen=True, slots=True)
class Rollup:
    """What people read of a table of sums: `view`, by the columns of `key`, `day` or `hour` in it.

    `more` are the measures it has beyond those that every table has; `part` names the rows that are
    its own, in a table with parts. One without `department` is not for readers limited to some.
    """

    view: str
    table: str
    key: tuple[str, ...]
    about: str
    more: tuple[str, ...] = ()
    part: str = ""
    has_few_rows: bool = True
    """False for nearly as many rows as calls: the API then reads conversations from the calls,
    which have an index of them."""

    @property
    def time(self) -> str:
        """Return its finest column of time: `day` (Date) or `hour` (DateTime), both UTC."""
        return "hour" if "hour" in self.key else "day"

    def has(self, unit: timedelta) -> bool:
        """Return whether it has a column of days, or of hours."""
        return time_of(unit) in self.key

    @property
    def columns(self) -> frozenset[str]:
        """Return the columns of the ledger it knows."""
        return frozenset(self.key) - {"day", "hour"}


def time_of(unit: timedelta) -> str:
    """Return the column of rollups for pieces of time of this length: days or hours."""
    return "day" if unit == DAY else "hour"


@dataclass(frozen=True, slots=True)
class View:
    """A view that the reader's account may select from.

    `limited_by` are its columns that say whose a row is, of `tenant` and `department`: who may see
    some departments only sees rows of those, and none of a view without that column. `is_open`:
    it has nothing of calls, and everybody sees it.
    """

    name: str
    limited_by: tuple[str, ...] = ()
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """A sum of the API and the report: its SQL over the united parts `p`, and what it says."""

    name: str
    sql: str
    about: str


@dataclass(frozen=True, slots=True)
class Schema:
    """The ledger, what is added up of it, and who reads it.

    Raises SchemaError at import if its values contradict each other.
    """

    columns: tuple[Column, ...]
    call_columns: tuple[CallColumn, ...]
    measures: tuple[Measure, ...]
    tables: tuple[RollupTable, ...]
    rollups: tuple[Rollup, ...]
    figures: tuple[Figure, ...]
    views: tuple[View, ...]
    token_usage: tuple[str, ...]
    by_name: Mapping[str, Column] = field(init=False, repr=False)
    """Name of a column of the ledger -> the column."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {each.name: each for each in self.columns})
        _check_names("column of the ledger", [each.name for each in self.columns])
        shown = [each.name for each in self.columns if each.is_shown]
        _check_names("column of calls", shown + [each.name for each in self.call_columns])
        _check_names("measure", [each.name for each in self.measures])
        _check_names("table of sums", [each.name for each in self.tables])
        _check_names("rollup", [each.view for each in self.rollups])
        _check_names("figure", [each.name for each in self.figures])
        _check_names("view", [each.name for each in self.views])
        described: tuple[Column | CallColumn | Measure, ...] = (
            *self.columns, *self.call_columns, *self.measures,
        )  # fmt: skip
        for each in described:
            if not each.comment.strip():
                kind = "measure" if isinstance(each, Measure) else "column"
                raise SchemaError(f"{kind} {each.name} has no comment: say what it holds, its unit")
        for column in self.columns:
            if column.dimension and not column.is_shown:
                raise SchemaError(
                    f"column {column.name} is a dimension and not in calls: give it net"
                )
            if column.net is Net.SUM and not column.type.startswith("Nullable("):
                raise SchemaError(f"column {column.name} is summed, so its type must be Nullable")
        for call_column in self.call_columns:
            if call_column.after not in self.by_name:
                raise SchemaError(
                    f"column {call_column.name} of calls stands after {call_column.after!r},"
                    " which is no column of the ledger"
                )
        _check_names("group", [each.group for each in self.dimensions])
        _check_names("filter", [each.filter for each in self.dimensions])
        for name in self.token_usage:
            if name not in {each.field or each.name for each in self.calls_view if each.is_listed}:
                raise SchemaError(f"token_usage has {name!r}, which is no field of a call")
        for table in self.tables:
            self._check_sums(table.name, table.key, table.more)
            if "department" not in table.key:
                raise SchemaError(
                    f"rollup {table.name} lacks department: nobody could be limited to some"
                )
            if table.fed_by:
                columns = tuple(each for each in table.columns if each != PART or not table.parts)
                self._check_source(table.name, columns, table.more, table.fed_by)
        for rollup in self.rollups:
            self._check_sums(rollup.view, rollup.key, rollup.more)
            self._check_source(rollup.view, rollup.key, rollup.more, rollup.table)

    def _check_sums(self, title: str, key: tuple[str, ...], more: tuple[str, ...]) -> None:
        if not {"day", "hour"} & set(key):
            raise SchemaError(f"rollup {title} must have day or hour in its key")
        if "tenant" not in key:
            raise SchemaError(f"rollup {title} lacks tenant: nobody could be limited to some of it")
        for name in key:
            if name not in {"day", "hour", CONVERSATION_HASH, PART} and name not in self.by_name:
                raise SchemaError(
                    f"rollup {title} groups by {name!r}, which is no column of the ledger"
                )
        optional = {each.name for each in self.measures if not each.is_everywhere}
        for name in more:
            if name not in optional:
                raise SchemaError(
                    f"rollup {title} names {name!r}, which is no measure to choose:"
                    f" there are {', '.join(sorted(optional))}"
                )

    def _check_source(
        self, title: str, columns: tuple[str, ...], more: tuple[str, ...], source: str
    ) -> None:
        """Raise SchemaError if rows of the table do not say what is made of them."""
        other = next((each for each in self.tables if each.name == source), None)
        if other is None:
            raise SchemaError(f"rollup {title} is made of {source!r}, which is no table of sums")
        there = {*other.key} | ({"day"} if other.time == "hour" else set())
        lacking = [name for name in columns if name not in there]
        lacking += [name for name in more if name not in other.more]
        if lacking:
            raise SchemaError(
                f"rollup {title} is made of {source}, which lacks {', '.join(lacking)}"
            )

    def measures_of(self, rollup: Rollup | RollupTable) -> tuple[Measure, ...]:
        """Return the measures a rollup or its table has, in the order of the schema."""
        return tuple(m for m in self.measures if m.is_everywhere or m.name in rollup.more)

    def table_of(self, rollup: Rollup) -> RollupTable:
        """Return the table whose rows a rollup shows."""
        return next(each for each in self.tables if each.name == rollup.table)

    @property
    def calls_view(self) -> tuple[Column | CallColumn, ...]:
        """Return the columns of the view `calls`, in its order."""
        placed: list[Column | CallColumn] = []
        for column in self.columns:
            if column.is_shown:
                placed.append(column)
            placed += [each for each in self.call_columns if each.after == column.name]
        return tuple(placed)

    @property
    def call_fields(self) -> Mapping[str, Column | CallColumn]:
        """Return the columns of `calls` that the API shows, by their names there, in its order.

        Those of `token_usage` come first.
        """
        named = {(each.field or each.name): each for each in self.calls_view if each.is_listed}
        return {name: named[name] for name in (*self.token_usage, *named)}

    @property
    def dimensions(self) -> Mapping[Dimension, Column | CallColumn]:
        """Return what calls can be grouped and filtered by, and the column of `calls` it is in."""
        return {each.dimension: each for each in self.calls_view if each.dimension is not None}

    def netted(self, net: Net) -> tuple[str, ...]:
        """Return the names of the columns whose entries become one value in this way."""
        return tuple(each.name for each in self.columns if each.net is net)

    @property
    def usage_columns(self) -> tuple[Column, ...]:
        """Return the columns of single entries that sums are by, in the order of the ledger.

        Those that a rollup groups by, and the other dimensions.
        """
        named = {name for rollup in self.rollups for name in rollup.columns}
        return tuple(each for each in self.columns if each.name in named or each.dimension)


def _check_names(kind: str, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise SchemaError(f"{kind}: two are called {name!r}")
        if not NAME.fullmatch(name):
            raise SchemaError(f"{kind} {name!r} must be lower-case letters, digits and _")
        seen.add(name)
