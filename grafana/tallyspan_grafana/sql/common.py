"""What the queries of all pages share: which calls are meant, and what is counted of them."""

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
IN_RANGE = f"{CALLS} WHERE {RANGE} AND {CHOSEN}"
# The range and, before it, one of the same length: what a change is measured against.
BEFORE = "$__fromTime - ($__toTime - $__fromTime)"
WITH_BEFORE = f"{CALLS} WHERE start_time >= {BEFORE} AND start_time <= $__toTime AND {CHOSEN}"
IS_NOW = "start_time >= $__fromTime"

UNPRICED = "countIf(cost_status = 'unpriced')"
# No call costs $0; calls that all lack a price cost NULL, which a panel shows as "unpriced".
SPENT = "if(count() = 0, 0, sum(cost_usd))"
CONVERSATIONS = "uniqExactIf(conversation_id, conversation_id != '')"
CACHE_HIT = "if(sum(input_tokens) > 0, ifNull(sum(cache_read_tokens), 0) / sum(input_tokens), NULL)"


# The same calls in fewer rows: whole UTC days from the rollup, both ends of the range from calls.
_NAMES = "user_id, department, model_name, service_name, endpoint_id"
_FIRST_DAY, _LAST_DAY = "toDate($__fromTime, 'UTC')", "toDate($__toTime, 'UTC')"
USAGE_IN_RANGE = (
    f"FROM (SELECT toDateTime(day, 'UTC') AS at, {_NAMES}, calls AS call_count, total_tokens, "
    "cost_usd, unpriced_calls AS unpriced_count FROM tallyspan.usage_daily "
    f"WHERE day > {_FIRST_DAY} AND day < {_LAST_DAY} AND {CHOSEN} "
    f"UNION ALL SELECT toDateTime(start_time, 'UTC') AS at, {_NAMES}, 1 AS call_count, "
    "total_tokens, cost_usd, cost_status = 'unpriced' AS unpriced_count "
    f"{CALLS} WHERE {RANGE} AND (start_time < toDateTime({_FIRST_DAY} + 1, 'UTC') "
    f"OR start_time >= toDateTime({_LAST_DAY}, 'UTC')) AND {CHOSEN})"
)
IN_ROLLUP = {"department", "user", "model", "service", "endpoint"}


def ratio(part: str, whole: str) -> str:
    """Return part / whole as a float; NULL where there is nothing to divide by."""
    return f"toFloat64({part}) / nullIf(toFloat64({whole}), 0)"


def variable(dimension: str) -> str:
    """Return key and label of every value the dimension has on the days of the range."""
    column = DIMENSIONS[dimension]
    return (
        f"SELECT DISTINCT {key(column)} AS key, {name(column)} AS label FROM tallyspan.usage_daily "
        f"WHERE day >= {_FIRST_DAY} AND day <= {_LAST_DAY} ORDER BY label LIMIT 1000"
    )


def per_day(dimension: str, zone: str, where: str = CHOSEN) -> str:
    """Return the spend of each of the zone's days by the dimension's ten largest and the rest."""
    column = DIMENSIONS[dimension]
    if zone == "UTC" and where == CHOSEN and dimension in IN_ROLLUP:
        at, source = "at", USAGE_IN_RANGE
    else:
        at, source = "start_time", f"{CALLS} WHERE {RANGE} AND {where}"
    return (
        f"WITH largest AS (SELECT {column} AS leader {source} "
        "GROUP BY leader ORDER BY sum(cost_usd) DESC NULLS LAST, leader LIMIT 10) "
        f"SELECT toStartOfDay({at}, '{zone}') AS time, "
        f"if({column} IN (SELECT leader FROM largest), {name(column)}, '(all others)') AS "
        f"{dimension}, sum(cost_usd) AS spend {source} "
        f"GROUP BY time, {dimension} HAVING spend IS NOT NULL ORDER BY time, {dimension}"
    )


def ranking(dimension: str, where: str = CHOSEN) -> str:
    """Return calls, tokens, spend and unpriced calls by the dimension, most spent first."""
    column = DIMENSIONS[dimension]
    if where == CHOSEN and dimension in IN_ROLLUP:
        calls, unpriced, source = "sum(call_count)", "sum(unpriced_count)", USAGE_IN_RANGE
    else:
        calls, unpriced, source = "count()", UNPRICED, f"{CALLS} WHERE {RANGE} AND {where}"
    return (
        f"SELECT {name(column)} AS name, {key(column)} AS key, {calls} AS calls, "
        f"sum(total_tokens) AS tokens, sum(cost_usd) AS spend, {unpriced} AS unpriced {source} "
        "GROUP BY name, key ORDER BY spend DESC NULLS LAST, name LIMIT 50"
    )


def total(expression: str, alias: str, where: str = CHOSEN) -> str:
    """Return one figure over the calls in the range."""
    return f"SELECT {expression} AS {alias} {CALLS} WHERE {RANGE} AND {where}"


def compared(
    column: str, extra: str, *, total_of: str = "sum(spend) OVER ()", limit: int = 500
) -> str:
    """Return spend, share of all, and change against the range before, by the column.

    `extra` are further figures of the range itself, each with its alias and a comma before it.
    """
    return (
        f"SELECT {name(column)} AS name, {key(column)} AS key, "
        f"sumIf(cost_usd, {IS_NOW}) AS spend, {ratio('spend', total_of)} AS share, "
        f"sumIf(cost_usd, NOT ({IS_NOW})) AS before, "
        f"{ratio('ifNull(spend, 0) - before', 'before')} AS change{extra} {WITH_BEFORE} "
        f"GROUP BY name, key HAVING countIf({IS_NOW}) > 0 "
        f"ORDER BY spend DESC NULLS LAST, name LIMIT {limit}"
    )
