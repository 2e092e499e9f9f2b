"""Budgets: where each stands, how one is used up, what became of earlier periods.

The views do the sums, so that dashboards, alerts, the API and `tallyspan budgets` agree.
"""

from tallyspan_clickhouse.query.binding import Binding
from tallyspan_grafana.sql.common import Figure

_SCOPE = "replaceOne(scope, '_', ' ')"
_LABEL = (
    f"concat(if(scope = 'total', 'all calls', concat({_SCOPE}, ' ', name)), ', ', period, "
    "if(is_each, ' (of each user)', ''))"
)
_KEY = f"concat('k', hex({_LABEL}))"
NAME = "if(scope = 'total', '(all calls)', name)"


def _status(binding: Binding) -> str:
    return f"FROM {binding.view('budget_status')}"


def in_state(state: str) -> Figure:
    """Return how many budgets are in the state."""
    return Figure(f"countIf(state = '{state}')", "budgets", _status)


TOTAL_USED = Figure(
    "argMinIfOrNull(used, indexOf(['month', 'quarter', 'year'], period), scope = 'total')",
    "total_used",
    _status,
)


def variable(binding: Binding) -> str:
    """Return key and label of every budget that holds today."""
    return (
        f"SELECT {_KEY} AS key, {_LABEL} AS label {_status(binding)} "
        f"WHERE {binding.searched('label')} "
        f"ORDER BY used DESC, label LIMIT {binding.most_choices}"
    )


def all_budgets(binding: Binding) -> str:
    """Return every budget that holds today, the most used first."""
    return (
        f"SELECT {_SCOPE} AS of, {NAME} AS name, {_KEY} AS key, period, amount_usd AS amount, "
        "spent_usd AS spent, used, forecast_usd AS forecast, forecast_low_usd AS low, "
        "forecast_high_usd AS high, forecast_used, left_usd AS rest, "
        "toUInt32(days_left) AS days, multiIf(used_up_on IS NOT NULL, toString(used_up_on), "
        "used >= 1, 'already', '') AS used_up, "
        f"unpriced_calls AS unpriced, state, owner, if(is_each, 'each user', '') AS by "
        f"{_status(binding)} ORDER BY used DESC, scope, name, period {binding.cut}"
    )


def burn_up(binding: Binding) -> str:
    """Return the chosen budget by day: spent, forecast with its band, amount, an even pace; USD."""

    def line(end: str) -> str:
        # A day to come has the forecast's share of it: the line is straight from today to its end.
        return (
            f"if(on_day < today OR b.{end} IS NULL, NULL, toFloat64(b.spent_usd) + "
            f"(toFloat64(b.{end}) - toFloat64(b.spent_usd)) * (on_day - today) "
            "/ greatest(b.days_left, 1))"
        )

    return (
        "SELECT toDateTime(on_day, 'UTC') AS time, "
        "if(on_day > today, NULL, sum(ifNull(d.spent_usd, toDecimal128(0, 12))) "
        "OVER (ORDER BY on_day)) AS spent, "
        f"{line('forecast_usd')} AS forecast, {line('forecast_low_usd')} AS `low end`, "
        f"{line('forecast_high_usd')} AS `high end`, "
        "toFloat64(b.amount_usd) AS budget, "
        "toFloat64(b.amount_usd) * (on_day + 1 - b.period_start) / (b.period_end - b.period_start) "
        "AS `even pace` "
        f"FROM (SELECT *, assumeNotNull((SELECT today FROM {binding.view('clock')})) AS today, "
        "arrayJoin(arrayMap(i -> period_start + i, "
        f"range(toUInt32(period_end - period_start)))) AS on_day {_status(binding)} "
        f"WHERE {binding.one('budget', _LABEL)}) AS b "
        f"LEFT JOIN {binding.view('budgeted_days')} AS d "
        "ON d.scope = b.scope AND d.name = b.name AND d.day = b.on_day ORDER BY time"
    )


def history(binding: Binding) -> str:
    """Return earlier periods of every budget with what was spent in them."""
    return (
        f"SELECT toString(period_start) AS start, {_LABEL} AS budget, "
        "amount_usd AS amount, spent_usd AS spent, used, unpriced_calls AS unpriced "
        f"FROM {binding.view('budget_periods')} WHERE NOT is_current AND spent_usd > 0 "
        f"ORDER BY period_start DESC, used DESC, budget {binding.cut}"
    )
