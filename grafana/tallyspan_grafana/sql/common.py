"""What the queries of all pages share: which calls are meant, and what is counted of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tallyspan_clickhouse.query.binding import Binding
from tallyspan_clickhouse.query.comparison import range_before
from tallyspan_clickhouse.query.days import ENTRIES, Source, Span, span
from tallyspan_clickhouse.query.sums import GROUP_COLUMNS
from tallyspan_clickhouse.schema_types import CONVERSATION_HASH

Query = Callable[[Binding], str]
"""A query of a page, written for whoever asks it."""


def column_of(dimension: str) -> str:
    """Return the column of a dimension; variables of pages have the names of dimensions.

    Raises LookupError for one that the schema has not.
    """
    if dimension not in GROUP_COLUMNS:
        raise LookupError(
            f"there is no dimension {dimension!r}: give its column in schema.py a Dimension"
        )
    return GROUP_COLUMNS[dimension]


FILTERS = {each: column_of(each) for each in ("department", "user", "model")}
"""Variables with a choice of several and All, and the columns they choose by."""


def key(column: str) -> str:
    """Return the key of a name: text without quotes, never empty, and reversible."""
    return f"concat('k', hex({column}))"


def day_of(moment: str) -> str:
    """Return the day (UTC) as text: rows of whole days know no time."""
    return f"toString(toDate({moment}, 'UTC'))"


LAST_CALL = day_of("maxOrNullIf(at, call_count > 0)") + " AS last_call"


def spent_if(condition: str) -> str:
    """Return the cost of rows: $0 where no row meets the condition, NULL where all lack a price."""
    return f"if(countIf({condition}) = 0, 0, sumIf(cost_usd, {condition}))"


def name(column: str) -> str:
    """Return the name as people read it; an empty one as '(nobody said)'."""
    return f"if({column} = '', '(nobody said)', {column})"


@dataclass(frozen=True, slots=True)
class Rows:
    """The calls a query is about, as its FROM: of the range, and as chosen above the page.

    `one` is the variable with one value that counts in the place of the choice of several, `only` a
    further condition on columns of the source.
    """

    source: Source
    one: str = ""
    only: str = ""

    def __call__(self, binding: Binding) -> str:
        """Return the FROM of the calls in the range."""
        return self.of(binding, self.source.in_range(binding))

    def of(self, binding: Binding, span: Span) -> str:
        """Return the FROM of the calls in a span of time."""
        conditions = [self.only] if self.only else []
        if self.one:
            conditions.append(binding.one(self.one, column_of(self.one)))
        filters = {} if self.one else FILTERS
        return f"FROM {self.source.rows(binding, span, filters, *conditions)}"


@dataclass(frozen=True, slots=True)
class Figure:
    """A query for one figure: an expression under a name; `rows` returns all that follows it.

    Figures of the same rows can be columns of one query.
    """

    expression: str
    name: str
    rows: Query

    def __call__(self, binding: Binding) -> str:
        """Return the query of this figure alone."""
        return f"SELECT {self.expression} AS {self.name} {self.rows(binding)}"


def choice(binding: Binding, one: str = "") -> str:
    """Return the condition of what is chosen above the page: of one thing, or of several."""
    if one:
        return binding.one(one, column_of(one))
    return " AND ".join(binding.some(variable, column) for variable, column in FILTERS.items())


def days(binding: Binding, column: str = "day") -> str:
    """Return the condition that a day is in the range, in part at least."""
    return (
        f"{column} >= toDate({binding.start}, 'UTC') AND {column} <= toDate({binding.end}, 'UTC')"
    )


# Of what the sources below select: calls and their cost. No call costs $0; calls
# that all lack a price cost NULL, which a panel shows as "unpriced".
COUNT = "sum(call_count)"
UNPRICED = "sum(unpriced_count)"
FAILED = "sum(error_count)"
SPENT = "if(count() = 0, 0, sum(cost_usd))"
IN_CONVERSATION = f"{CONVERSATION_HASH} != cityHash64('')"
CONVERSATIONS = f"uniqExactIf({CONVERSATION_HASH}, {IN_CONVERSATION})"
IS_NOW = "at >= range_start"
"""Whether a row is of the range, where `compared` reads those before it too."""
_IS_BEFORE = "at < before_end"
CACHE_HIT = "if(sum(input_tokens) > 0, ifNull(sum(cache_read_tokens), 0) / sum(input_tokens), NULL)"

# Few rows a day each, and more where somebody chooses by what they do not know.
TOTALS = Source(("department", "model_name", "provider_name", "endpoint_id"))
USERS = Source(("user_id", "department"))
AGENTS = Source(("department", "agent_id", "agent_name"))
SERVICES = Source(("department", "service_name", "source"))
# The many rows that know the rest.
MODELS = Source(
    ("department", "model_name", "provider_name", "endpoint_id", "operation_name", "service_tier",
     "error_type", "usage_source", "cost_status", "unpriced_reason", "price_source")
)  # fmt: skip
TALKS = Source(
    ("user_id", CONVERSATION_HASH, "conversation_id", "department", "model_name", "agent_id",
     "agent_name", "service_name", "source")
)  # fmt: skip
IN_RANGE = Rows(Source(TOTALS.columns, ("unpriced_tokens", "cache_saved_usd")))
CACHE_SAVED = Figure("if(count() = 0, 0, sum(cache_saved_usd))", "cache_saved", IN_RANGE)
_OF_DIMENSION = {
    "department": TOTALS, "model": TOTALS, "endpoint": TOTALS, "operation": MODELS, "user": USERS,
    "service": SERVICES, "agent": AGENTS, "conversation": TALKS,
}  # fmt: skip


def source_of(dimension: str) -> Source:
    """Return the source of the fewest rows that know the dimension."""
    return _OF_DIMENSION.get(dimension) or Source((column_of(dimension),))


def by_dimension(dimension: str, one: str = "") -> Rows:
    """Return the calls in the range from the fewest rows that know the dimension."""
    return Rows(TALKS if one else source_of(dimension), one)


def quantile(level: float, buckets: str) -> str:
    """Return SQL for a quantile in seconds, 2 % exact, of calls counted by bucket of duration.

    NULL where there are none. A bucket is round(20 * log2(microseconds)).
    """
    counts = f"arrayMap(n -> toUInt64(greatest(n, 0)), mapValues({buckets}))"
    return (
        f"if(arraySum({counts}) = 0, NULL, exp2(arrayReduce('quantileExactWeighted({level})', "
        f"mapKeys({buckets}), {counts}) / 20) / 1e6)"
    )


def ratio(part: str, whole: str) -> str:
    """Return part / whole as a float; NULL where there is nothing to divide by."""
    return f"toFloat64({part}) / nullIf(toFloat64({whole}), 0)"


def variable(dimension: str) -> Query:
    """Return key and label of the values of the dimension on the days of the range, by spend."""
    column = column_of(dimension)

    def query(binding: Binding) -> str:
        view = binding.view(source_of(dimension).rollup.view)
        return (
            f"SELECT {key(column)} AS key, {name(column)} AS label "
            f"FROM (SELECT {column}, sum(cost_usd) AS spend FROM {view} "
            f"WHERE {days(binding)} GROUP BY {column}) WHERE {binding.searched('label')} "
            f"ORDER BY spend DESC NULLS LAST, label LIMIT {binding.most_choices}"
        )

    return query


def per_day(dimension: str, zone: str, one: str = "") -> Query:
    """Return the spend of each of the zone's days by the dimension's ten largest and the rest."""
    column = column_of(dimension)

    def query(binding: Binding) -> str:
        rows = by_dimension(dimension, one)(binding)
        if zone != "UTC":
            # Its days begin within those of UTC: every entry counts.
            rows = (
                f"FROM (SELECT start_time AS at, {column}, cost_usd FROM {binding.view(ENTRIES)} "
                f"WHERE {binding.within('start_time')} AND {choice(binding, one)})"
            )
        return (
            f"WITH largest AS (SELECT {column} AS leader {rows} "
            "GROUP BY leader ORDER BY sum(cost_usd) DESC NULLS LAST, leader LIMIT 10) "
            f"SELECT toStartOfDay(at, '{zone}') AS time, "
            f"if({column} IN (SELECT leader FROM largest), {name(column)}, '(all others)') AS "
            f"{dimension}, sum(cost_usd) AS spend {rows} "
            f"GROUP BY time, {dimension} HAVING spend IS NOT NULL ORDER BY time, {dimension}"
        )

    return query


def ranking(dimension: str, one: str = "", most: int | None = None) -> Query:
    """Return calls, tokens, spend and unpriced calls by the dimension, most spent first.

    `most` is how many there are at most, for a list that says so.
    """
    column, rows = column_of(dimension), by_dimension(dimension, one)
    return lambda binding: (
        f"SELECT {name(column)} AS name, {key(column)} AS key, {COUNT} AS calls, "
        f"sum(total_tokens) AS tokens, sum(cost_usd) AS spend, {UNPRICED} AS unpriced "
        f"{rows(binding)} "
        "GROUP BY name, key HAVING calls != 0 OR spend != 0 "
        "ORDER BY spend DESC NULLS LAST, name "
        f"{f'LIMIT {most}' if most else binding.cut}"
    )


def compared(
    column: str,
    more: str,
    source: Source,
    *,
    first: str = "",
    of_range: Sequence[tuple[str, Source]] = (),
    shown: str = "*",
) -> Query:
    """Return spend, share of all, and change against the same days before, by the column.

    `first` and `more` are further figures of the range itself, before and behind the money, each
    with its alias. `of_range` are those that are dear and not compared, each with the source read
    for the range alone. `shown` is then the order of the columns.
    """
    figures = ", ".join(
        part
        for part in (
            f"{name(column)} AS name",
            f"{key(column)} AS key",
            first,
            f"sumIf(cost_usd, {IS_NOW}) AS spend",
            f"{ratio('spend', 'sum(spend) OVER ()')} AS share",
            f"sumIf(cost_usd, {_IS_BEFORE}) AS before",
            f"{ratio('ifNull(spend, 0) - before', 'before')} AS change",
            more,
        )
        if part
    )
    both = Rows(source)

    def query(binding: Binding) -> str:
        # Of a period that runs, what is over counts: its end is to come.
        before_start, before_end = range_before("range_start", "range_end")
        within = "start_time >= before_start AND start_time <= range_last"
        rows = both.of(
            binding, span("before_start", "range_last", within, "before_end", "range_start")
        )
        # A scalar is worked out once: an expression would be planned again wherever it is named.
        moments = (
            f"SELECT tuple({before_start}, {before_end}, range_start, range_last) FROM (SELECT "
            f"toTimeZone({binding.start}, 'UTC') AS range_start, "
            f"toTimeZone({binding.end}, 'UTC') AS range_last, "
            "if(now > range_start AND now <= range_last, now, addSeconds(range_last, 1)) "
            f"AS range_end FROM {binding.view('clock')})"
        )
        text = (
            f"WITH assumeNotNull(({moments})) AS moments, moments.1 AS before_start, "
            "moments.2 AS before_end, moments.3 AS range_start, moments.4 AS range_last "
            f"SELECT {figures} {rows} "
            f"GROUP BY name, key HAVING sumIf(call_count, {IS_NOW}) > 0 OR spend != 0 "
            f"ORDER BY spend DESC NULLS LAST, name {binding.cut}"
        )
        if not of_range:
            return text
        joins = " ".join(
            f"LEFT JOIN (SELECT {key(column)} AS of_{number}, {dear} {Rows(dear_source)(binding)} "
            f"GROUP BY {column}) AS r{number} ON r{number}.of_{number} = f.key"
            for number, (dear, dear_source) in enumerate(of_range)
        )
        return f"SELECT {shown} FROM ({text}) AS f {joins} ORDER BY spend DESC NULLS LAST, name"

    return query
