"""Months: recorded, trued up, corrected, billed, closed; the views do the sums."""

from tallyspan_clickhouse.query.binding import Binding
from tallyspan_grafana.sql.common import Figure

_MONTH = "formatDateTime({}, '%Y-%m')"
_NAME = "if(department = '', '(none)', department)"


def _departments(binding: Binding) -> str:
    return f"FROM {binding.view('department_months')}"


def _months(binding: Binding) -> str:
    return f"FROM {binding.view('month_totals')}"


OPEN = Figure(
    "uniqExactIf(month, state != 'closed' AND month < toStartOfMonth(now('UTC')))",
    "months",
    _departments,
)
LEFT = Figure(
    "sumIf(billed_usd - recorded_usd - true_up_usd, billed_usd IS NOT NULL)", "left", _months
)


def corrected(binding: Binding) -> str:
    """Return what is booked in the running month as corrections of closed ones, in USD."""
    return (
        "SELECT sum(cost_usd) AS corrected "
        f"FROM {binding.view('month_corrections')} WHERE booked_in = toStartOfMonth(now('UTC'))"
    )


def all_months(binding: Binding) -> str:
    """Return every month, the newest first.

    Who is limited to departments sees their sums; bills and closes are of the organisation.
    """
    return (
        f"SELECT {_MONTH.format('d.month')} AS name, d.state AS state, "
        "nullIf(d.version, 0) AS version, d.recorded AS recorded, d.true_up AS true_up, "
        "d.prior AS prior, d.cost AS cost, m.billed_usd AS billed, m.closed_usd AS closed, "
        "nullIf(d.unpriced, 0) AS unpriced, m.written_at AS since, m.written_by AS by, "
        "arrayStringConcat(arrayMap((name, reason) -> concat(name, ': ', reason), "
        "mapKeys(m.accepted), mapValues(m.accepted)), '; ') AS accepted, m.reason AS reason "
        "FROM (SELECT month, any(state) AS state, any(version) AS version, "
        "sum(recorded_usd) AS recorded, sum(true_up_usd) AS true_up, "
        "sum(prior_period_usd) AS prior, sum(cost_usd) AS cost, sum(unpriced_calls) AS unpriced "
        f"{_departments(binding)} GROUP BY month) AS d "
        f"LEFT JOIN (SELECT * {_months(binding)}) AS m ON m.month = d.month "
        f"ORDER BY d.month DESC {binding.cut}"
    )


def departments(binding: Binding) -> str:
    """Return the months of each department, the newest first."""
    return (
        f"SELECT {_MONTH.format('month')} AS name, {_NAME} AS department, state, calls, "
        "recorded_usd AS recorded, true_up_usd AS true_up, prior_period_usd AS prior, "
        "cost_usd AS cost, nullIf(unpriced_calls, 0) AS unpriced "
        f"{_departments(binding)} "
        f"ORDER BY month DESC, cost DESC, department {binding.cut}"
    )


def corrections(binding: Binding) -> str:
    """Return what was booked in open months as corrections of closed ones."""
    return (
        f"SELECT {_MONTH.format('closed_month')} AS name, {_MONTH.format('booked_in')} AS booked, "
        f"{_NAME} AS department, model_name AS model, user_id AS user, sum(cost_usd) AS cost, "
        "max(booked_at) AS at "
        f"FROM {binding.view('month_corrections')} "
        "GROUP BY closed_month, booked_in, department, model, user "
        f"ORDER BY closed_month DESC, abs(cost) DESC, department, model, user {binding.cut}"
    )


def bills(binding: Binding) -> str:
    """Return the bills that the ledger is made equal to, by month."""
    return (
        f"SELECT {_MONTH.format('toStartOfMonth(day)')} AS name, bill, count() AS days, "
        "sum(lines) AS count_of_lines, sum(billed_usd) AS billed, "
        "sum(revisions) - count() AS corrected, argMax(source, read_at) AS source, "
        "max(read_at) AS at "
        f"FROM {binding.view('bills')} GROUP BY name, bill ORDER BY name DESC, bill {binding.cut}"
    )
