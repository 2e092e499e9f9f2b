"""Overview: who spends, on what, is it more than last month, what jumped."""

from tallyspan_grafana.sql.common import (
    CHOSEN,
    COUNT,
    IN_RANGE,
    MODELS,
    SPENT,
    TOTALS,
    UNPRICED,
    name,
    ratio,
)

SPEND = f"SELECT {SPENT} AS spend {IN_RANGE}"
CALL_COUNT = f"SELECT {COUNT} AS calls {IN_RANGE}"
TOKENS = f"SELECT if(count() = 0, 0, sum(total_tokens)) AS tokens {IN_RANGE}"
UNPRICED_CALLS = f"SELECT {UNPRICED} AS unpriced {IN_RANGE}"
NOT_STATED = (
    "SELECT sumIf(call_count, usage_source != 'provider' AND cost_status != 'not_billed') "
    "AS not_stated "
    f"{MODELS.in_range()}"
)
MINUTES_SINCE_LAST = (
    "SELECT if(count() = 0, NULL, dateDiff('minute', max(start_time), now('UTC'))) AS minutes "
    # The rollup knows the day, the entries of that day the minute.
    "FROM tallyspan.usage_entries WHERE calls > 0 AND start_time >= "
    "(SELECT if(count() = 0, now('UTC'), toDateTime(max(day), 'UTC')) "
    "FROM tallyspan.usage_by_model WHERE day >= toDate(now('UTC')) - 30)"
)
# A day is unusual above median + 3 deviations of the 28 days before it; 1.4826 makes the median
# absolute deviation that of a normal distribution. Below a dollar nobody wants to hear of it.
DEVIATIONS, FLOOR_USD = "3 * 1.4826", "1"


def _by_day(zone: str, names: str = "") -> str:
    """Return what a query by days selects: from the rollup where its days are the zone's."""
    if zone == "UTC":
        return f"SELECT {names}day, sum(cost_usd) AS amount FROM tallyspan.usage_daily WHERE day"
    return (
        f"SELECT {names}toDate(start_time, '{zone}') AS day, sum(cost_usd) AS amount "
        f"FROM tallyspan.usage_entries WHERE toDate(start_time, '{zone}')"
    )


def spend_this_month(zone: str) -> str:
    """Return the spend since the first of the zone's month."""
    days = f"{_by_day(zone)} >= toStartOfMonth(now('{zone}')) AND {CHOSEN} GROUP BY day"
    return f"SELECT if(count() = 0, 0, sum(amount)) AS spend FROM ({days})"


def change_to_last_month(zone: str) -> str:
    """Return the month so far against the same days of the month before, as a ratio."""
    this = f"toDateTime(toStartOfMonth(now('{zone}')), '{zone}')"
    last = f"toDateTime(toStartOfMonth(now('{zone}')) - INTERVAL 1 MONTH, '{zone}')"
    # Of March 31st the month before has no counterpart: addMonths stops at its last day.
    until = f"addMonths(now('{zone}'), -1)"
    today, that_day = "toDate(now('UTC'))", f"toDate({until}, 'UTC')"
    if zone == "UTC":
        days = f"day >= toDate({last}) AND day < {today} AND day != {that_day}"
        ends = (
            f"(start_time >= toDateTime({that_day}, 'UTC') "
            f"AND start_time < toDateTime({that_day} + 1, 'UTC') "
            f"OR start_time >= toDateTime({today}, 'UTC'))"
        )
    else:
        days, ends = "0", "1"
    source = TOTALS.within(days, f"start_time >= {last} AND {ends}", CHOSEN)
    return (
        f"SELECT {ratio('ifNull(so_far, 0) - then', 'then')} AS change "
        f"FROM (SELECT sumIf(cost_usd, at >= {this}) AS so_far, "
        f"sumIf(cost_usd, at < {until}) AS then {source})"
    )


def forecast(zone: str) -> str:
    """Return the spend of the whole month: what is spent, and weekday means for the days to come.

    The means are of the last 28 days; NULL with fewer than three days behind us.
    """
    return (
        f"WITH toDate(now('{zone}'), '{zone}') AS today, toStartOfMonth(today) AS month, "
        "dateDiff('day', today, toLastDayOfMonth(today)) AS days_left, "
        f"spent AS ({_by_day(zone)} >= least(month, today - 28) "
        f"AND cost_usd IS NOT NULL AND {CHOSEN} GROUP BY day), "
        "least(28, dateDiff('day', (SELECT min(day) FROM spent), today)) AS days_known, "
        # How many days of a weekday are to come, for each such day that was.
        "arrayCount(d -> toDayOfWeek(today + d) = toDayOfWeek(day), range(1, days_left + 1)) "
        "AS to_come, "
        "arrayCount(d -> toDayOfWeek(today - d) = toDayOfWeek(day), range(1, days_known + 1)) "
        "AS behind, "
        "if(days_known < 7, days_left / days_known, to_come / greatest(behind, 1)) AS weight "
        "SELECT if(days_known < 3, NULL, toDecimal128(sumIf(amount, day >= month) "
        "+ sumIf(toFloat64(amount) * weight, day >= today - days_known AND day < today), 6)) "
        "AS forecast FROM spent"
    )


def unusual(zone: str) -> str:
    """Return users and models that spent unusually much on the last whole day."""
    return (
        f"WITH toDate(now('{zone}'), '{zone}') AS today "
        f"SELECT {name('user_id')} AS user, concat('k', hex(user_id)) AS user_key, "
        f"{name('model_name')} AS model, "
        "sumIf(amount, day = today - 1) AS spend, "
        # Days without a call are zeros that no row stands for.
        "arrayResize(groupArrayIf(toFloat64(amount), day < today - 1), 28, 0) AS days, "
        "arrayReduce('medianExact', days) AS usual, "
        "spend - toDecimal128(usual, 6) AS more, "
        f"usual + {DEVIATIONS} * arrayReduce('medianExact', arrayMap(d -> abs(d - usual), days)) "
        "AS bound "
        f"FROM ({_by_day(zone, 'user_id, model_name, ')} BETWEEN today - 29 AND today - 1 "
        f"AND cost_usd IS NOT NULL AND {CHOSEN} "
        # Only who spent enough yesterday can be unusual: the days before are read for few.
        f"AND (user_id, model_name) IN (SELECT user_id, model_name FROM "
        f"({_by_day(zone, 'user_id, model_name, ')} = today - 1 "
        "GROUP BY user_id, model_name, day) "
        f"GROUP BY user_id, model_name HAVING sum(amount) >= {FLOOR_USD}) "
        "GROUP BY user_id, model_name, day) "
        "GROUP BY user_id, model_name "
        f"HAVING spend >= {FLOOR_USD} AND toFloat64(spend) > bound ORDER BY more DESC LIMIT 20"
    )
