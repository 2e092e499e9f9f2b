"""All SQL of the dashboards. Only the reporting views are read; days and months are a zone's own.

A variable's value is a hash of the name, its label the name: names come by telemetry, so a quote in
one must never reach the SQL text. No alias is the name of a column: ClickHouse would put the alias
into the WHERE.
"""

DIMENSIONS = {"department": "department", "user": "user_id", "model": "model_name"}


def _key(column: str) -> str:
    return f"hex(sipHash64({column}))"


def _name(column: str) -> str:
    return f"if({column} = '', '(nobody said)', {column})"


CHOSEN = " AND ".join(
    f"$__conditionalAll({_key(column)} IN (${{{name}:singlequote}}), ${name})"
    for name, column in DIMENSIONS.items()
)
IN_RANGE = f"FROM tallyspan.calls WHERE $__timeFilter(start_time) AND {CHOSEN}"
# No call costs $0; calls that all lack a price cost NULL, which a panel shows as "unpriced".
SPENT = "if(count() = 0, 0, sum(cost_usd)) AS spend"

SPEND = f"SELECT {SPENT} {IN_RANGE}"
CALLS = f"SELECT count() AS calls {IN_RANGE}"
TOKENS = f"SELECT if(count() = 0, 0, sum(total_tokens)) AS tokens {IN_RANGE}"
UNPRICED = f"SELECT countIf(cost_status = 'unpriced') AS unpriced {IN_RANGE}"
NOT_STATED = (
    "SELECT countIf(usage_source != 'provider' AND cost_status != 'not_billed') AS not_stated "
    f"{IN_RANGE}"
)
MINUTES_SINCE_LAST = (
    "SELECT if(count() = 0, NULL, dateDiff('minute', max(start_time), now('UTC'))) AS minutes "
    "FROM tallyspan.calls WHERE start_time >= now('UTC') - INTERVAL 30 DAY"
)


def variable(name: str) -> str:
    """Return key and label of every value the dimension has in the range."""
    column = DIMENSIONS[name]
    return (
        f"SELECT DISTINCT {_key(column)} AS key, {_name(column)} AS label "
        "FROM tallyspan.calls WHERE $__timeFilter(start_time) ORDER BY label LIMIT 1000"
    )


def spend_this_month(zone: str) -> str:
    """Return the spend since the first of the zone's month."""
    # toStartOfMonth makes a Date, which would be compared in the server's zone.
    since = f"toDateTime(toStartOfMonth(now('{zone}')), '{zone}')"
    return f"SELECT {SPENT} FROM tallyspan.calls WHERE start_time >= {since} AND {CHOSEN}"


def spend_by_day_and_model(zone: str) -> str:
    """Return the spend of each of the zone's days and model, first day first."""
    return (
        f"SELECT toStartOfDay(start_time, '{zone}') AS time, {_name('model_name')} AS model, "
        f"sum(cost_usd) AS spend {IN_RANGE} AND cost_usd IS NOT NULL "
        "GROUP BY time, model ORDER BY time, model"
    )


def ranking(dimension: str) -> str:
    """Return calls, tokens, spend and unpriced calls by the dimension, most spent first."""
    return (
        f"SELECT {_name(DIMENSIONS[dimension])} AS name, count() AS calls, "
        "sum(total_tokens) AS tokens, sum(cost_usd) AS spend, "
        f"countIf(cost_status = 'unpriced') AS unpriced {IN_RANGE} "
        "GROUP BY name ORDER BY spend DESC NULLS LAST, name LIMIT 50"
    )
