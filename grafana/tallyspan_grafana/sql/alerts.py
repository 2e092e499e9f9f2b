"""The queries of the alert rules: a row for each thing in trouble, its figure in the last column.

No macros and no variables: rules have no dashboard. Thresholds come from `alert_thresholds`, so
that `tallyspan budgets thresholds` changes them without touching Grafana.
"""

from tallyspan_clickhouse.query.bill_figures import DRIFT, IS_USE, TOKEN_DRIFT
from tallyspan_clickhouse.query.binding import Grafana
from tallyspan_clickhouse.query.days import Source
from tallyspan_grafana.sql.common import name

_view = Grafana().view
_BUDGET = "scope, if(scope = 'total', '(all calls)', name) AS budget, period"
TODAY = "toDate(now('UTC'), 'UTC')"
LAST_DAY = "now('UTC') - INTERVAL 1 DAY"


def threshold(setting: str) -> str:
    """Return the value of the setting, as a scalar."""
    return f"(SELECT any(value) FROM {_view('alert_thresholds')} WHERE name = '{setting}')"


def budgets_in(state: str) -> str:
    """Return the budgets in the state with the percentage used."""
    return (
        f"SELECT {_BUDGET}, 100 * used AS percent FROM {_view('budget_status')} "
        f"WHERE state = '{state}' ORDER BY scope, budget, period"
    )


FORECASTS_OVER = (
    f"SELECT {_BUDGET}, 100 * assumeNotNull(forecast_used) AS percent "
    f"FROM {_view('budget_status')} WHERE forecast_used > 1 AND state != 'over' "
    "ORDER BY scope, budget, period"
)


def spike(column: str, label: str) -> str:
    """Return whose spend of today so far, or of yesterday, is far above its 28 days before."""
    return (
        f"WITH {threshold('spike_deviations')} AS deviations, {threshold('spike_floor_usd')} "
        "AS floor_usd "
        f"SELECT {label}, toString(on_day) AS day, amount FROM (SELECT {label}, on_day, "
        "spent[toUInt16(on_day)] AS amount, "
        # A day without a call is a day of nothing.
        "arrayMap(i -> spent[toUInt16(on_day - i)], range(1, 29)) AS before, "
        "arrayReduce('medianExact', before) AS usual, "
        # 1.4826 makes the median absolute deviation that of a normal distribution.
        "1.4826 * arrayReduce('medianExact', arrayMap(d -> abs(d - usual), before)) AS deviation "
        f"FROM (SELECT {name(column)} AS {label}, CAST((groupArray(toUInt16(day)), "
        "groupArray(toFloat64(spent_usd))), 'Map(UInt16, Float64)') AS spent, "
        f"arrayJoin([{TODAY} - 1, {TODAY}]) AS on_day FROM (SELECT {column}, day, "
        f"assumeNotNull(sum(cost_usd)) AS spent_usd FROM {_view(Source((column,)).rollup.view)} "
        f"WHERE day >= {TODAY} - 30 AND cost_usd IS NOT NULL GROUP BY {column}, day) "
        f"GROUP BY {column})) "
        "WHERE amount >= floor_usd AND amount > usual + deviations * deviation "
        f"ORDER BY {label}, day"
    )


UNPRICED = (
    f"SELECT provider_name AS provider, {name('model_name')} AS model, "
    f"toFloat64(sum(unpriced_calls)) AS waiting FROM {_view('usage_hourly')} "
    f"WHERE hour >= {LAST_DAY} GROUP BY provider, model "
    f"HAVING waiting > {threshold('unpriced_calls')} ORDER BY provider, model"
)
# One row always: with no call ever there is nothing that could have ended.
NO_DATA = (
    f"WITH (SELECT max(start_time) FROM {_view('calls')} WHERE start_time >= "
    f"(SELECT max(hour) FROM {_view('usage_hourly')})) AS last_call, "
    f"(SELECT count() > 0 FROM {_view('usage_hourly')}) AS has_calls, "
    "toFloat64(dateDiff('minute', last_call, now('UTC'))) AS minutes "
    f"SELECT if(has_calls AND minutes >= {threshold('no_data_minutes')}, minutes, 0) AS minutes_ago"
)
_LATE = "quantile(0.95)(dateDiff('millisecond', start_time, ingested_at) / 1e3 - duration_us / 1e6)"
_GUESSED = (
    "100 * sum(estimated_calls + unknown_usage_calls) / greatest(sum(calls), 1)"  # of all calls
)
DOUBTFUL = (
    "SELECT trouble, figure FROM ("
    f"SELECT 'seconds until a call is in the ledger' AS trouble, toFloat64({_LATE}) AS figure, "
    f"count() > 0 AND figure >= {threshold('late_seconds')} AS is_trouble FROM {_view('calls')} "
    "WHERE start_time >= now('UTC') - INTERVAL 1 HOUR "
    "UNION ALL "
    f"SELECT 'percent of calls without the token counts of the provider' AS trouble, "
    f"toFloat64({_GUESSED}) AS figure, sum(calls) > 0 AND "
    f"figure >= {threshold('estimated_percent')} AS is_trouble "
    f"FROM {_view('usage_hourly')} WHERE hour >= {LAST_DAY}) WHERE is_trouble ORDER BY trouble"
)
# Of the week until the day before yesterday: later days a bill has not whole.
BILL_DRIFT = (
    f"SELECT provider AS bill, 100 * greatest(ifNull(abs({TOKEN_DRIFT}), 0), "
    f"ifNull(abs({DRIFT}), 0)) AS percent "
    f"FROM {_view('reconciliations')} WHERE day >= {TODAY} - 8 AND day <= {TODAY} - 2 AND {IS_USE} "
    f"GROUP BY bill HAVING percent >= {threshold('bill_drift_percent')} ORDER BY bill"
)
COLLECTORS = (
    "SELECT collector, each.1 AS trouble, each.2 AS figure "
    "FROM (SELECT collector, arrayJoin(["
    "('spans lost', toFloat64(lost_spans), "
    f"lost_spans > {threshold('dropped_spans')}), "
    "('requests refused', toFloat64(refused_requests), "
    f"refused_requests >= {threshold('refused_requests')}), "
    "('inserts failed', toFloat64(insert_failures), "
    f"insert_failures >= {threshold('insert_failures')}), "
    "('megabytes waiting', ifNull(waiting_bytes, 0) / 1e6, "
    f"ifNull(waiting_bytes, 0) / 1e6 >= {threshold('waiting_megabytes')}), "
    "('minutes of silence', toFloat64(dateDiff('minute', last_seen, now('UTC'))), NOT is_stopped "
    f"AND dateDiff('minute', last_seen, now('UTC')) >= {threshold('silent_minutes')}), "
    "('price file broken', 1., is_price_file_broken AND NOT is_stopped)]) AS each "
    f"FROM {_view('collector_health')}) WHERE each.3 ORDER BY collector, trouble"
)
