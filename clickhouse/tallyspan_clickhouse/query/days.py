"""Sums over a range of time from the fewest rows: whole days, then whole hours, then entries.

The days in the range are read from a rollup by day, the hours at both of its ends from one by hour,
and what is left, less than an hour at each end, from the entries. Which rollups are read follows
from the columns and measures a query needs: `schema.py` has what each rollup knows, those of fewer
rows first.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from tallyspan_clickhouse.query.binding import Binding
from tallyspan_clickhouse.schema import SCHEMA
from tallyspan_clickhouse.schema_types import DAY, HOUR, Rollup, time_of

ENTRIES = "usage_entries"
SUMS = {
    # Names of their own: a query may call its sums `calls`, `errors`, and ClickHouse would put an
    # alias into the place of a column of the same name.
    "call_count": "calls",
    "error_count": "errors",
    "unpriced_count": "unpriced_calls",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "total_tokens": "total_tokens",
    "cache_read_tokens": "cache_read_tokens",
    "reasoning_tokens": "reasoning_tokens",
    "cost_usd": "cost_usd",
}
"""Columns that every source has beside `at` -> the columns of the views they come from."""


@dataclass(frozen=True, slots=True)
class Span:
    """A range of time as SQL conditions.

    `days`, `hours` and `hours_of_end_days`: on these columns of rollups, the pieces that lie in the
    range whole; the last are on none of those days. `range`, `end_days` and `end_hours`: on
    `start_time` of an entry; it is in the range, on none of those days, in none of those hours.
    """

    days: str
    hours: str
    hours_of_end_days: str
    range: str
    end_days: str
    end_hours: str


def span(first: str, last: str, range_: str, *cuts: str) -> Span:
    """Return the range between two moments; a day or hour that a cut lies in is not read whole.

    All moments are SQL. `range_` is the condition that an entry is in the range.
    """
    edges = [first, *cuts, last]
    days = [f"toDate({each}, 'UTC')" for each in edges]
    hours = [f"toStartOfHour({each}, 'UTC')" for each in edges]
    whole_hours = _whole("hour", hours)
    return Span(
        _whole("day", days),
        whole_hours,
        f"{whole_hours} AND toDate(hour) IN ({', '.join(days)})",
        range_,
        _outside(days, "DAY"),
        _outside(hours, "HOUR"),
    )


def _whole(column: str, edges: list[str]) -> str:
    first, *cuts, last = edges
    between = f"{column} > {first} AND {column} < {last}"
    return f"{between} AND {column} NOT IN ({', '.join(cuts)})" if cuts else between


def _outside(edges: list[str], unit: str) -> str:
    first, *cuts, last = ((f"toDateTime({each}, 'UTC')", each) for each in edges)
    ends = [f"toDateTime({each} + INTERVAL 1 {unit}, 'UTC')" for _, each in (first, *cuts)]
    pieces = [f"start_time < {ends[0]}", f"start_time >= {last[0]}"]
    for (begin, _), end in zip(cuts, ends[1:], strict=True):
        pieces.append(f"start_time >= {begin} AND start_time < {end}")
    return " OR ".join(pieces)


@dataclass(frozen=True, slots=True)
class Source:
    """Sums by `columns`, with `measures` beyond SUMS, from the first rollups that know them all.

    Where something is chosen by a column that such a rollup lacks, another one of the same unit has
    its pieces, and if none knows everything, the entries have them. With the unit HOUR no days are
    read. Raises LookupError if no rollup of the unit knows the columns and measures to begin with.
    """

    columns: tuple[str, ...]
    measures: tuple[str, ...] = ()
    unit: timedelta = DAY

    def __post_init__(self) -> None:
        _ = self.rollup

    @property
    def rollup(self) -> Rollup:
        """Return the rollup that is read where nothing else is chosen."""
        rollup = next(self._rollups(self.unit), None)
        if rollup is None:
            needs = ", ".join((*self.columns, *self.measures))
            raise LookupError(f"no rollup of this unit knows all of {needs}: add one to schema.py")
        return rollup

    def in_range(self, binding: Binding) -> Span:
        """Return the range of the page."""
        start, end = binding.start, binding.end
        return span(start, end, binding.within("start_time"))

    def rows(
        self, binding: Binding, span: Span, filters: Mapping[str, str], *conditions: str
    ) -> str:
        """Return what stands behind FROM: rows with `at` (DateTime, UTC), columns and sums.

        `filters` are variables with several values and the column each is of; `conditions` are on
        the source's own columns.
        """
        filters = {} if binding.is_unfiltered else filters
        chosen = {name: binding.some(name, column) for name, column in filters.items()}
        pieces = [(HOUR, span.hours, "1")]
        if self.unit == DAY:
            pieces = [
                (DAY, span.days, f"NOT ({span.end_days})"),
                (HOUR, span.hours_of_end_days, span.end_days),
            ]
        # Entries are in no piece that is read whole, unless no rollup can tell its calls apart.
        ends = [span.end_hours]
        parts = []
        for unit, whole, outside in pieces:
            not_before: list[str] = []
            for rollup, lacking in self._chain(unit, binding, filters):
                is_enough = [binding.is_all(name) for name in lacking]
                here = [condition for name, condition in chosen.items() if name not in lacking]
                where = (whole, *not_before, *is_enough, *here, *conditions)
                parts.append(self._select(binding, rollup, time_of(unit), *where))
                if not lacking:
                    break
                not_before.append(f"NOT ({' AND '.join(is_enough)})")
            else:
                ends.append(" AND ".join((*not_before, f"({outside})")))
        every = (span.range, f"({' OR '.join(ends)})", *chosen.values(), *conditions)
        parts.append(self._select(binding, None, "start_time", *every))
        return f"({' UNION ALL '.join(parts)})"

    def _select(self, binding: Binding, rollup: Rollup | None, time: str, *conditions: str) -> str:
        view = rollup.view if rollup else ENTRIES
        sums = [name if name == column else f"{column} AS {name}" for name, column in SUMS.items()]
        columns = ", ".join((*self.columns, *sums, *self.measures))
        rows = f"FROM {binding.view(view)} WHERE {' AND '.join(conditions)}"
        return f"SELECT toDateTime({time}, 'UTC') AS at, {columns} {rows}"

    def _chain(
        self, unit: timedelta, binding: Binding, filters: Mapping[str, str]
    ) -> Iterator[tuple[Rollup, list[str]]]:
        """Yield rollups, each with the filters it cannot apply, of which the one before has more.

        Who is limited to some departments reads none that does not know the department.
        """
        before = {*filters, ""}
        for rollup in self._rollups(unit):
            lacking = [name for name, column in filters.items() if column not in rollup.columns]
            is_open = "department" in rollup.columns or not binding.is_limited
            if is_open and set(lacking) < before:
                yield rollup, lacking
                before = set(lacking)

    def _rollups(self, unit: timedelta) -> Iterator[Rollup]:
        columns, measures = set(self.columns), set(self.measures)
        for rollup in SCHEMA.rollups:
            names = {measure.name for measure in SCHEMA.measures_of(rollup)}
            if rollup.has(unit) and columns <= rollup.columns and measures <= names:
                yield rollup
