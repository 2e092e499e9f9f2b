"""Overview: who spends, on what, is it more than before, what will it be, what jumped."""

from tallyspan_clickhouse.query.binding import Binding
from tallyspan_clickhouse.query.days import ENTRIES, Source, Span, span
from tallyspan_clickhouse.query.forecast import FORECAST, with_expected
from tallyspan_clickhouse.schema import NOT_OF_CALLS
from tallyspan_clickhouse.schema_types import HOUR
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
_HOURS = Source(TOTALS.columns, unit=HOUR)
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


_PERIODS = ("month", "quarter", "year")  # as the alphabet has them
_COLUMNS = (
    "period", "period_start", "before_start", "before_last_day",
    "started", "before_started", "before_ended", "now",
)  # fmt: skip


def _so_far(*periods: str) -> Query:
    """Return the spend of periods so far and of the same days before, in a row each.

    From rollups, and entries at both ends; what is chosen above the page counts.
    """

    def of(number: int, column: str) -> str:
        return f"periods[{number}].{_COLUMNS.index(column) + 1}"

    first = of(len(periods), "before_started")
    edges = [
        of(number + 1, column)
        for number in range(len(periods))
        for column in ("started", "before_started", "before_ended")
    ]
    last = of(1, "now")
    cuts = [each for each in edges if each != first]
    within = f"start_time >= {first} AND start_time < {last}"
    listed = ", ".join(f"'{period}'" for period in periods)
    named = ", ".join(f"p.{number} AS {name}" for number, name in enumerate(_COLUMNS[:4], start=1))

    def query(binding: Binding) -> str:
        rows = TOTALS.rows(binding, span(first, last, within, *cuts), FILTERS)
        return (
            # One scalar for all: each one that the store has to work out takes milliseconds.
            f"WITH assumeNotNull((SELECT arraySort(groupArray(({', '.join(_COLUMNS)}))) "
            f"FROM {binding.view('running_periods')} WHERE period IN ({listed}))) AS periods "
            f"SELECT {named}, arraySum(s -> if(s.1[n] = 'now', s.2, toDecimal128(0, 12)), sums) "
            "AS so_far, arraySum(s -> if(s.1[n] = 'before', s.2, toDecimal128(0, 12)), sums) "
            "AS then FROM (SELECT groupArray((place, cost)) AS sums FROM (SELECT arrayMap(p -> "
            "multiIf(at >= p.5, 'now', at >= p.6 AND at < p.7, 'before', ''), periods) AS place, "
            f"ifNull(sum(cost_usd), toDecimal128(0, 12)) AS cost FROM {rows} GROUP BY place)) "
            "ARRAY JOIN periods AS p, arrayEnumerate(periods) AS n"
        )

    return query


def _month(binding: Binding) -> str:
    return f"FROM ({_so_far('month')(binding)})"


CHANGE_TO_LAST_MONTH = Figure(ratio("sum(so_far) - sum(then)", "sum(then)"), "change", _month)


def _recent(binding: Binding) -> str:
    """Return the day, what the last 28 days and today cost, and this month with both, in a row."""
    since = "least(toStartOfMonth(today), today - 28)"
    clock = binding.view("clock")
    days = TOTALS.rows(
        binding, Span(f"is_utc AND day >= {since}", "0", "0", "0", "0", "0"), FILTERS
    )
    # In another zone than UTC days begin within those of the rollups.
    hours = _HOURS.rows(
        binding,
        Span("0", f"NOT is_utc AND hour >= toDateTime({since} - 1, 'UTC')", "0", "0", "0", "0"),
        FILTERS,
    )
    return (
        f"WITH assumeNotNull((SELECT (today, time_zone, day_gone) FROM {clock})) AS clock, "
        "clock.1 AS today, clock.2 AS zone, zone = 'UTC' AS is_utc "
        "SELECT today, clock.3 AS day_gone, addMonths(toStartOfMonth(today), 1) AS period_end, "
        "ifNull(sumIf(amount, day >= toStartOfMonth(today)), 0) AS spent_usd, "
        "groupArrayIf((toUInt16(day), toFloat64(assumeNotNull(amount))), "
        "day >= today - 28 AND amount IS NOT NULL) AS recent "
        "FROM (SELECT toDate(toTimeZone(at, zone)) AS day, sum(cost_usd) AS amount "
        f"FROM (SELECT at, cost_usd FROM {days} UNION ALL SELECT at, cost_usd FROM {hours}) "
        "GROUP BY day)"
    )


FORECAST_OF_MONTH = Figure(
    FORECAST["forecast_usd"],
    "forecast",
    lambda binding: f"FROM ({with_expected(_recent(binding))})",
)


def running(binding: Binding) -> str:
    """Return month, quarter and year so far, the same days of the one before, and forecasts."""
    periods = (
        "SELECT s.*, r.today AS today, r.day_gone AS day_gone, r.recent AS recent, "
        "s.so_far AS spent_usd, addMonths(s.period_start, "
        "multiIf(s.period = 'month', 1, s.period = 'quarter', 3, 12)) AS period_end "
        f"FROM ({_so_far(*_PERIODS)(binding)}) AS s CROSS JOIN ({_recent(binding)}) AS r"
    )
    return (
        "SELECT period, toString(period_start) AS since, so_far, then, "
        "concat(toString(before_start), ' to ', toString(before_last_day)) AS days, "
        f"so_far - then AS more, {ratio('more', 'then')} AS change, "
        f"{FORECAST['forecast_usd']} AS forecast, {FORECAST['forecast_low_usd']} AS low, "
        f"{FORECAST['forecast_high_usd']} AS high "
        f"FROM ({with_expected(periods)}) ORDER BY period_start DESC, period"
    )


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
            f"ORDER BY more DESC {binding.cut}"
        )

    return query
