"""All SQL of the dashboards. Only the reporting views are read; buckets are days in UTC.

A variable's value is a hash of the name, its label the name: names come by telemetry, so a quote in
one must never reach the SQL text.
"""

KEY = "hex(sipHash64({column}))"

DIMENSIONS = {"department": "department", "user": "user_id", "model": "model_name"}

CHOSEN = " AND ".join(
    f"$__conditionalAll({KEY.format(column=column)} IN (${{{name}:singlequote}}), ${name})"
    for name, column in DIMENSIONS.items()
)
IN_RANGE = f"$__timeFilter(start_time) AND {CHOSEN}"
THIS_MONTH = f"start_time >= toStartOfMonth(now('UTC')) AND {CHOSEN}"


def variable(name: str) -> str:
    """Return key and label of every value the dimension has in the range."""
    column = DIMENSIONS[name]
    return (
        f"SELECT DISTINCT {KEY.format(column=column)} AS key, "
        f"if({column} = '', '(nobody said)', {column}) AS label "
        "FROM tallyspan.calls WHERE $__timeFilter(start_time) ORDER BY label LIMIT 1000"
    )


SPEND_THIS_MONTH = f"SELECT sum(cost_usd) AS spend FROM tallyspan.calls WHERE {THIS_MONTH}"
SPEND = f"SELECT sum(cost_usd) AS spend FROM tallyspan.calls WHERE {IN_RANGE}"
CALLS = f"SELECT count() AS calls FROM tallyspan.calls WHERE {IN_RANGE}"
TOKENS = f"SELECT sum(total_tokens) AS tokens FROM tallyspan.calls WHERE {IN_RANGE}"
UNPRICED = (
    f"SELECT countIf(cost_status = 'unpriced') AS unpriced FROM tallyspan.calls WHERE {IN_RANGE}"
)
NOT_STATED = (
    "SELECT countIf(usage_source != 'provider' AND cost_status != 'not_billed') AS calls "
    f"FROM tallyspan.calls WHERE {IN_RANGE}"
)
MINUTES_SINCE_LAST = (
    "SELECT if(count() = 0, NULL, dateDiff('minute', max(start_time), now('UTC'))) AS minutes "
    "FROM tallyspan.calls WHERE start_time >= now('UTC') - INTERVAL 30 DAY"
)
SPEND_BY_DAY_AND_MODEL = (
    "SELECT toStartOfDay(start_time, 'UTC') AS time, model_name AS model, sum(cost_usd) AS spend "
    f"FROM tallyspan.calls WHERE {IN_RANGE} AND cost_usd IS NOT NULL "
    "GROUP BY time, model ORDER BY time, model"
)


def ranking(column: str, label: str) -> str:
    """Return calls, tokens, spend and unpriced calls by the column, most spent first."""
    return (
        f"SELECT if({column} = '', '(nobody said)', {column}) AS {label}, count() AS calls, "
        "sum(total_tokens) AS tokens, sum(cost_usd) AS spend, "
        "countIf(cost_status = 'unpriced') AS unpriced "
        f"FROM tallyspan.calls WHERE {IN_RANGE} "
        f"GROUP BY {label} ORDER BY spend DESC NULLS LAST, {label} LIMIT 50"
    )
