"""Claude Code's usage by user (https://platform.claude.com/docs/en/api/admin/usage_report).

One request a day (UTC), pages of actors: a user's e-mail address, or the name of an API key. Costs
are estimates of Anthropic's, in cents. The cache is beside `input`.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from tallyspan_collector.bills.billed import Billed
from tallyspan_collector.bills.pages import Api
from tallyspan_collector.errors import BillError

SERVICE = "claude-code"
_PATH = "/v1/organizations/usage_report/claude_code"
_PAGE_ITEMS = "1000"


def bill(api: Api, first: date, last: date) -> Iterator[Billed]:
    """Yield usage and costs of the days. Raises `ConfigError` and `BillError`.

    What runs on a subscription (`customer_type`) is used and not billed: it is left out.
    """
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        parameters = [("starting_at", day.isoformat()), ("limit", _PAGE_ITEMS)]
        for record in api.items(_PATH, parameters):
            if record.get("customer_type") == "subscription":
                continue
            actor = record.get("actor") or {}
            for used in record.get("model_breakdown") or ():
                yield _line(day, actor, used)


def _line(day: date, actor: dict[str, Any], used: dict[str, Any]) -> Billed:
    tokens = used.get("tokens") or {}
    read, write = tokens.get("cache_read") or 0, tokens.get("cache_creation") or 0
    return Billed(
        day=day,
        model=used.get("model") or "",
        item="" if used.get("model") else "(usage without a model)",
        user=actor.get("email_address") or "",
        api_key=actor.get("api_key_name") or "",
        service=SERVICE,
        operation="chat",
        input_tokens=(tokens.get("input") or 0) + read + write,
        output_tokens=tokens.get("output") or 0,
        cache_read_tokens=read,
        cache_write_tokens=write,
        cost_usd=_usd(used.get("estimated_cost")),
    )


def _usd(cost: dict[str, Any] | None) -> Decimal | None:
    if not cost:
        return None
    if (cost.get("currency") or "USD").upper() != "USD":
        raise BillError(f"the report is in {cost['currency']}: only reports in USD are taken")
    try:
        return Decimal(str(cost["amount"])) / 100
    except (KeyError, InvalidOperation):
        raise BillError(f"an estimated_cost is no number: {cost.get('amount')!r}") from None
