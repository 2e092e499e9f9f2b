"""Budgets: how much may be spent, and how much was."""

from collections.abc import Callable, Mapping
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_collector.api.fields import Field, Fields, rows_of
from tallyspan_collector.api.operation import Operation, Query
from tallyspan_collector.summary import budgets, plain
from tallyspan_collector.summary.settings import today

_PERIOD: Fields = {
    "scope": Field("text", "what it is for: " + ", ".join(budgets.SCOPES)),
    "name": Field("text", "which of them; empty for total, KEY=VALUE of a tag"),
    "period": Field("text", "month, quarter or year"),
    "period_start": Field("day", "first day of the period, in time_zone"),
    "period_end": Field("day", "first day after it"),
    "amount_usd": Field("usd", "what may be spent in it, USD"),
    "spent_usd": Field("usd", "what was spent in it, USD"),
    "used": Field("ratio", "spent_usd / amount_usd"),
    "unpriced_calls": Field("integer", "calls without a price: they lack in spent_usd"),
    "owner": Field("text", "who is responsible"),
    "is_each": Field("flag", "whether it is the budget for each user"),
}
_STATUS: Fields = {
    **_PERIOD,
    "days_left": Field("integer", "days of the period after today"),
    "left_usd": Field("usd", "amount_usd - spent_usd"),
    "forecast_usd": Field(
        "usd?", "what will have been spent at its end; null: too little is known"
    ),
    "forecast_low_usd": Field("usd?", "lower end of the band that 8 of 10 periods end in"),
    "forecast_high_usd": Field("usd?", "upper end of that band"),
    "forecast_used": Field("ratio?", "forecast_usd / amount_usd"),
    "used_up_on": Field("day?", "day the budget will be used up, if within the period"),
    "warn_percent": Field("integer", "of the amount: state becomes warning"),
    "critical_percent": Field("integer", "of the amount: state becomes over"),
    "state": Field("text", ", ".join(budgets.STATES)),
}
_WHEN: Fields = {
    "time_zone": Field("text", "IANA name of the time zone that days and months are of"),
    "today": Field("day", "which day it is there"),
}
_HISTORY: Fields = {**_PERIOD, "is_current": Field("flag", "whether it holds today")}


def budget_operations(client: Client) -> list[Operation]:
    """Return the operations of budgets; they are made with `tallyspan budgets set`."""

    def answering(ask: Callable[..., list[Any]]) -> Callable[[Query], Mapping[str, Any]]:
        def answer(query: Query) -> Mapping[str, Any]:
            rows = [plain(row) for row in ask(client, query.access)]
            now = today(client)
            return {"time_zone": now.time_zone, "today": now.day.isoformat(), "budgets": rows}

        return answer

    return [
        Operation(
            "/budgets",
            "budgets",
            "Every budget that holds today: spent, left, forecast and state, the most used first.",
            answering(budgets.status),
            {**_WHEN, "budgets": rows_of("a row a budget", _STATUS)},
            table="budgets",
        ),
        Operation(
            "/budgets/history",
            "budgets_history",
            "Every period of each budget, the latest first: amount, spent, used.",
            answering(budgets.periods),
            {**_WHEN, "budgets": rows_of("a row a budget and period", _HISTORY)},
            table="budgets",
        ),
    ]
