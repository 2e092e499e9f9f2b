"""Usage and costs by user of a Claude Enterprise organisation.

`/v1/organizations/analytics/user_usage_report` and `user_cost_report`
(https://platform.claude.com/docs/en/manage-claude/analytics-api): a row an actor, product, model
and day (UTC). Amounts are cents as decimal text, after discounts.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from tallyspan_collector.bills import claude_code
from tallyspan_collector.bills.anthropic import conditions_of, day_of, tokens_of, usd_of
from tallyspan_collector.bills.billed import Billed
from tallyspan_collector.bills.pages import Api

_PATH = "/v1/organizations/analytics/{}"
_BY = ("product", "model", "context_window", "inference_geo")
_SERVICES = {"claude_code": claude_code.SERVICE}
_LONG = "200k-1M"


def bill(api: Api, first: date, last: date) -> Iterator[Billed]:
    """Yield usage and costs of the days. Raises `ConfigError` and `BillError`."""
    parameters = [
        ("starting_at", f"{first}T00:00:00Z"),
        ("ending_at", f"{last + timedelta(days=1)}T00:00:00Z"),
        ("bucket_width", "1d"),
        ("limit", "1000"),
        *(("group_by[]", name) for name in _BY),
    ]
    for row in api.items(_PATH.format("user_usage_report"), parameters):
        yield Billed(
            **_owner(row),
            item="" if row.get("model") else _without_a_model(row),
            requests=row.get("requests"),
            operation="chat",
            conditions=conditions_of(row),
            is_long_context=row.get("context_window") == _LONG,
            **tokens_of(row),
        )
    for row in api.items(_PATH.format("user_cost_report"), parameters):
        yield Billed(
            **_owner(row),
            item="" if row.get("model") else _without_a_model(row),
            conditions=conditions_of(row),
            cost_usd=usd_of(row, day_of(row)),
        )


def _owner(row: dict[str, Any]) -> dict[str, Any]:
    actor, product = row.get("actor") or {}, row.get("product") or ""
    return {
        "day": day_of(row),
        "model": row.get("model") or "",
        "user": actor.get("email_address") or actor.get("user_id") or "",
        "service": _SERVICES.get(product, product),
    }


def _without_a_model(row: dict[str, Any]) -> str:
    return f"{row.get('product') or 'code execution'} without a model"
