"""What the queries of all pages share: which calls are meant, and what is counted of them."""

from dataclasses import dataclass, replace

ZONE = "UTC"
# Variables with a choice of several and All, and the columns they choose by.
FILTERS = {"department": "department", "user": "user_id", "model": "model_name"}
DIMENSIONS = {**FILTERS, "agent": "agent_id", "conversation": "conversation_id",
              "endpoint": "endpoint_id", "service": "service_name"}  # fmt: skip


def key(column: str) -> str:
    """Return the key of a name: text without quotes, never empty, and reversible."""
    return f"concat('k', hex({column}))"


def name(column: str) -> str:
    """Return the name as people read it; nobody said it: that, in brackets."""
    return f"if({column} = '', '(nobody said)', {column})"


def one(variable: str) -> str:
    """Return the condition of a variable with one value; without a value it finds nothing."""
    chosen = f"${{{variable}:singlequote}}"
    return f"{DIMENSIONS[variable]} = unhex(substring({chosen}, 2)) AND {chosen} != ''"


def some(variable: str) -> str:
    """Return the condition of a variable with several values or All."""
    names = f"arrayMap(k -> unhex(substring(k, 2)), [${{{variable}:singlequote}}])"
    return f"$__conditionalAll({DIMENSIONS[variable]} IN ({names}), ${variable})"


CHOSEN = " AND ".join(some(variable) for variable in FILTERS)
CALLS = "FROM tallyspan.calls"
RANGE = "$__timeFilter(start_time)"
# The range and, before it, one of the same length: what a change is measured against.
BEFORE = "$__fromTime - ($__toTime - $__fromTime)"
IS_NOW = "at >= $__fromTime"

# Of what the sources below select: calls, and what is known of their cost. No call costs $0; calls
# that all lack a price cost NULL, which a panel shows as "unpriced".
COUNT = "sum(call_count)"
UNPRICED = "sum(unpriced_count)"
FAILED = "sum(error_count)"
SPENT = "if(count() = 0, 0, sum(cost_usd))"
CONVERSATIONS = "uniqExactIf(cityHash64(conversation_id), conversation_id != '')"
CACHE_HIT = "if(sum(input_tokens) > 0, ifNull(sum(cache_read_tokens), 0) / sum(input_tokens), NULL)"

_MEASURES = (
    "calls AS call_count, errors AS error_count, unpriced_calls AS unpriced_count, input_tokens, "
    "output_tokens, total_tokens, cache_read_tokens, reasoning_tokens, cost_usd"
)
_FIRST_DAY, _LAST_DAY = "toDate($__fromTime, 'UTC')", "toDate($__toTime, 'UTC')"
_BEFORE_DAY = f"toDate({BEFORE}, 'UTC')"


def _not_chosen(variables: list[str]) -> str:
    """Return SQL that is true where all of these are All: 1=1, else 0, which reads no row."""
    return " AND ".join(f"$__conditionalAll(0, ${variable})" for variable in variables)


def _without(where: str, variables: list[str]) -> str:
    for variable in variables:
        where = where.replace(f"{some(variable)} AND ", "").replace(f" AND {some(variable)}", "")
    return where


# What views of rollups have counted, as the entries say it.
_OF_ENTRIES = {
    "no_user_calls": "if(user_id = '', calls, 0) AS no_user_calls",
    "no_conversation_calls": "if(conversation_id = '', calls, 0) AS no_conversation_calls",
}


@dataclass(frozen=True, slots=True)
class Source:
    """Calls added up by day: `view` has whole UTC days, `usage_entries` both ends of a range.

    `names` are the columns to group or choose by, `more` further figures, each of both. Where
    something is chosen that the view does not know, the view `finer` has the days, which knows all
    that can be chosen; without one the entries have them.
    """

    view: str
    names: str
    more: str = ""
    finer: str = ""

    def within(self, days: str, entries: str, where: str) -> str:
        """Return a FROM of the rows of these days, and of the entries of these times."""
        known = self.names.split(", ")
        unknown = [
            each for each, column in FILTERS.items() if column not in known and some(each) in where
        ]
        is_known = _not_chosen(unknown)
        columns = ", ".join(part for part in (self.names, _MEASURES, self.more) if part)
        day = f"SELECT toDateTime(day, 'UTC') AS at, {columns} FROM tallyspan."
        on_days = f"{days} AND {is_known}" if unknown else days
        parts = [f"{day}{self.view} WHERE {on_days} AND {_without(where, unknown)}"]
        if unknown and self.finer:
            parts.append(f"{day}{self.finer} WHERE {days} AND NOT ({is_known}) AND {where}")
        elif unknown:
            entries = f"({entries} OR NOT ({is_known}))"
        for name, text in _OF_ENTRIES.items():
            columns = columns.replace(name, text)
        parts.append(
            f"SELECT toDateTime(start_time, 'UTC') AS at, {columns} "
            f"FROM tallyspan.usage_entries WHERE {entries} AND {where}"
        )
        return f"FROM ({' UNION ALL '.join(parts)})"

    def in_range(self, where: str = CHOSEN) -> str:
        """Return a FROM of the calls in the range."""
        ends = (
            f"(start_time < toDateTime({_FIRST_DAY} + 1, 'UTC') "
            f"OR start_time >= toDateTime({_LAST_DAY}, 'UTC'))"
        )
        days = f"day > {_FIRST_DAY} AND day < {_LAST_DAY}"
        return self.within(days, f"{RANGE} AND {ends}", where)

    def with_before(self, where: str = CHOSEN) -> str:
        """Return a FROM of the calls in the range and in the one before it."""
        ends = (
            f"(start_time < toDateTime({_BEFORE_DAY} + 1, 'UTC') "
            f"OR start_time >= toDateTime({_FIRST_DAY}, 'UTC') "
            f"AND start_time < toDateTime({_FIRST_DAY} + 1, 'UTC') "
            f"OR start_time >= toDateTime({_LAST_DAY}, 'UTC'))"
        )
        days = f"day > {_BEFORE_DAY} AND day < {_LAST_DAY} AND day != {_FIRST_DAY}"
        return self.within(
            days, f"start_time >= {BEFORE} AND start_time <= $__toTime AND {ends}", where
        )


NO_USER_CHOSEN = _not_chosen(["user"])
# Few rows a day each, and more where somebody chooses among what they do not know.
TOTALS = Source(
    "usage_totals", "department, model_name, provider_name, endpoint_id", finer="usage_daily"
)
USERS = Source("usage_by_user", "user_id, department", finer="usage_daily")
AGENTS = Source("usage_by_agent", "department, agent_id, agent_name", finer="usage_by_conversation")
SERVICES = Source(
    "usage_by_service", "department, service_name, source", finer="usage_by_conversation"
)
# The many rows that know the rest.
MODELS = Source(
    "usage_by_model",
    "department, model_name, provider_name, endpoint_id, operation_name, service_tier, error_type, "
    "usage_source, cost_status, unpriced_reason, price_source",
)
TALKS = Source(
    "usage_by_conversation",
    "user_id, conversation_id, department, model_name, agent_id, agent_name, service_name, source",
)
# One text for all figures: the console asks those of the same rows in one query.
IN_RANGE = replace(TOTALS, more="unpriced_tokens").in_range()
_OF_DIMENSION = {
    "department": TOTALS, "model": TOTALS, "endpoint": TOTALS, "operation": MODELS, "user": USERS,
    "service": SERVICES, "agent": AGENTS, "conversation": TALKS,
}  # fmt: skip


def quantile(level: float, buckets: str) -> str:
    """Return SQL for a quantile in seconds, 2 % exact, of calls counted by bucket of duration.

    NULL where there are none. A bucket is round(20 * log2(microseconds)).
    """
    counts = f"arrayMap(n -> toUInt64(greatest(n, 0)), mapValues({buckets}))"
    return (
        f"if(arraySum({counts}) = 0, NULL, exp2(arrayReduce('quantileExactWeighted({level})', "
        f"mapKeys({buckets}), {counts}) / 20) / 1e6)"
    )


def in_range(dimension: str, where: str = CHOSEN) -> str:
    """Return the FROM of the fewest rows that know the dimension, and what else is asked for."""
    return (_OF_DIMENSION[dimension] if where == CHOSEN else TALKS).in_range(where)


def ratio(part: str, whole: str) -> str:
    """Return part / whole as a float; NULL where there is nothing to divide by."""
    return f"toFloat64({part}) / nullIf(toFloat64({whole}), 0)"


def variable(dimension: str) -> str:
    """Return key and label of every value the dimension has on the days of the range."""
    column = DIMENSIONS[dimension]
    return (
        f"SELECT {key(column)} AS key, {name(column)} AS label "
        f"FROM (SELECT DISTINCT {column} FROM tallyspan.{_OF_DIMENSION[dimension].view} "
        f"WHERE day >= {_FIRST_DAY} AND day <= {_LAST_DAY}) ORDER BY label LIMIT 1000"
    )


def per_day(dimension: str, zone: str, where: str = CHOSEN) -> str:
    """Return the spend of each of the zone's days by the dimension's ten largest and the rest."""
    column = DIMENSIONS[dimension]
    source = in_range(dimension, where)
    if zone != "UTC":
        # Its days begin within ours: every entry counts.
        source = (
            f"FROM (SELECT start_time AS at, {column}, cost_usd FROM tallyspan.usage_entries "
            f"WHERE {RANGE} AND {where})"
        )
    return (
        f"WITH largest AS (SELECT {column} AS leader {source} "
        "GROUP BY leader ORDER BY sum(cost_usd) DESC NULLS LAST, leader LIMIT 10) "
        f"SELECT toStartOfDay(at, '{zone}') AS time, "
        f"if({column} IN (SELECT leader FROM largest), {name(column)}, '(all others)') AS "
        f"{dimension}, sum(cost_usd) AS spend {source} "
        f"GROUP BY time, {dimension} HAVING spend IS NOT NULL ORDER BY time, {dimension}"
    )


def ranking(dimension: str, where: str = CHOSEN) -> str:
    """Return calls, tokens, spend and unpriced calls by the dimension, most spent first."""
    column = DIMENSIONS[dimension]
    return (
        f"SELECT {name(column)} AS name, {key(column)} AS key, {COUNT} AS calls, "
        f"sum(total_tokens) AS tokens, sum(cost_usd) AS spend, {UNPRICED} AS unpriced "
        f"{in_range(dimension, where)} "
        "GROUP BY name, key HAVING calls != 0 ORDER BY spend DESC NULLS LAST, name LIMIT 50"
    )


def total(expression: str, alias: str, where: str = CHOSEN, source: Source = MODELS) -> str:
    """Return one figure over the calls in the range."""
    return f"SELECT {expression} AS {alias} {source.in_range(where)}"


def compared(
    column: str,
    extra: str,
    source: Source,
    *,
    first: str = "",
    of_range: str = "",
    of_source: Source = TALKS,
    shown: str = "",
    total_of: str = "sum(spend) OVER ()",
    limit: int = 500,
) -> str:
    """Return spend, share of all, and change against the range before, by the column.

    `extra` are further figures of the range itself, each with its alias and a comma before it;
    `first` are those to stand before the money, with a comma behind, and `of_range` those that are
    dear and not compared: `of_source` is read for the range alone. `shown` is then the order of the
    columns.
    """
    figures = (
        f"SELECT {name(column)} AS name, {key(column)} AS key, {first}"
        f"sumIf(cost_usd, {IS_NOW}) AS spend, {ratio('spend', total_of)} AS share, "
        f"sumIf(cost_usd, NOT ({IS_NOW})) AS before, "
        f"{ratio('ifNull(spend, 0) - before', 'before')} AS change{extra} {source.with_before()} "
        f"GROUP BY name, key HAVING sumIf(call_count, {IS_NOW}) > 0 "
        f"ORDER BY spend DESC NULLS LAST, name LIMIT {limit}"
    )
    if not of_range:
        return figures
    return (
        f"SELECT {shown} FROM ({figures}) AS f LEFT JOIN (SELECT {key(column)} AS of_key, "
        f"{of_range} {of_source.in_range()} GROUP BY {column}) AS t ON t.of_key = f.key "
        "ORDER BY spend DESC NULLS LAST, name"
    )
