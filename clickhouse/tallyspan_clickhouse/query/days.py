"""Sums over a range of time from the fewest rows: whole days of a rollup, both ends from entries.

Which rollup is read follows from the columns and measures a query needs: `schema.py` has what each
rollup knows, those of fewer rows first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from tallyspan_clickhouse.query.binding import Binding
from tallyspan_clickhouse.schema import SCHEMA
from tallyspan_clickhouse.schema_types import DAY, Rollup

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

    `whole`: on `day` or `hour` of a rollup, the pieces that are read from there. `range` and
    `ends`: on `start_time` of an entry; it is in the range, and in none of those pieces.
    """

    whole: str
    range: str
    ends: str


@dataclass(frozen=True, slots=True)
class Source:
    """Sums by `columns`, with `measures` beyond SUMS, from the first rollup that knows them all.

    Where something is chosen by a column that this rollup lacks, another one of the same unit has
    the whole pieces, and if none knows everything, the entries have them. Raises LookupError if no
    rollup knows the columns and measures to begin with.
    """

    columns: tuple[str, ...]
    measures: tuple[str, ...] = ()
    unit: timedelta = DAY

    def __post_init__(self) -> None:
        _ = self.rollup

    @property
    def rollup(self) -> Rollup:
        """Return the rollup that is read where nothing else is chosen."""
        rollup = self._rollup()
        if rollup is None:
            needs = ", ".join((*self.columns, *self.measures))
            raise LookupError(f"no rollup of this unit knows all of {needs}: add one to schema.py")
        return rollup

    def in_range(self, binding: Binding) -> Span:
        """Return the range of the page."""
        time, start, end = self.rollup.time, binding.start, binding.end
        return Span(
            f"{time} > {self._piece(start)} AND {time} < {self._piece(end)}",
            binding.within("start_time"),
            f"start_time < {self._after(start)} OR start_time >= {self._begin(end)}",
        )

    def with_before(self, binding: Binding) -> Span:
        """Return the range of the page and one of the same length before it."""
        time, start, end = self.rollup.time, binding.start, binding.end
        before = f"{start} - ({end} - {start})"
        return Span(
            f"{time} > {self._piece(before)} AND {time} < {self._piece(end)} "
            f"AND {time} != {self._piece(start)}",
            f"start_time >= {before} AND start_time <= {end}",
            f"start_time < {self._after(before)} "
            f"OR start_time >= {self._begin(start)} AND start_time < {self._after(start)} "
            f"OR start_time >= {self._begin(end)}",
        )

    def rows(
        self, binding: Binding, span: Span, filters: Mapping[str, str], *conditions: str
    ) -> str:
        """Return what stands behind FROM: rows with `at` (DateTime, UTC), columns and sums.

        `filters` are variables with several values and the column each is of; `conditions` are on
        the source's own columns.
        """
        rollup, ends = self.rollup, span.ends
        chosen = {name: binding.some(name, column) for name, column in filters.items()}
        lacking = [name for name, column in filters.items() if column not in rollup.columns]
        is_enough = [binding.is_all(name) for name in lacking]
        here = [condition for name, condition in chosen.items() if name not in lacking]
        parts = [self._select(binding, rollup, span.whole, *is_enough, *here, *conditions)]
        if lacking:
            is_not_enough = f"NOT ({' AND '.join(is_enough)})"
            finer = self._rollup(*(filters[name] for name in lacking))
            if finer:
                both = (is_not_enough, *chosen.values(), *conditions)
                parts.append(self._select(binding, finer, span.whole, *both))
            else:
                ends = f"{ends} OR {is_not_enough}"
        every = (span.range, f"({ends})", *chosen.values(), *conditions)
        parts.append(self._select(binding, None, *every))
        return f"({' UNION ALL '.join(parts)})"

    def _select(self, binding: Binding, rollup: Rollup | None, *conditions: str) -> str:
        view, time = (rollup.view, rollup.time) if rollup else (ENTRIES, "start_time")
        sums = [name if name == column else f"{column} AS {name}" for name, column in SUMS.items()]
        columns = ", ".join((*self.columns, *sums, *self.measures))
        rows = f"FROM {binding.view(view)} WHERE {' AND '.join(conditions)}"
        return f"SELECT toDateTime({time}, 'UTC') AS at, {columns} {rows}"

    def _rollup(self, *more_columns: str) -> Rollup | None:
        columns, measures = {*self.columns, *more_columns}, set(self.measures)
        return next(
            (
                each
                for each in SCHEMA.rollups
                if each.unit == self.unit
                and columns <= each.columns
                and measures <= {measure.name for measure in SCHEMA.measures_of(each)}
            ),
            None,
        )

    def _piece(self, moment: str) -> str:
        """Return the day or hour a moment is in."""
        return f"toDate({moment}, 'UTC')" if self.unit == DAY else f"toStartOfHour({moment}, 'UTC')"

    def _begin(self, moment: str) -> str:
        return f"toDateTime({self._piece(moment)}, 'UTC')"

    def _after(self, moment: str) -> str:
        unit = "DAY" if self.unit == DAY else "HOUR"
        return f"toDateTime({self._piece(moment)} + INTERVAL 1 {unit}, 'UTC')"
