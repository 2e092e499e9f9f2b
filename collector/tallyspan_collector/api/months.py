"""Months: what is recorded, trued up and billed of each, and which are closed."""

from collections.abc import Mapping
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.query.filters import Filters, source
from tallyspan_collector.api.fields import Field, Fields, rows_of
from tallyspan_collector.api.operation import Operation, Query
from tallyspan_collector.months import listing
from tallyspan_collector.summary import plain

_AMOUNTS: Fields = {
    "recorded_usd": Field("usd", "what is recorded, imported and committed, USD"),
    "true_up_usd": Field("usd", "what bills have beyond it, USD; below 0: they have less"),
    "prior_period_usd": Field(
        "usd", "corrections of closed months, USD; in a closed month, what was moved out of it"
    ),
    "cost_usd": Field("usd", "all of these, USD"),
}
_STATE: Fields = {
    "state": Field("text", "open, closed, or reopened (open again)"),
    "version": Field("count", "which close of the month was the last; 0: none"),
}
_MONTH: Fields = {
    "month": Field("day", "its first day (UTC)"),
    **_STATE,
    "written_at": Field("time?", "when it was closed or opened again; null: never"),
    "written_by": Field("text", "account and host that did it"),
    "reason": Field("text", "why"),
    **_AMOUNTS,
    "billed_usd": Field("usd?", "what bills say of its days, USD; null: none is kept"),
    "closed_usd": Field("usd?", "what it was last closed with, USD; null: never"),
    "unpriced_calls": Field("integer", "calls without a price: they lack in cost_usd"),
    "accepted": Field("map", "checks that failed and were accepted: name -> reason"),
}
_DEPARTMENT: Fields = {
    "month": Field("day", "its first day (UTC)"),
    "tenant": Field("text", "organisation"),
    "department": Field("text", "department that pays; empty: nobody said"),
    **_STATE,
    "calls": Field("integer", "calls, net of duplicates"),
    **_AMOUNTS,
    "unpriced_calls": Field("integer", "calls without a price: they lack in cost_usd"),
}
_CORRECTION: Fields = {
    "closed_month": Field("day", "first day of the closed month that is corrected"),
    "booked_in": Field("day", "first day of the month the correction is booked in"),
    "tenant": Field("text", "organisation"),
    "department": Field("text", "department that pays"),
    "user_id": Field("text", "user"),
    "agent_id": Field("text", "agent or assistant"),
    "model_name": Field("text", "model"),
    "provider_name": Field("text", "provider"),
    "cost_usd": Field("usd", "what is booked more or less, USD"),
    "booked_at": Field("time", "when the last of it was booked"),
}
MAX_ROWS = 10_000


def month_operations(client: Client) -> list[Operation]:
    """Return the operations of months; they are closed with `tallyspan month close`."""

    def months(_: Query) -> Mapping[str, Any]:
        return {"months": [plain(row) for row in listing.months(client)]}

    def rows(view: str, fields: Fields, order: str, query: Query) -> list[Any]:
        text, parameters = source(view, Filters(access=query.access), None)
        answer = client.query(
            f"SELECT {', '.join(fields)} {text} ORDER BY {order} LIMIT {MAX_ROWS}",
            parameters=parameters,
        )
        return [plain(row) for row in answer.named_results()]

    def departments(query: Query) -> Mapping[str, Any]:
        order = "month DESC, department, tenant"
        return {"departments": rows("department_months", _DEPARTMENT, order, query)}

    def corrections(query: Query) -> Mapping[str, Any]:
        order = "closed_month DESC, booked_in DESC, department, user_id, model_name, agent_id"
        return {"corrections": rows("month_corrections", _CORRECTION, order, query)}

    return [
        Operation(
            "/months",
            "months",
            "Every month (UTC) with calls or a close, the newest first: recorded, trued up, billed,"
            " closed.",
            months,
            {"months": rows_of("a row a month", _MONTH)},
            table="months",
            is_for_all=True,
        ),
        Operation(
            "/months/departments",
            "month_departments",
            f"Every month of each department, the newest first; {MAX_ROWS} rows at most.",
            departments,
            {"departments": rows_of("a row a month and department", _DEPARTMENT)},
            table="departments",
        ),
        Operation(
            "/months/corrections",
            "month_corrections",
            "What changed in months after they were closed, and the open month it is booked in;"
            f" {MAX_ROWS} rows at most.",
            corrections,
            {"corrections": rows_of("a row a correction", _CORRECTION)},
            table="corrections",
        ),
    ]
