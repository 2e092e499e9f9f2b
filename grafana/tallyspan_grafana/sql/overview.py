"""Overview: who spends, on what, is it more than last month, what jumped."""

from tallyspan_clickhouse.query.binding import Binding
from tallyspan_clickhouse.query.days import ENTRIES, Source, Span, span
from tallyspan_clickhouse.schema import NOT_OF_CALLS
from tallyspan_grafana.sql.common import (
    COUNT,
    FILTERS,
    IN_RANGE,
    MODELS,
    SPENT,
    TOTALS,
    UNPRICED,
    Figure,
    Query,
    Rows,
    choice,
    key,
    name,
    ratio,
)

SPEND = Figure(SPENT, "spend", IN_RANGE)
_PARTS = Rows(Source(TOTALS.columns, NOT_OF_CALLS))


def parts(binding: Binding) -> str:
    """Return what the spend is made of, in one row."""
    sums = {name.removesuffix("_cost_usd"): f"sum({name})" for name in NOT_OF_CALLS}
    use = " - ".join([SPENT, *sums.values()])
    parts_of_no_call = ", ".join(f"{text} AS {name}" for name, text in sums.items())
    return f"SELECT {use} AS use, {parts_of_no_call} {_PARTS(binding)}"


CALL_COUNT = Figure(COUNT, "calls", IN_RANGE)
TOKENS = Figure("if(count() = 0, 0, sum(total_tokens))", "tokens", IN_RANGE)
UNPRICED_CALLS = Figure(UNPRICED, "unpriced", IN_RANGE)
WITHOUT_PROVIDER_USAGE = Figure(
    "sumIf(call_count, usage_source != 'provider' AND cost_status != 'not_billed')",
    "not_stated",
    Rows(MODELS),
)


def _last_calls(binding: Binding) -> str:
    # The rollup knows the day, the entries of that day the minute.
    return (
        f"FROM {binding.view(ENTRIES)} WHERE calls > 0 AND start_time >= "
        "(SELECT if(count() = 0, now('UTC'), toDateTime(max(day), 'UTC')) "
        f"FROM {binding.view('usage_by_model')} WHERE day >= toDate(now('UTC')) - 30)"
    )


MINUTES_SINCE_LAST = Figure(
    "if(count() = 0, NULL, dateDiff('minute', max(start_time), now('UTC')))",
    "minutes",
    _last_calls,
)
# A day is unusual above median + 3 deviations of the 28 days before it; 1.4826 makes the median
# absolute deviation that of a normal distribution. Below a dollar nobody wants to hear of it.
DEVIATIONS, FLOOR_USD = "3 * 1.4826", "1"


def _by_day(binding: Binding, zone: str, condition: str, source: Source = TOTALS) -> str:
    """Return the spend of each day, and of what `source` is by where that is not TOTALS.

    From rollups where their days are the zone's; what is chosen above the page counts. `condition`
    begins with what follows the day.
    """
    names = "" if source is TOTALS else f"{', '.join(source.columns)}, "
    if zone == "UTC":
        days = Span(f"day {condition}", "0", "0", "0", "0", "0")
        rows, day = source.rows(binding, days, FILTERS), "toDate(at)"
    else:
        day = f"toDate(start_time, '{zone}')"
        rows = f"{binding.view(ENTRIES)} WHERE {day} {condition} AND {choice(binding)}"
    return f"SELECT {names}{day} AS day, sum(cost_usd) AS amount FROM {rows} GROUP BY {names}day"


def spend_this_month(zone: str) -> Figure:
    """Return the spend since the first of the zone's month."""

    def days(binding: Binding) -> str:
        since = f">= toStartOfMonth(now('{zone}'))"
        return f"FROM ({_by_day(binding, zone, since)})"

    return Figure("if(count() = 0, 0, sum(amount))", "spend", days)


def change_to_last_month(zone: str) -> Query:
    """Return the month so far against the same days of the month before, as a ratio."""
    this = f"toDateTime(toStartOfMonth(now('{zone}')), '{zone}')"
    last = f"toDateTime(toStartOfMonth(now('{zone}')) - INTERVAL 1 MONTH, '{zone}')"
    # Of March 31st the month before has no counterpart: addMonths stops at its last day.
    until = f"addMonths(now('{zone}'), -1)"
    both = f"start_time >= {last}"
    months = Span("0", "0", "0", both, "1", "1")
    if zone == "UTC":
        months = span(last, "now('UTC')", both, until)
    return lambda binding: (
        f"SELECT {ratio('ifNull(so_far, 0) - then', 'then')} AS change "
        f"FROM (SELECT sumIf(cost_usd, at >= {this}) AS so_far, "
        f"sumIf(cost_usd, at < {until}) AS then {Rows(TOTALS).of(binding, months)})"
    )


def forecast(zone: str) -> Query:
    """Return the spend of the whole month: what is spent, and weekday means for the days to come.

    The means are of the last 28 days; NULL with fewer than three days behind us.
    """

    def query(binding: Binding) -> str:
        recent = ">= least(month, today - 28) AND cost_usd IS NOT NULL"
        return (
            f"WITH toDate(now('{zone}'), '{zone}') AS today, toStartOfMonth(today) AS month, "
            "dateDiff('day', today, toLastDayOfMonth(today)) AS days_left, "
            f"spent AS ({_by_day(binding, zone, recent)}), "
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

    return query


def unusual(zone: str) -> Query:
    """Return users and models that spent unusually much on the last whole day."""
    source = Source(("user_id", "model_name"))
    names = ", ".join(source.columns)

    def query(binding: Binding) -> str:
        yesterday = _by_day(binding, zone, "= today - 1", source)
        # Only who spent enough yesterday can be unusual: the days before are read for few.
        recent = (
            "BETWEEN today - 29 AND today - 1 "
            "AND cost_usd IS NOT NULL "
            f"AND ({names}) IN (SELECT {names} FROM ({yesterday}) "
            f"GROUP BY {names} HAVING sum(amount) >= {FLOOR_USD})"
        )
        return (
            f"WITH toDate(now('{zone}'), '{zone}') AS today "
            f"SELECT {name('user_id')} AS user, {key('user_id')} AS user_key, "
            f"{name('model_name')} AS model, "
            "sumIf(amount, day = today - 1) AS spend, "
            # Days without a call are zeros that no row stands for.
            "arrayResize(groupArrayIf(toFloat64(amount), day < today - 1), 28, 0) AS days, "
            "arrayReduce('medianExact', days) AS usual, "
            "spend - toDecimal128(usual, 6) AS more, "
            f"usual + {DEVIATIONS} * "
            "arrayReduce('medianExact', arrayMap(d -> abs(d - usual), days)) AS bound "
            f"FROM ({_by_day(binding, zone, recent, source)}) GROUP BY {names} "
            f"HAVING spend >= {FLOOR_USD} AND toFloat64(spend) > bound "
            "ORDER BY more DESC LIMIT 20"
        )

    return query
