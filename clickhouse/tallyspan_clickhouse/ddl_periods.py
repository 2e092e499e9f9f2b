"""Views of periods: those that run, and where each budget stands in its own."""

from tallyspan_clickhouse.ddl_parts import create_view
from tallyspan_clickhouse.query.comparison import running_periods
from tallyspan_clickhouse.query.forecast import FORECAST, with_expected

_USD = "Nullable(Decimal(38, 6))"
_BUDGET = (
    ("scope", "LowCardinality(String)", "total, department, user, agent, model, endpoint, tag or cost_centre"),
    ("name", "String", "Which one of them; empty for total, KEY=VALUE of a tag"),
    ("is_each", "Bool", "Whether it is the budget for each user"),
    ("department", "String", "The department, for a budget of one; else empty"),
    ("period", "LowCardinality(String)", "month, quarter or year"),
    ("period_start", "Date", "First day of the running period, in the time zone of the organisation"),
    ("period_end", "Date", "First day after it"),
)  # fmt: skip
_AMOUNT = (
    ("amount_usd", "Decimal(18, 6)", "What may be spent in it, in USD"),
    ("warn_percent", "UInt16", "Percent of the amount from which it is nearly used up"),
    ("critical_percent", "UInt16", "Percent of the amount from which it is exceeded"),
    ("owner", "String", "Who answers for it"),
    ("spent_usd", "Decimal(38, 12)", "What was spent in it so far, in USD; calls without a price are not in it"),
)  # fmt: skip


def running() -> str:
    """Return the view `running_periods`."""
    return create_view(
        "running_periods",
        [
            ("period", "LowCardinality(String)", "month, quarter or year"),
            ("time_zone", "String", "IANA name of the time zone of the organisation"),
            ("period_start", "Date", "First day of the period, in that zone"),
            ("started", "DateTime('UTC')", "When the period began (UTC)"),
            ("now", "DateTime('UTC')", "This moment (UTC): the period so far ends before it"),
            ("before_start", "Date", "First day of the period before it, in that zone"),
            (
                "before_last_day",
                "Date",
                "Last of the same days of that, in that zone; it counts to this time of day",
            ),
            ("before_started", "DateTime('UTC')", "When the period before it began (UTC)"),
            (
                "before_ended",
                "DateTime('UTC')",
                "End (UTC) of the same days of that: the same day and time, or the end of a month that has no such day",
            ),
        ],
        running_periods("{database}.clock"),
        "The month, quarter and year so far, and the days of the one before that they compare with",
    )


def budget_status() -> str:
    """Return the view `budget_status`."""
    plain = [*_BUDGET, *_AMOUNT]
    worked_out = [
        ("days_left", "UInt16", "Whole days to come in it, today not counted", "toUInt16(p.period_end - 1 - p.today)"),
        ("left_usd", "Decimal(38, 12)", "amount_usd - spent_usd, in USD; below 0: overspent", "p.amount_usd - p.spent_usd"),
        ("used", "Float64", "spent_usd / amount_usd, a ratio", "p.used"),
        ("unpriced_calls", "Int64", "Calls in it without a price", "p.unpriced_calls"),
        ("forecast_usd", _USD, "Spend of the whole period: spent, what is left of today, and weekday means of the last 28 days, in USD; NULL: fewer than 3 days known", FORECAST["forecast_usd"]),
        ("forecast_low_usd", _USD, "Lower end of the band of the forecast, in USD: 8 of 10 periods end in the band if days go on to scatter as they did", FORECAST["forecast_low_usd"]),
        ("forecast_high_usd", _USD, "Upper end of that band, in USD", FORECAST["forecast_high_usd"]),
        ("forecast_used", "Nullable(Float64)", "forecast_usd / amount_usd, a ratio", "toFloat64(forecast_usd) / toFloat64(p.amount_usd)"),
        ("used_up_on", "Nullable(Date)", "Day on which the amount is used up by the forecast; NULL: not in this period, or it is already",
         "if(forecast_used IS NULL OR p.spent_usd >= p.amount_usd OR forecast_used <= 1, NULL, p.today + arrayFirstIndex(c -> toFloat64(p.spent_usd) + c >= toFloat64(p.amount_usd), arrayCumSum(p.to_come)) - 1)"),
        ("state", "LowCardinality(String)", "over (at critical_percent), warning (at warn_percent), forecast over (the forecast is above the amount) or ok",
         "multiIf(p.used * 100 >= p.critical_percent, 'over', p.used * 100 >= p.warn_percent, 'warning', ifNull(forecast_used > 1, false), 'forecast over', 'ok')"),
    ]  # fmt: skip
    rows = "SELECT s.* FROM {database}.budget_periods AS s WHERE s.is_current"
    columns = [f"p.{name} AS {name}" for name, *_ in plain]
    columns += [f"{text} AS {name}" for name, _, _, text in worked_out]
    return create_view(
        "budget_status",
        [*plain, *((name, kind, says) for name, kind, says, _ in worked_out)],
        "SELECT\n    " + ",\n    ".join(columns) + f"\nFROM ({with_expected(rows)}) AS p",
        "Every budget that holds today: spent, left, forecast, state",
    )
