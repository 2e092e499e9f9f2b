"""Anthropic's usage and cost reports (https://platform.claude.com/docs/en/api/admin).

Buckets are days in UTC, at most 31 a page. Amounts are cents as decimal text. The cache is beside
`uncached_input_tokens`, not in it. What the priority tier costs is not in the cost report.
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from tallyspan_collector.errors import BillError
from tallyspan_collector.reconcile.billed import Billed
from tallyspan_collector.reconcile.pages import Api

BASE = "https://api.anthropic.com"
KEY = "ANTHROPIC_ADMIN_KEY"
PROVIDERS = ("anthropic",)
_GROUPS = {"project": "workspace_id", "api_key": "api_key_id"}


def headers(key: str) -> dict[str, str]:
    """Return the headers that say who asks."""
    return {"x-api-key": key, "anthropic-version": "2023-06-01", "Accept": "application/json"}


def bill(api: Api, first: date, last: date, group: str = "") -> Iterator[Billed]:
    """Yield usage and costs of the days; `group` is empty, `project` or `api_key`.

    Costs cannot be had by API key: then there are none. Raises `ConfigError` and `BillError`.
    """
    grouped = [_GROUPS[group]] if group else []
    for bucket in api.buckets(
        "/v1/organizations/usage_report/messages",
        _ask(first, last, ["model", "service_tier", *grouped]),
    ):
        yield from (_usage(bucket, result, grouped) for result in bucket["results"])
    if group == "api_key":
        return
    for bucket in api.buckets(
        "/v1/organizations/cost_report", _ask(first, last, ["description", *grouped])
    ):
        yield from (_cost(bucket, result, grouped) for result in bucket["results"])


def _ask(first: date, last: date, by: list[str]) -> list[tuple[str, str]]:
    return [
        ("starting_at", f"{first}T00:00:00Z"),
        ("ending_at", f"{last + timedelta(days=1)}T00:00:00Z"),
        ("bucket_width", "1d"),
        ("limit", "31"),
        *(("group_by[]", name) for name in by),
    ]


def _usage(bucket: dict[str, Any], result: dict[str, Any], grouped: list[str]) -> Billed:
    written = result.get("cache_creation") or {}
    write = sum(written.get(f"ephemeral_{ttl}_input_tokens") or 0 for ttl in ("5m", "1h"))
    read = result.get("cache_read_input_tokens") or 0
    return Billed(
        day=_day(bucket),
        model=result.get("model") or "",
        project=_project(result, grouped),
        tier=result.get("service_tier") or "",
        item="" if result.get("model") else "(usage without a model)",
        input_tokens=(result.get("uncached_input_tokens") or 0) + read + write,
        output_tokens=result.get("output_tokens") or 0,
        cache_read_tokens=read,
        cache_write_tokens=write,
    )


def _cost(bucket: dict[str, Any], result: dict[str, Any], grouped: list[str]) -> Billed:
    currency = result.get("currency") or "USD"
    if currency.upper() != "USD":
        raise BillError(f"the bill is in {currency}: only bills in USD can be compared")
    try:
        cents = Decimal(str(result["amount"]))
    except (KeyError, InvalidOperation):
        amount = result.get("amount")
        raise BillError(f"an amount of the cost report is no number: {amount!r}") from None
    return Billed(
        day=_day(bucket),
        model=result.get("model") or "",
        project=_project(result, grouped),
        tier=result.get("service_tier") or "",
        item=result.get("description") or result.get("cost_type") or "(costs without a line)",
        cost_usd=cents / 100,
    )


def _project(result: dict[str, Any], grouped: list[str]) -> str:
    return result.get(grouped[0]) or "" if grouped else ""


def _day(bucket: dict[str, Any]) -> date:
    try:
        return datetime.fromisoformat(bucket["starting_at"]).date()
    except (KeyError, TypeError, ValueError):
        raise BillError("a bucket of Anthropic's answer has no starting_at") from None
